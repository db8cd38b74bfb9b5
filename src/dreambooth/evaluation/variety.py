"""How different the pictures of one prompt are that leaves it open: a model that has forgotten draws one floor only.

Both numbers depend on how many pictures there are, so they compare with those of as many others alone; best from the
same seeds, as the noise has a say in the place.
"""

import math
from collections.abc import Sequence
from typing import Self, final

from dreambooth.config import World
from dreambooth.evaluation import metrics
from dreambooth.evaluation.base import Judges, Pictures, TextImageEmbedder
from dreambooth.run.records import Varied, Variety

MOST = 32
"""Pictures of a prompt that are looked at, the first ones: their pairs are many, and take memory."""


@final
class SceneReader:
    """Says in which of the scenes of a world a picture is, by the sentence that a CLIP puts nearest to it."""

    def __init__(self, clip: TextImageEmbedder, sentences: Sequence[str]) -> None:
        self.clip, self.sentences = clip, clip.texts(sentences)

    @classmethod
    def of(cls, judges: Judges, world: World, class_prompt: str) -> Self | None:
        """The reader of a world's scenes; None where nobody wrote them down.

        class_prompt: "a [class noun]", which is in every picture.
        """
        if world.contents is None:
            return None
        return cls(judges.clip, [f"{class_prompt} {scene}" for scene in world.contents.scenes])

    def counts(self, pictures: Pictures) -> list[int]:
        """How many of the pictures are in each scene, in the order of the sentences."""
        nearest = (self.clip.images(pictures) @ self.sentences.T).argmax(1)
        counts: list[int] = nearest.bincount(minlength=len(self.sentences)).tolist()
        return counts


def effective(counts: Sequence[int]) -> float:
    """The effective number of scenes: exp of the entropy of how often each was seen (Hill 1973, order 1).

    1 where all pictures share one, k where k share them evenly. Of few pictures it is too low: of 8 from ten equally
    frequent scenes 5.3 on the mean, and never above 8. Raises ValueError for none.
    """
    total = sum(counts)
    if total == 0:
        raise ValueError("there are no pictures to count the scenes of")
    shares = [count / total for count in counts if count]
    return math.exp(-sum(share * math.log(share) for share in shares))


def effective_error(counts: Sequence[int]) -> float:
    """The standard error of `effective` as a share of it: that of the entropy of the counts (Basharin 1959).

    0 where every scene was seen equally often.  Of 8 pictures it is a quarter to a third too small; the jackknife's is
    as much too large where many scenes are frequent.  Raises ValueError for no pictures.
    """
    total, entropy = sum(counts), math.log(effective(counts))
    shares = [count / total for count in counts if count]
    return math.sqrt(sum(share * (math.log(share) + entropy) ** 2 for share in shares) / total)


def variety(judges: Judges, pictures: Pictures, reader: SceneReader | None = None) -> Variety | None:
    """How different the pictures of one prompt are; None for fewer than two."""
    pictures = pictures[:MOST]
    if len(pictures) < 2:
        return None
    distances, counts = judges.perceptual.among(pictures), reader.counts(pictures) if reader else None
    div, error = metrics.div(distances), metrics.div_error(distances, len(pictures))
    errors: dict[Varied, float] = {"div": error / div} if div and math.isfinite(error) else {}
    return Variety(
        div=div,
        scenes=effective(counts) if counts else None,
        pictures=len(pictures),
        errors=errors | ({"scenes": effective_error(counts)} if counts else {}),
    )
