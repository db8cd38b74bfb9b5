"""A run before it is made: minutes by stage, memory, room on the disk, and the settings that would need less."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dreambooth.plan.estimate import Estimate
from dreambooth.run.timing import STAGES
from dreambooth.support.device import device, memory_size
from dreambooth.support.progress import duration

USABLE = 0.9
"""Of a card's memory: its context, other windows and the allocator's gaps take the rest."""

WORTH = 0.05
"""The least share of the whole that a stage, or a saving, is worth telling for."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run will need from now on, in all.

    seconds: by the stages of timings.json.  measured: whether earlier runs of this machine say so, or one timed look at
    the model.  less: what would need less, a clause each.  download, judges: bytes of the model and of the judges to be
    downloaded; None where the hub does not say.
    """

    estimate: Estimate
    seconds: Mapping[str, float]
    measured: bool
    less: tuple[str, ...] = ()
    download: int = 0
    judges: int | None = 0

    @property
    def total(self) -> float:
        """Seconds in all."""
        return sum(self.seconds.values())

    def _on_card(self) -> str:
        """Whether it fits the card that --memory names; empty without."""
        if (card := self.estimate.config.memory) is None:
            return ""
        needs = self.estimate.of_run
        fits = "fits" if needs <= USABLE * int(card) * 1e9 else "does not fit"
        return f"; the run itself takes {size_of(needs)} and {fits} into a card of {card} GB"

    def lacks(self, folder: Path) -> list[str]:
        """What the run needs and this machine does not have, a sentence each; folder: as `told` takes it."""
        size, free, found = memory_size(device()), _free(folder), []
        if size and self.estimate.memory > size:
            found.append(
                f"memory: the run needs {size_of(self.estimate.memory)} at most, by arithmetic, and there are "
                f"{size_of(size)}. --plan names settings that need less."
            )
        if self.estimate.disk > free:
            found.append(
                f"disk: the run needs {size_of(self.estimate.disk)} at most, and {size_of(free)} are free. Free some "
                "space, or keep less: --checkpoints-total-limit 1."
            )
        return found

    def told(self, folder: Path) -> str:
        """The plan in a few lines; folder: of the run, there or not."""
        work, size = self.estimate.work, memory_size(device())
        stages = sorted(self.seconds.items(), key=lambda item: -item[1])
        parts = [f"{STAGES[name]} {duration(took)}" for name, took in stages if took >= WORTH * self.total]
        speed = "at the speed of earlier runs here" if self.measured else "a guess: by one forward pass of the model"
        there = f" of {size_of(size)}" if size else ""
        lines = [
            f"plan      {work.class_images} class images to draw, {' + '.join(map(str, work.steps.values()))} steps, "
            f"{work.probes} probes, {sum(work.samples.values())} samples",
            f"  time    about {duration(self.total)} ({speed}): {', '.join(parts)}",
            f"  memory  {size_of(self.estimate.memory)} at most{there}{self._on_card()}",
            f"  disk    {size_of(self.estimate.disk)} of {size_of(_free(folder))} that are free; "
            + to_download(self.download, self.judges),
        ]
        return "\n".join([*lines, *(f"  less    {saving}" for saving in self.less)])


def compared(planned: Mapping[str, float], took: Mapping[str, float]) -> str:
    """What was planned beside what it took, in words."""
    whole, real = sum(planned.values()), sum(took.values())
    off = sorted(took, key=lambda stage: -abs(took[stage] - planned.get(stage, 0.0)))
    first = f"; {STAGES[off[0]]} {duration(took[off[0]])}, planned {duration(planned.get(off[0], 0.0))}" if off else ""
    return f"took {duration(real)}, planned {duration(whole)}{first}"


def to_download(model: int, judges: int | None) -> str:
    """What of a model and its judges is to be downloaded, in words; None where the hub does not say it."""
    if judges is None:
        told = f"{size_of(model)} to download" if model else "nothing of the model to download"
        return f"{told}; the judges come on top, and the hub does not say how large they are"
    if not model + judges:
        return "nothing to download"
    return f"{size_of(model + judges)} to download" + (f" ({size_of(judges)} of it the judges)" if judges else "")


def size_of(size: float) -> str:
    """Bytes as a person says them: "1.5 GB", "40 MB"."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.0f} MB"


def _free(folder: Path) -> int:
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    return shutil.disk_usage(existing).free
