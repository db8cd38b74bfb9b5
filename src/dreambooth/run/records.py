"""What a run measured, read back from its folder: losses, probes, the recommended checkpoint, the diagnosis."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, FiniteFloat

from dreambooth.errors import RunError
from dreambooth.run.folder import Run
from dreambooth.support.progress import log

METRICS = ("dino", "usual_dino", "clip_i", "clip_t", "pres", "masked_dino", "nearest_photo")
VARIETY = ("subject_scenes", "subject_div", "class_scenes", "class_div")
"""Of the pictures in no place; a line of scores.jsonl has them as {"variety": {"subject": {"scenes": ...}}}."""


class Record(BaseModel):
    """A file of the run; it may hold more than what is read here."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Recommendation(Record):
    """recommendation.json: the checkpoint that became run/model, the rule that chose it, and who measured what.

    ways: by metric, from the untuned model to the photos; None where the base model draws them already. way: that in
    words. kept: by metric, what is left of the untuned model's, of 1.
    """

    step: int
    rule: str
    reason: str
    last: int
    stopped_early: bool = False
    judges: dict[str, str] = {}
    ways: dict[str, float | None] = {}
    way: str = ""
    kept: dict[str, float] = {}


class Check(Record):
    """A number that was looked at for a failure: its limit, whether it is within, and what to say where it is not."""

    failure: str
    metric: str
    value: float
    threshold: float
    at_most: bool = False
    within: bool = False
    says: str
    change: str


class Diagnosis(Record):
    """diagnosis.json: the failures that were seen, and all numbers that were looked at."""

    findings: tuple[Check, ...]
    checked: tuple[Check, ...] = ()


class WorldFit(Record):
    """world_fit.json: whether the photos are of nothing that the base model can draw, and what to say then."""

    foreign: bool
    says: str


class SamplesRecord(Record):
    """samples.json: what the judges say of the final samples; rows: "real", "untuned", "tuned", as lines of probes.

    ways, kept: as those of the recommendation.  checked: as those of the diagnosis.
    """

    rows: dict[str, dict[str, Any]]
    ways: dict[str, float | None] = {}
    kept: dict[str, float] = {}
    checked: tuple[Check, ...] = ()

    def scores(self, row: str) -> dict[str, float]:
        """The numbers of a row by metric; none where it is not there."""
        return _scores(self.rows.get(row, {}))


@dataclass(frozen=True)
class Measured:
    """probes: step -> metric -> value, in the order of the steps; step 0 is the base model. real: the photos' own row.
    prompts: step -> prompt template -> metric -> value.

    The recommendation, the diagnosis and the samples are None until the run has made them, world_fit where the base
    model is no embedded one.
    """

    probes: Mapping[int, Mapping[str, float]]
    prompts: Mapping[int, Mapping[str, Mapping[str, float]]]
    real: Mapping[str, float]
    recommendation: Recommendation | None
    diagnosis: Diagnosis | None
    samples: SamplesRecord | None
    world_fit: WorldFit | None

    @property
    def foreign(self) -> str:
        """What to say of photos that the base model cannot draw; empty where it can."""
        return self.world_fit.says if self.world_fit and self.world_fit.foreign else ""

    @property
    def checked(self) -> list[tuple[str, Check]]:
        """What was looked at for failures, in the probe's pictures and in the samples; nothing before the diagnosis."""
        of_probe = self.diagnosis.checked if self.diagnosis else ()
        of_samples = self.samples.checked if self.diagnosis and self.samples else ()
        return [*(("the probe", check) for check in of_probe), *(("the samples", check) for check in of_samples)]

    @property
    def findings(self) -> list[Check]:
        """The failures that the diagnosis saw, then those that show in the samples alone."""
        seen = list(self.diagnosis.findings) if self.diagnosis else []
        named = {check.failure for check in seen}
        alone: dict[str, Check] = {}
        for pictures, check in self.checked:
            if pictures == "the samples" and not check.within and check.failure not in named:
                says = f"In the samples, not in the probe's pictures: {check.says}"
                alone.setdefault(check.change, check.model_copy(update={"says": says}))
        return [*seen, *alone.values()]

    @property
    def chosen(self) -> int | None:
        """The recommended step, once there is one."""
        return self.recommendation.step if self.recommendation else None

    def over_training(self, metric: str) -> dict[int, float]:
        """The values of one metric by step, without the probes that lack it."""
        return {step: scores[metric] for step, scores in self.probes.items() if metric in scores}


def read_measured(run: Run) -> Measured:
    """What the probes of a run have written so far; raises RunError where its verdict is damaged."""
    rows = {row["step"]: row for row in run.lines(run.scores)}
    steps = sorted(step for step in rows if isinstance(step, int))
    return Measured(
        probes={step: _scores(rows[step]) for step in steps},
        prompts={step: {text: _scores(row) for text, row in rows[step].get("prompts", {}).items()} for step in steps},
        real=_scores(rows.get("real", {})),
        recommendation=_record(run, "recommendation.json", Recommendation),
        diagnosis=_record(run, "diagnosis.json", Diagnosis),
        samples=_record(run, "samples.json", SamplesRecord),
        world_fit=_record(run, "world_fit.json", WorldFit),
    )


def read_losses(run: Run) -> tuple[list[int], dict[str, list[float]]]:
    """The steps, and each term of Eq. 2 at every one; of a step that is there twice, the later line."""
    terms = {"subject": "subject", "class prior": "prior"}
    whole = [row for row in run.lines(run.losses) if row["step"] != "real" and _is_whole(row, terms.values())]
    rows = {row["step"]: row for row in whole}
    steps = sorted(rows)
    return steps, {
        name: [rows[step][key] for step in steps]
        for name, key in terms.items()
        if all(key in rows[step] for step in steps)
    }


def read_timings(run: Run) -> dict[str, float]:
    """Seconds by stage; empty where nothing was timed, or where the file is damaged."""
    if not (run.root / "timings.json").is_file():
        return {}
    try:
        return run.read_record("timings.json", dict[str, FiniteFloat])
    except RunError as error:  # no result depends on it
        log.warning("%s The times before now are forgotten.", error)
        return {}


def _is_whole(row: Mapping[str, Any], keys: Iterable[str]) -> bool:
    values = [row.get(key, 0.0) for key in keys]
    return all(isinstance(value, int | float) and math.isfinite(value) for value in values)


def _scores(row: Mapping[str, Any]) -> dict[str, float]:
    values = {metric: row.get(metric) for metric in METRICS}
    varied = row.get("variety", {})
    for name in VARIETY:
        of, _, number = name.partition("_")
        values[name] = varied.get(of, {}).get(number)
    return {name: v for name, v in values.items() if isinstance(v, int | float) and math.isfinite(v)}


R = TypeVar("R", bound=Record)


def _record(run: Run, name: str, kind: type[R]) -> R | None:
    if not (run.root / name).is_file():
        return None
    return run.read_record(name, kind)
