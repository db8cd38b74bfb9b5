"""Section 3.2's class noun, read off the photos: CLIP's zero-shot classification over the nouns of a world.

Each photo belongs to the noun whose sentence is nearest (https://arxiv.org/abs/2103.00020, section 3.1); the judge is
the CLIP of the base model's world, which knows the same words.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dreambooth.config import World
from dreambooth.errors import PromptError
from dreambooth.evaluation import Judges, fit_of
from dreambooth.evaluation.base import Pictures, TextImageEmbedder
from dreambooth.evaluation.clip import Clip
from dreambooth.evaluation.scores import open_squares
from dreambooth.evaluation.weights import find, is_here

TEMPLATE = "a photo of a {}"
CERTAIN = 0.3
"""Least share of a noun that is suggested: of 180 toys' photos .978 are then read right and .022 wrong, at .4 .956 and
.017 (docs/log.md); a CLIP that knows nothing has at most .03 for any."""
LIKELY, UNLIKELY = 0.4, 0.02
"""Least share of another noun, and most of the one that was given, for a warning: a user knows more than CLIP."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What the photos may show.

    shares: of each noun of the vocabulary, summing to 1, the largest first.  foreign: what to tell of photos that are
    of nothing in the model's world, whose shares mean nothing then; else "".
    """

    shares: Mapping[str, float]
    foreign: str = ""

    @property
    def noun(self) -> str | None:
        """The noun, or None where CLIP cannot tell."""
        noun, share = next(iter(self.shares.items()))
        return noun if share >= CERTAIN and not self.foreign else None

    def table(self, count: int = 3) -> str:
        """The likeliest nouns, a line each."""
        return "\n".join(f"{noun:<16} {share:4.0%}" for noun, share in list(self.shares.items())[:count])


def read_class_noun(photos: Sequence[Path], world: World) -> Reading:
    """What kind of thing the photos show, by the CLIP of the world; takes a second.

    Raises PhotoError for a photo that cannot be used and ModelError where the CLIP cannot be found or opened.
    """
    fit = fit_of(photos, world)
    return Reading(shares=shares_of(photos, world), foreign=fit.says if fit else "")


def shares_of(photos: Sequence[Path], world: World, judges: Judges | None = None) -> dict[str, float]:
    """The share of each noun of a world, the largest first; by the CLIP that is open already, or else by its own."""
    clip = judges.clip if judges else Clip.open(find(world.judges["clip"], None, "clip"))
    return classified(clip, open_squares(photos), world.nouns)


def classified(clip: TextImageEmbedder, pictures: Pictures, nouns: Sequence[str]) -> dict[str, float]:
    """The share of each noun, averaged over the pictures, the largest first."""
    sentences = clip.texts([TEMPLATE.format(noun) for noun in nouns])
    shares = (clip.scale * clip.images(pictures) @ sentences.T).softmax(dim=1).mean(dim=0).tolist()
    return dict(sorted(zip(nouns, shares, strict=True), key=lambda pair: -pair[1]))


def suggested(photos: Sequence[Path], world: World, may_download: bool = True) -> str:
    """The class noun of photos for which none was given.

    Raises PromptError where CLIP cannot tell, with the likeliest, or is not on this machine and must not be downloaded.
    """
    if not may_download and not is_here(clip := world.judges["clip"], None):
        raise PromptError(
            f"a plan downloads nothing, and {clip}, which would read the class noun off the photos, is not on this "
            "machine yet: say what kind of thing it is, such as --class-noun dog."
        )
    reading = read_class_noun(photos, world)
    if reading.noun is None:
        why = reading.foreign or f"CLIP cannot tell what the photos show:\n{reading.table()}"
        raise PromptError(f"{why}\nSay what kind of thing it is, such as --class-noun dog.")
    return reading.noun


def doubt(noun: str, reading: Reading, world: World) -> str:
    """What to tell of a class noun that the base model does not know, or that the photos disagree with; else ""."""
    names = {noun.lower(), noun.lower().split()[-1]}  # a toy dog is a dog
    if world.contents and names.isdisjoint(world.nouns):
        return (
            f'the base model does not know "{noun}" and will draw something else: what it knows is '
            f"{', '.join(world.nouns)}."
        )
    given = [share for other, share in reading.shares.items() if other in names]
    share = reading.shares[reading.noun] if reading.noun else 0
    if share >= LIKELY and given and max(given) <= UNLIKELY:
        return (
            f"the photos look like a {reading.noun} ({share:.0%} by CLIP), not like a {noun}: --class-noun says which."
        )
    return ""
