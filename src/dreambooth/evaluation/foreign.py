"""Photos of what is not in a small world: its model draws smears of them, and its judges cannot tell."""

from collections.abc import Sequence
from pathlib import Path

from dreambooth.config import World
from dreambooth.evaluation.base import Judges, Pictures, TextImageEmbedder
from dreambooth.evaluation.clip import Clip
from dreambooth.evaluation.scores import open_squares
from dreambooth.evaluation.weights import find
from dreambooth.run.records import WorldFit
from dreambooth.support.progress import log


def fit_of(photos: Sequence[Path], world: World, judges: Judges | None = None) -> WorldFit | None:
    """How well photos fit a world; None where nobody wrote down what is in it.

    judges: those that are open already; the world's own CLIP is asked, and opened where it is not among them. Takes a
    second. Raises PhotoError for a photo that cannot be used.
    """
    if (contents := world.contents) is None:
        return None
    own = find(world.judges["clip"], None, "clip")
    clip = judges.clip if judges and judges.clip.name == own.name else Clip.open(own)
    likeness, limit = likeness_to_world(clip, contents.sentences, open_squares(photos)), contents.likeness
    foreign = likeness < limit
    says = contents.foreign.format(likeness=likeness, limit=limit) if foreign else ""
    return WorldFit(likeness=likeness, limit=limit, judge=clip.name, foreign=foreign, says=says)


def warned_of(fit: WorldFit | None) -> bool:
    """Whether the photos are of nothing in their world; then that has been said."""
    if fit is None or not fit.foreign:
        return False
    log.warning("%s", fit.says)
    return True


def likeness_to_world(clip: TextImageEmbedder, sentences: Sequence[str], pictures: Pictures) -> float:
    """The cosine of a picture with the sentence of a world that is nearest to it, on the mean over the pictures."""
    return (clip.images(pictures) @ clip.texts(sentences).T).amax(1).mean().item()
