"""Makes the plan of a run, and learns from what the run then took."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from dreambooth import models
from dreambooth.config import Config
from dreambooth.config.savings import of_memory, of_time
from dreambooth.errors import ConfigError
from dreambooth.models.base import DiffusionModel
from dreambooth.plan import rates
from dreambooth.plan.costs import Costs
from dreambooth.plan.estimate import Estimate
from dreambooth.plan.plan import WORTH, Plan, size_of
from dreambooth.plan.work import Work
from dreambooth.run.records import Loss
from dreambooth.support.device import device, memory_size
from dreambooth.support.progress import duration

TOLD = 3
"""Settings that would need less, of time and of memory each."""

SCARCE = 0.4
"""The share of the device's memory from which on it is worth saving."""


@dataclass(frozen=True, kw_only=True)
class Planner:
    """Of a run of `model`.

    opened: seconds that opening the model and the judges took, by stage.  photos: how many.  work_of:
    what a run of some settings has still to do.  download, judges: bytes of the model and of its judges that are not on
    this machine yet; None where the hub does not say.
    """

    config: Config
    model: DiffusionModel
    opened: Mapping[str, float]
    photos: int
    work_of: Callable[[Config], Work]
    download: int = 0
    judges: int | None = 0

    @cached_property
    def estimate(self) -> Estimate:
        """What the run computes and holds."""
        return self._estimate(self.config, Costs.of(self.model, self.config))

    @cached_property
    def _names(self) -> dict[str, str]:
        return rates.names(self.model, self.config)

    @cached_property
    def _speed(self) -> tuple[dict[str, float], bool]:
        """Seconds a unit of work, and whether earlier runs took them."""
        known = rates.known()
        speed = {kind: known[name] for kind, name in self._names.items() if name in known}
        measured = "draw" in speed and ("step" in speed or not self.estimate.work.trains)
        if not measured:
            timed = rates.look(self.model, self.estimate.costs)
            speed = {"draw": timed, "step": timed} | speed
        return {"judge": rates.JUDGED, "step": 0.0, **speed}, measured  # no step where none is left

    def plan(self, with_savings: bool = False) -> Plan:
        """The plan; with_savings: what would need less, of which memory takes seconds to find."""
        speed, measured = self._speed
        seconds = self.estimate.seconds(speed, self.opened)
        savings = (*self._of_time(sum(seconds.values())), *self._of_memory()) if with_savings else ()
        return Plan(
            estimate=self.estimate,
            seconds=seconds,
            measured=measured,
            less=tuple(savings),
            download=self.download,
            judges=self.judges,
        )

    def learn(self, took: Mapping[str, float], steps: Mapping[str, Sequence[Loss]]) -> None:
        """Keep the speed of a whole run: its seconds by stage, and the steps of each stage of its model.

        Each step says how long it took.
        """
        drawn, work = self.estimate.drawn, self.estimate.work
        stages = [stage for stage in ("prior", *work.samples) if drawn.get(stage) and took.get(stage)]
        flop, seconds = sum(drawn[stage] for stage in stages), sum(took[stage] for stage in stages)
        measured = {"draw": (seconds, flop), "judge": (took.get("score", 0.0), float(work.scored))}
        if flop and work.trains:
            training = took.get("finetune", 0.0) - drawn["finetune"] * seconds / flop
            stepping = sum(step.seconds for its in steps.values() for step in its)
            measured["step"] = (stepping, self.estimate.flop_of({stage: len(its) for stage, its in steps.items()}))
            measured["around"] = (training - stepping, 1.0)
        rates.learn({self._names[kind]: its for kind, its in measured.items()})

    def _estimate(self, config: Config, costs: Costs) -> Estimate:
        return Estimate(config=config, work=self.work_of(config), costs=costs, model=self.model, photos=self.photos)

    def _of_time(self, whole: float) -> Iterator[str]:
        speed, _ = self._speed
        found = []
        for saving in of_time(self.config):
            its = self._estimate(saving.applied(self.config), self.estimate.costs).seconds(speed, self.opened)
            found.append((whole - sum(its.values()), saving))
        for seconds, saving in sorted(found, key=lambda item: -item[0])[:TOLD]:
            if seconds >= WORTH * whole:
                yield f"{saving.flag}: {duration(seconds)} less ({saving.price})"

    def _of_memory(self) -> Iterator[str]:
        """What saves memory, where there is not much more of it than is needed: finding it takes seconds."""
        needed, of = self.estimate.memory, device()
        if needed < SCARCE * memory_size(of):
            return
        found = []
        savings = [s for drawing in (False, True) for s in of_memory(self.config, of.type == "cuda", drawing)]
        for saving in {saving.flag: saving for saving in savings}.values():
            try:
                changed = saving.applied(self.config)
                models.check(self.model, changed)
                costs = Costs.of(self.model, changed)
            except (ConfigError, ImportError):  # what cannot be; and bitsandbytes, which knows what it would take
                continue
            found.append((needed - self._estimate(changed, costs).memory, saving))
        for saved, saving in sorted(found, key=lambda item: -item[0])[:TOLD]:
            if saved >= WORTH * needed:
                yield f"{saving.flag}: {size_of(saved)} less" + (f" ({saving.price})" if saving.price else "")
