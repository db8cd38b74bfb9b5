"""A subject's strip on the page of its fleet: a photo, then samples of different prompts."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dreambooth.data.pictures import open_image
from dreambooth.errors import PhotoError
from dreambooth.fleet.outcome import Outcome
from dreambooth.generation.samples import Sample, opened, read_samples
from dreambooth.report.pictures import Picture, picture
from dreambooth.run import Run

SIDE, SAMPLES = 96, 4


@dataclass(frozen=True)
class Strip:
    """A photo of a subject, and samples of different prompts."""

    outcome: Outcome
    photo: Picture | None
    samples: tuple[Picture, ...]


def strip_of(run: Run, outcome: Outcome, photo: Path) -> Strip:
    """The strip of a finished run; without the photo where it was moved away since."""
    first = None
    with suppress(PhotoError):
        first = picture(open_image(photo, SIDE), SIDE, f"a photo of {outcome.name}")
    shown = _of_different_prompts(read_samples(run.samples / "after"))[:SAMPLES]
    pictures = tuple(picture(opened(each), SIDE, f"{each.prompt}, seed {each.seed}") for each in shown)
    return Strip(outcome, first, pictures)


def _of_different_prompts(samples: Sequence[Sample]) -> list[Sample]:
    first: dict[str, Sample] = {}
    for sample in samples:
        first.setdefault(sample.template, sample)
    return [*first.values()]
