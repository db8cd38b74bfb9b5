"""The plan in a run: told before the work and kept in plan.json, then compared with what the run took."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dreambooth import models
from dreambooth.config import Config
from dreambooth.models.base import DiffusionModel
from dreambooth.plan.plan import compared, size_of
from dreambooth.plan.planner import Planner
from dreambooth.plan.work import Work
from dreambooth.prior import lacking, seen_in
from dreambooth.run import Run
from dreambooth.run.records import LOSSES, PLAN
from dreambooth.run.timing import read_timings
from dreambooth.subject import Subject
from dreambooth.support.device import device
from dreambooth.support.progress import log


def plan(subject: Subject, config: Config, root: Path) -> str:
    """What a run in `root` would need, in words; nothing is written, and no weight is downloaded.

    Raises ModelError for a model that is not there.
    """
    began = time.monotonic()
    model, download = models.to_come(config.base)
    if download and model is None:
        return (
            f"plan      {size_of(download)} to download first; what its family takes of time and memory can be told "
            "once it is there."
        )
    if model is None:
        model = models.load(config.base, config.data.resolution)
        model.to(device())
    planner = Planner(
        config=config,
        model=model,
        opened={"load": time.monotonic() - began},
        photos=len(subject.photos),
        work_of=_work(subject, Run(root), model, here=not download),
        download=download,
    )
    return planner.plan(with_savings=True).told(root)


@dataclass(frozen=True)
class Watch:
    """A run between its plan and its end."""

    run: Run
    before: Mapping[str, float]
    planner: Planner | None
    planned: Mapping[str, float]
    steps: int

    def end(self) -> None:
        """Say what it took beside what was planned, and keep how fast this machine was."""
        if self.planner is None:
            return
        took = _since(self.before, read_timings(self.run))
        log.info("%s", compared(self.planned, took))
        self.planner.learn(took, len(LOSSES.read(self.run.root)) - self.steps)


def watch(run: Run, model: DiffusionModel, before: Mapping[str, float]) -> Watch:
    """Log the plan of a run whose model is open; before: its timings when this process took it up.

    Nothing is planned where only the report is to be made. No run fails for its plan.
    """
    steps = len(LOSSES.read(run.root))
    if run.is_personalised:
        return Watch(run, before, None, {}, steps)
    planner = Planner(
        config=run.config,
        model=model,
        opened=_since(before, read_timings(run)),
        photos=len(run.subject.photos),
        work_of=_work(run.subject, run, model),
    )
    try:
        made = planner.plan()
    except Exception as error:  # of arithmetic on a model that nobody has tried it on
        log.warning("no plan can be made for this model, and the run goes on without: %r", error)
        return Watch(run, before, None, {}, steps)
    log.info("%s", made.told(run.root))
    needs = {"memory": float(made.estimate.memory), "disk": float(made.estimate.disk)}
    run.began_with(PLAN, {**made.seconds, **needs})
    return Watch(run, before, planner, made.seconds, steps)


def _work(subject: Subject, run: Run, model: DiffusionModel, here: bool = True) -> Callable[[Config], Work]:
    """here: whether the model has weights; of one that is still to be downloaded there are no class images."""

    def class_images(config: Config) -> int:
        prior, seen = config.prior, seen_in(config.training)
        if here:
            return lacking(model, subject, prior, seen)
        return min(prior.num_class_images, seen) * prior.with_prior_preservation

    return lambda config: Work.of(config, subject, run, class_images(config))


def _since(before: Mapping[str, float], now: Mapping[str, float]) -> dict[str, float]:
    return {stage: max(0.0, seconds - before.get(stage, 0.0)) for stage, seconds in now.items()}
