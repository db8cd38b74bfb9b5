"""Which steps' weights are there, by the names of their folders; torch is not needed to know."""

from pathlib import Path

from dreambooth.run.folder import Run
from dreambooth.run.records import SCORES

PREFIX = "checkpoint-"


def of_step(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step is, or would be."""
    return folder / f"{PREFIX}{step}"


def newest_first(folder: Path) -> list[Path]:
    """The folders of all checkpoints, good or not."""
    steps = {path: path.name.removeprefix(PREFIX) for path in folder.glob(f"{PREFIX}*")}
    return sorted((p for p, step in steps.items() if step.isdigit()), key=lambda p: int(steps[p]), reverse=True)


def steps(folder: Path) -> list[int]:
    """Their steps, the newest first."""
    return [int(path.name.removeprefix(PREFIX)) for path in newest_first(folder)]


def offered(run: Run) -> list[int]:
    """The steps of a run that were measured and whose weights are there, in their order; see `choice.choose`.

    None where a later stage was trained on top of one.
    """
    if run.later_stages:
        return []
    measured = {probed.step for probed in SCORES.read(run.root)}
    return sorted(step for step in {*steps(run.checkpoints), *steps(run.best)} if step in measured)
