"""What is wrong with photos as far as the judges see: another subject among them, cut off, of another class.

They only ever warn: a judge of another world, or a subject that it was never trained to tell, may be wrong.
"""

from collections.abc import Iterator

import numpy as np
from PIL import Image
from torch import Tensor

from dreambooth.class_noun import Reading, doubt, shares_of
from dreambooth.config import World
from dreambooth.data.photos import names_of
from dreambooth.data.pictures import open_image, square_scores
from dreambooth.doctor.faults import ALL, Fault
from dreambooth.evaluation import Judges, measure_photos
from dreambooth.evaluation.base import PatchEmbedder
from dreambooth.evaluation.masks import look_of
from dreambooth.evaluation.scores import LOOKED_AT
from dreambooth.subject import Subject

OTHER = 0.5
"""A photo whose median DINO with the others is below this share of theirs, as a whole and by the subject alone, shows
another subject: none of 432 of toys, and 93 % of those of another toy of the same class (docs/log.md)."""

LIKE_EACH_OTHER = 0.2
"""Photos that have less among themselves say nothing of any of them."""

OUTSIDE = 0.25
"""A quarter of the subject beyond the square; where it fits into it, less is found there by mistake."""

WIDE = 1.2
"""Sides whose longer one is less than so many times the shorter one have no room for a subject beyond the square."""


def examine_seen(subject: Subject, world: World, judges: Judges | None) -> list[Fault]:
    """What the judges of a world that the photos fit see; without them the world's CLIP tells the class alone.

    Takes a second. Raises PhotoError for a photo that cannot be used.
    """
    faults = _compared(subject, judges) if judges else []
    reading = Reading(shares=shares_of(subject.photos, world, judges))
    if subject.class_noun and (doubts := doubt(subject.class_noun, reading, world)):
        says, _, remedy = doubts.partition(": ")
        faults.append(Fault(where=ALL, says=says, remedy=remedy.rstrip(".")))
    return faults


def _compared(subject: Subject, judges: Judges) -> list[Fault]:
    names, seen = names_of(subject.photos), measure_photos(judges, subject.photos).seen
    odd = set(others_subject(seen.dino)) & set(others_subject(seen.masked))
    faults = [
        Fault(where=names[at], says="seems to show another subject than the others", remedy="leave it out if it does")
        for at in sorted(odd)
    ]
    return faults + [_cut(names[at], share) for at, share in _beyond(subject, judges.dino)]


def others_subject(embeddings: Tensor) -> list[int]:
    """Which of N photos (N, D) are unlike the others, which are like each other; none of fewer than three."""
    cosines, count = (embeddings @ embeddings.T).numpy(), len(embeddings)
    found = []
    for at in range(count if count > 2 else 0):
        rest = [other for other in range(count) if other != at]
        among = float(np.median([cosines[a, b] for a in rest for b in rest if a < b]))
        if among > LIKE_EACH_OTHER and float(np.median(cosines[at, rest])) < OTHER * among:
            found.append(at)
    return found


def _beyond(subject: Subject, dino: PatchEmbedder) -> Iterator[tuple[int, float]]:
    """The photos whose subject reaches beyond their square of most detail, and how much of it does."""
    whole = [open_image(photo, at_least=LOOKED_AT) for photo in subject.photos]
    wide = [at for at, image in enumerate(whole) if max(image.size) > WIDE * min(image.size)]
    if not wide or len(whole) < 2:
        return
    patches = dino.patches(whole)
    evidence = look_of(patches).evidence(patches).clamp(min=0).numpy()
    for at in wide:
        image = whole[at]
        along = evidence[at].sum(0 if image.width > image.height else 1)
        if (share := _outside(image, along)) > OUTSIDE:
            yield at, share


def _outside(image: Image.Image, along: np.ndarray) -> float:
    """The share of a subject, which is `along` the long side so much, that the training square leaves out."""
    scores = square_scores(image)
    side = min(image.size) / max(image.size)
    first = int(scores.argmax()) / max(len(scores) - 1, 1) * (1 - side)
    places = (np.arange(len(along)) + 0.5) / len(along)
    beyond = along[(places < first) | (places > first + side)].sum()
    return float(beyond / max(along.sum(), 1e-6))


def _cut(name: str, share: float) -> Fault:
    return Fault(
        where=name,
        says=f"has about {share:.0%} of its subject outside the square that training sees",
        remedy="cut the photo yourself, so that the subject is as wide as it is high",
    )
