"""The plan in a run: told before the work and kept in plan.json, then compared with what the run took."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

from dreambooth import adapters, models
from dreambooth.config import Config
from dreambooth.data.masks import mask_of
from dreambooth.evaluation import judges_to_come
from dreambooth.identifier import with_identifier
from dreambooth.models.base import DiffusionModel
from dreambooth.models.hub import from_cache_alone
from dreambooth.plan.plan import compared, to_download
from dreambooth.plan.planner import Planner
from dreambooth.plan.work import Work
from dreambooth.prior import lacking, seen_in
from dreambooth.run import Run
from dreambooth.run.companions import each
from dreambooth.run.records import LOSSES, PLAN, Loss
from dreambooth.run.timing import read_timings
from dreambooth.subject import Subject
from dreambooth.support.device import device
from dreambooth.support.progress import log


def plan(subjects: Sequence[Subject], config: Config, root: Path) -> str:
    """What a run in `root` would need, in words; nothing is written, and no weight is downloaded.

    Raises what the run would: ModelError for a model that is not there, ConfigError for what it cannot do, RunError for
    a folder that holds something else, PromptError for an identifier that cannot work.
    """
    began, run = time.monotonic(), Run(root)
    run.require_fit(subjects[0], config)
    model, download = models.to_come(config.base)
    judges = judges_to_come(config.evaluation, config.world) if _asks_judges(subjects, config) else 0
    if download and model is None:
        return (
            f"plan      {to_download(download, judges)} first; what its family takes of time and memory can be told "
            "once it is there."
        )
    if model is None:
        with from_cache_alone():
            model = models.load(config.base, config.data.resolution)
        model.to(device())
    models.check(model, config)
    adapters.check(model, config)
    if not download:  # of a model that is still to come nobody knows how it reads
        _require_names(subjects, model, config)
    planner = Planner(
        config=config,
        model=model,
        opened={"load": time.monotonic() - began},
        photos=sum(len(subject.photos) for subject in subjects),
        work_of=_work(subjects, each(run), model, here=not download),
        download=download,
        judges=judges,
    )
    return planner.plan(with_savings=True).told(root)


def _asks_judges(subjects: Sequence[Subject], config: Config) -> bool:
    """Whether a run opens them, to measure or to find masks."""
    unmasked = any(mask_of(photo) is None for subject in subjects for photo in subject.photos)
    measured = config.probe.probe and config.training.max_train_steps > 0
    return measured or (config.data.masked_loss and unmasked)


def _require_names(subjects: Sequence[Subject], model: DiffusionModel, config: Config) -> None:
    """Raise PromptError for an identifier that cannot work; as a setting it is that of a single subject."""
    tokenizers, taken = list(model.tokenizers.values()), list[str]()
    for subject in subjects:
        named = with_identifier(subject, tokenizers, config.naming, config.seed, config.method, taken)
        taken.append(named.identifier or "")


@dataclass(frozen=True)
class Watch:
    """A run between its plan and its end."""

    run: Run
    before: Mapping[str, float]
    planner: Planner | None
    planned: Mapping[str, float]
    steps_before: Mapping[str, int]
    """Steps that earlier processes have taken, by stage."""

    def end(self) -> None:
        """Say what it took beside what was planned, and keep how fast this machine was."""
        if self.planner is None:
            return
        took = _since(self.before, read_timings(self.run))
        log.info("%s", compared(self.planned, took))
        taken = _losses(self.run, self.steps_before)
        self.planner.learn(took, {stage: losses[self.steps_before[stage] :] for stage, losses in taken.items()})


def watch(run: Run, model: DiffusionModel, before: Mapping[str, float]) -> Watch:
    """Log the plan of a run whose model is open; before: its timings when this process took it up.

    Nothing is planned where only the report is to be made. No run fails for its plan.
    """
    if run.is_personalised:
        return Watch(run, before, None, {}, {})
    steps = {stage: len(its) for stage, its in _losses(run, [its.name for its in model.stages]).items()}
    planner = Planner(
        config=run.config,
        model=model,
        opened=_since(before, read_timings(run)),
        photos=sum(len(its.subject.photos) for its in each(run)),
        work_of=_work([its.subject for its in each(run)], each(run), model),
    )
    try:
        made = planner.plan()
    except Exception as error:  # of arithmetic on a model that nobody has tried it on
        log.warning("no plan can be made for this model, and the run goes on without: %r", error)
        return Watch(run, before, None, {}, steps)
    log.info("%s", made.told(run.root))
    for lack in made.lacks(run.root):
        log.warning("%s", lack)
    needs = {"memory": float(made.estimate.memory), "disk": float(made.estimate.disk)}
    run.began_with(PLAN, {**made.seconds, **needs})
    return Watch(run, before, planner, made.seconds, steps)


def _work(
    subjects: Sequence[Subject], runs: Sequence[Run], model: DiffusionModel, here: bool = True
) -> Callable[[Config], Work]:
    """runs: what was begun of the subjects.  here: whether the model has weights; of one that is still to be downloaded
    there are no class images."""
    shared = [subject.class_noun for subject in subjects]

    def class_images(config: Config, subject: Subject) -> int:
        prior, seen = config.prior, seen_in(config.training, len(subjects))
        if here:
            return lacking(model, subject, prior, seen)
        return min(prior.num_class_images, seen) * prior.draws_class_images

    def work(config: Config) -> Work:
        works, stages = [], [stage.name for stage in adapters.tuned(model, config)]
        for at, subject in enumerate(subjects):
            run = runs[at] if at < len(runs) else runs[0]
            first_of_class = subject.class_noun not in shared[:at]
            works.append(Work.of(config, subject, run, class_images(config, subject) * first_of_class, stages))
        return reduce(Work.and_of, works)

    return work


def _losses(run: Run, stages: Iterable[str]) -> dict[str, list[Loss]]:
    return {stage: LOSSES.read(run.stage(stage).root) for stage in stages}


def _since(before: Mapping[str, float], now: Mapping[str, float]) -> dict[str, float]:
    return {stage: max(0.0, seconds - before.get(stage, 0.0)) for stage, seconds in now.items()}
