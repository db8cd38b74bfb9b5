"""What a run measured so far, read back from its folder for whoever shows or judges it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from dreambooth.run import records
from dreambooth.run.folder import Run
from dreambooth.run.records import Check, Diagnosis, Probed, Recommendation, SampleScores, WorldFit

FOREIGN = "photos that the base model cannot draw"
"""What flags a run beside the paper's failures: its numbers mean little then."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """probes: by step, in the order of the steps; step 0 is the base model.  real: the photos among themselves.

    The recommendation, the diagnosis and the samples are None until the run has made them, world_fit where the base
    model is no embedded one.
    """

    probes: Mapping[int, Probed]
    real: Probed
    recommendation: Recommendation | None
    diagnosis: Diagnosis | None
    samples: SampleScores | None
    world_fit: WorldFit | None

    @property
    def foreign(self) -> str:
        """What to say of photos that the base model cannot draw; empty where it can."""
        return self.world_fit.says if self.world_fit and self.world_fit.foreign else ""

    @property
    def checked(self) -> list[tuple[str, Check]]:
        """What was looked at for failures, and in which samples; nothing before the diagnosis."""
        of_probe = self.diagnosis.checked if self.diagnosis else ()
        of_samples = self.samples.checked if self.diagnosis and self.samples else ()
        return [*(("the probe", check) for check in of_probe), *(("the samples", check) for check in of_samples)]

    @property
    def in_samples_alone(self) -> list[Check]:
        """The failures that show in the final samples and not in the probe's, one for each thing to change."""
        probed = self.diagnosis.checked if self.diagnosis else ()
        named = {check.change for check in probed if not check.within}
        alone: dict[str, Check] = {}
        for whose, check in self.checked:
            if whose == "the samples" and not check.within and check.change not in named:
                says = f"In the final samples, not in the probe's: {check.says}"
                alone.setdefault(check.change, replace(check, says=says))
        return list(alone.values())

    @property
    def findings(self) -> list[Check]:
        """The failures that the diagnosis saw, then those that show in the samples alone."""
        return [*(self.diagnosis.findings if self.diagnosis else ()), *self.in_samples_alone]

    @property
    def flagged(self) -> tuple[str, ...]:
        """What speaks against the model in use, each once: photos that it cannot draw, then its failures."""
        foreign = [FOREIGN] if self.foreign else []
        return tuple(dict.fromkeys([*foreign, *(check.failure for check in self.findings if not check.avoided)]))

    @property
    def chosen(self) -> int | None:
        """The recommended step, once there is one."""
        return self.recommendation.step if self.recommendation else None

    def over_training(self, metric: str) -> dict[int, float]:
        """The values of one metric by step, without the probes that lack it."""
        found = {step: probed.numbers for step, probed in self.probes.items()}
        return {step: numbers[metric] for step, numbers in found.items() if metric in numbers}


def read_measured(run: Run) -> Measured:
    """What a run has measured so far; raises RunError where its verdict is damaged."""
    rows = {probed.step: probed for probed in records.SCORES.read(run.root)}
    return Measured(
        probes={step: rows[step] for step in sorted(step for step in rows if isinstance(step, int))},
        real=rows.get("real", Probed(step="real")),
        recommendation=records.RECOMMENDATION.find(run.root),
        diagnosis=records.DIAGNOSIS.find(run.root),
        samples=records.SAMPLES.find(run.root),
        world_fit=records.WORLD_FIT.find(run.root),
    )
