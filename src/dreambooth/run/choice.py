"""Another step than the rule's: whoever looks at the samples may use one whose weights are still there."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dreambooth.errors import RunError
from dreambooth.run import checkpoint
from dreambooth.run.companions import Companion
from dreambooth.run.extend import put_away
from dreambooth.run.folder import Run
from dreambooth.run.kept import of_step, offered, steps
from dreambooth.run.records import CHOSEN, RECOMMENDATION

if TYPE_CHECKING:
    from torch import Tensor


def choose(run: Run, step: int | None) -> None:
    """Have whoever resumes the run make its model of the weights of `step`; hold its lock meanwhile.

    None chooses nothing. Raises RunError for a run that has recommended nothing yet, one of several stages, and a step
    that is not offered.
    """
    if step is None:
        return
    recommendation = RECOMMENDATION.find(run.root)
    if recommendation is None:
        raise RunError(f"{run.root} has not come to its end, or was not measured: there is nothing to choose from yet.")
    if run.later_stages:
        raise RunError(
            f"{run.root} has a later stage, trained on top of step {recommendation.step}: no other can be chosen."
        )
    if step not in (there := offered(run)):
        kept = f"; those of {', '.join(map(str, there))} were" if there else ", nor those of any other"
        every = run.config.training.validation_steps
        raise RunError(
            f"the weights of step {step} were not kept{kept}. Give a new run --checkpointing-steps {every} "
            "--checkpoints-total-limit 100 to keep those of every probe."
        )
    if step != recommendation.step:
        _kept(run, step)  # raises where it is damaged
        put_away(run)
        if step != checkpoint.newest_step(run.best):  # else it is the rule's own
            CHOSEN.write(run.root, step)


def by_hand(run: Run) -> int | None:
    """The step that a person chose in place of the rule's; of several subjects in one run, for all of them."""
    return CHOSEN.find((run.of if isinstance(run, Companion) else run).root)


def in_use(run: Run) -> int | None:
    """The step that the model is of: a person's, else the rule's; None where nothing was measured."""
    return by_hand(run) or checkpoint.newest_step(run.best)


def changes(step: int | None, *others: object) -> bool:
    """Whether anything is asked of a run; raises RunError for a step of one that is to be another by the same words."""
    given = [its for its in (step, *others) if its is not None]
    if step is not None and len(given) > 1:
        raise RunError("--use-step takes a step of a run as it is: give it without other steps or early stopping.")
    return bool(given)


def weights_of(run: Run, step: int) -> Mapping[str, "Tensor"]:
    """The weights of a step as they would be used: their running average where there is one. Raises RunError."""
    tensors = _kept(run, step).tensors
    return tensors.get("ema", tensors["weights"])


def _kept(run: Run, step: int) -> checkpoint.Checkpoint:
    inside = run.best if step in steps(run.best) else run.checkpoints
    return checkpoint.read(of_step(inside, step))
