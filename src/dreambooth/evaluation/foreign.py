"""Photos of a world that the embedded model does not know: it draws small rendered toys, and smears of all else."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dreambooth.evaluation.base import Pictures, TextImageEmbedder
from dreambooth.evaluation.clip import Clip
from dreambooth.evaluation.scores import open_squares
from dreambooth.evaluation.weights import EMBEDDED, find
from dreambooth.toybox.world import CLASSES, SCENES

LIMIT = 0.605
"""Least likeness of photos of a toy to the words of its world.

`python -m benchmarks.foreign_photos` prints how far photos of toys and of real things are from it.
"""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How well photos fit a base model's world. likeness: see `likeness_to_world`.  judge: who says so."""

    likeness: float
    limit: float
    judge: str

    @property
    def foreign(self) -> bool:
        """Whether the photos are of nothing that the model can draw."""
        return self.likeness < self.limit

    @property
    def says(self) -> str:
        """What to tell the user of foreign photos."""
        return (
            "these photos do not look like toys that the embedded model can draw (their likeness to the sentences of "
            f"its world is {self.likeness:.2f}, that of toys {self.limit:.2f} and more, by its own CLIP). It knows "
            "a few kinds of rendered toys and nothing else, and so do its judges: use a real base model with --model."
        )

    @property
    def record(self) -> dict[str, Any]:
        """As world_fit.json has it."""
        return {**asdict(self), "foreign": self.foreign, "says": self.says if self.foreign else ""}


def fit_of(photos: Sequence[Path], base_model: str) -> Fit | None:
    """How well photos fit the world of a base model; None where nobody wrote down what is in it.

    Takes a second. Raises PhotoError for a photo that cannot be used.
    """
    if base_model != EMBEDDED:
        return None
    clip = Clip.open(find(EMBEDDED, None, "clip"))
    return Fit(likeness=likeness_to_world(clip, open_squares(photos)), limit=LIMIT, judge=clip.name)


def likeness_to_world(clip: TextImageEmbedder, pictures: Pictures) -> float:
    """The cosine of a picture with the sentence nearest to it of "a [class] [scene]", on the mean over the pictures."""
    sentences = [f"a {class_noun} {scene}" for class_noun in CLASSES for scene in SCENES]
    return (clip.images(pictures) @ clip.texts(sentences).T).amax(1).mean().item()
