"""Photos of what is not in a small world: its model draws smears of them, and its judges cannot tell."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dreambooth.config import World
from dreambooth.evaluation.base import Pictures, TextImageEmbedder
from dreambooth.evaluation.clip import Clip
from dreambooth.evaluation.scores import open_squares
from dreambooth.evaluation.weights import find


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How well photos fit a small world.

    likeness: see `likeness_to_world`.  limit: the least that the world's own photos have.  judge: who says so.
    sentence: what to tell the user of foreign photos, with {likeness} and {limit}.
    """

    likeness: float
    limit: float
    judge: str
    sentence: str

    @property
    def foreign(self) -> bool:
        """Whether the photos are of nothing that the model can draw."""
        return self.likeness < self.limit

    @property
    def says(self) -> str:
        """What to tell the user of foreign photos."""
        return self.sentence.format(likeness=self.likeness, limit=self.limit)

    @property
    def record(self) -> dict[str, Any]:
        """As world_fit.json has it."""
        numbers = {"likeness": self.likeness, "limit": self.limit, "judge": self.judge}
        return {**numbers, "foreign": self.foreign, "says": self.says if self.foreign else ""}


def fit_of(photos: Sequence[Path], world: World) -> Fit | None:
    """How well photos fit a world; None where nobody wrote down what is in it.

    Takes a second. Raises PhotoError for a photo that cannot be used.
    """
    if world.contents is None:
        return None
    clip = Clip.open(find(world.judges["clip"], None, "clip"))
    likeness = likeness_to_world(clip, world.contents.sentences, open_squares(photos))
    return Fit(likeness=likeness, limit=world.contents.likeness, judge=clip.name, sentence=world.contents.foreign)


def likeness_to_world(clip: TextImageEmbedder, sentences: Sequence[str], pictures: Pictures) -> float:
    """The cosine of a picture with the sentence of a world that is nearest to it, on the mean over the pictures."""
    return (clip.images(pictures) @ clip.texts(sentences).T).amax(1).mean().item()
