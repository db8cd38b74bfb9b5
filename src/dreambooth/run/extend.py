"""A run made longer: what it made at its end is put away, what a longer run would have made until then stays."""

import shutil
from pathlib import Path

from dreambooth.config import Config
from dreambooth.errors import RunError
from dreambooth.run import Run, checkpoint
from dreambooth.run.companions import each
from dreambooth.run.contents import MADE_AT_THE_END
from dreambooth.run.records import RECOMMENDATION, SCORES
from dreambooth.support.progress import log


def extend(run: Run, max_train_steps: int | None = None, early_stopping: bool | None = None) -> None:
    """Give a run other steps than it was begun with, for the next one who resumes it; hold its lock meanwhile.

    Trained on, it is what a run of so many steps at once would have been, to the bit, where the learning rate does not
    depend on their number; where it does, a warning says so. Raises RunError where more steps than that are done, or
    where early stopping would end it at once, ConfigError for a method that takes no steps.
    """
    before, asked = run.config, {"max_train_steps": max_train_steps, "early_stopping": early_stopping}
    given = {name: value for name, value in asked.items() if value is not None}
    built = Config.build(before.flat() | given)  # and no more of it: a hub id may be the name of a folder here and now
    after = before.model_copy(update={"training": built.training, "probe": built.probe})
    if after == before:
        return
    _require_steps_to_come(run, after)
    last, steps = before.training.max_train_steps, after.training.max_train_steps
    if (schedule := after.training.lr_scheduler) != "constant" and steps != last:
        log.warning(
            "the learning rate falls to 0 over all steps (%s): those that are done were planned for %d, the others are "
            "for %d. A run of %d steps at once would have come out otherwise.",
            *(schedule, last, steps, steps),
        )
    put_away(run)
    for later in run.later_stages:  # it began with what the first stage had made, which is another model now
        _remove(later.root)
    if last != steps and last % before.training.validation_steps:  # only the last step is measured out of turn
        for its in each(run):
            SCORES.forget(its.root, last)
            _remove(its.samples / f"step-{last:06d}")
        if checkpoint.newest_step(run.best) == last:
            _remove(run.best)
    run.save_config(after)


def put_away(run: Run) -> None:
    """Remove what the end of a run has made; whoever resumes it makes it again."""
    for its in each(run):
        for name in MADE_AT_THE_END:
            _remove(its.root / name)


def _require_steps_to_come(run: Run, after: Config) -> None:
    done, steps = checkpoint.newest_step(run.checkpoints) or 0, after.training.max_train_steps
    if steps < done:
        raise RunError(f"{run.root} has {done} steps behind it: --max-train-steps {steps} must be more than that.")
    recommendation = RECOMMENDATION.find(run.root)
    if recommendation and recommendation.stopped_early and after.probe.early_stopping:
        raise RunError(
            f"{run.root} was stopped after step {recommendation.last} by --early-stopping, and would be again: give "
            "--no-early-stopping as well."
        )


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
