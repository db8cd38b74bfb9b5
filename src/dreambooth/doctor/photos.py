"""What is wrong with photos as far as their pixels tell: unreadable, tiny, blurred, alike, too few or too many."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from PIL import Image

from dreambooth.data.photos import decoded, names_of
from dreambooth.data.pictures import orientation_of, size_of
from dreambooth.doctor.faults import ALL, Fault
from dreambooth.errors import PhotoError
from dreambooth.support.files import sha256

MANY = 20
"""The most photos that are usual."""

LOOKED_AT = 512
"""Pixels of the short side at which a photo is looked at, where it has as many."""

STEEP, REACH = 1 / 3, 9
"""Of edges that rise within REACH pixels the sharpest tenth rise by this share of it from one pixel to the next; where
less, the photo is blurred. Photos: .67 and more; blurred by 3 pixels, or moved by 15: .31 and less (docs/log.md)."""

CONTRASTS = (40, 15)
"""How much of 255 an edge rises at least; where no edge does, of the second."""

EDGES = 1 / 5000
"""Share of the pixels that lie on an edge, in a photo that shows anything."""

THUMB = 16
NEAR, ALIKE = 0.3, 0.97
"""Two thumbnails of THUMB pixels a side are one shot where they differ by less than NEAR of their own contrast, or
correlate by more than ALIKE: no two of 738 pairs of one subject's, and all that were cut by 2 % (docs/log.md)."""


def examine_photos(photos: Sequence[Path], resolution: int) -> list[Fault]:
    """Decode every photo once, and tell what a person would see too; resolution: pixels that training takes.

    Takes about a tenth of a second a photo, and no model.
    """
    names, faults, thumbs = names_of(photos), [], {}
    digests: dict[str, str] = {}
    for name, photo, image in zip(names, photos, decoded(photos, LOOKED_AT), strict=True):
        if isinstance(image, PhotoError):
            faults += [_unusable(photo, name, problem) for problem in image.problems]
            continue
        if (first := digests.setdefault(sha256(photo), name)) != name:
            faults.append(_copy(name, f"is the same file as {first}"))
            continue
        short = min(size_of(photo))
        if short < resolution // 2:
            says = f"is tiny: {short} pixels a side, and training takes {resolution}"
            faults.append(Fault(where=name, says=says, remedy="take a larger copy, not one of a chat or a thumbnail"))
        if (held := orientation_of(photo)) not in range(9):
            says = f"has an EXIF orientation of {held}, which does not exist"
            faults.append(Fault(where=name, says=says, remedy="look whether it stands upright, and turn it if not"))
        faults += _blurred(name, image)
        thumbs[name] = np.asarray(image.resize((THUMB, THUMB), Image.Resampling.BOX), dtype=np.float64)
    faults += [_copy(other, f"is nearly the same picture as {name}") for name, other in _near(thumbs)]
    return [*faults, *_number(len(digests), len(photos))]


def require_usable(faults: Sequence[Fault], photos: Sequence[Path]) -> None:
    """Raise PhotoError, with all problems, where a photo cannot be used, or there is none."""
    if not photos:
        raise PhotoError(["there are none; three to five photos of the subject are usual"])
    paths = dict(zip(names_of(photos), photos, strict=True))
    if problems := [f"{paths[fault.where]} {fault.says}: {fault.remedy}" for fault in faults if fault.fatal]:
        raise PhotoError(problems)


def sharpness(image: Image.Image) -> float | None:
    """How steep the sharpest edges of a picture are, in (0, 1], in the direction that is the more blurred.

    The short side is brought to LOOKED_AT pixels at most. None where there are no edges, in no colour.
    """
    scale = min(1.0, LOOKED_AT / min(image.size))
    size = [round(length * scale) for length in image.size]
    small = image.convert("RGB").resize((size[0], size[1]), Image.Resampling.LANCZOS)
    pixels = np.asarray(small, dtype=np.float32)
    for contrast in CONTRASTS:
        directions = [
            [steep for colour in np.moveaxis(seen, 2, 0) if (steep := _steepness(colour, contrast))]
            for seen in (pixels, pixels.swapaxes(0, 1))
        ]
        if any(directions):
            return min(max(steeps) for steeps in directions if steeps)
    return None


def _steepness(values: NDArray[np.float32], contrast: int) -> float | None:
    """Of the sharpest tenth of edges along rows (h, w), the largest step over the whole rise; None without edges."""
    runs = sliding_window_view(values, REACH, axis=1)
    rise = runs.max(-1) - runs.min(-1)
    edges = rise > contrast
    if edges.mean() < EDGES:
        return None
    steps = sliding_window_view(np.abs(np.diff(values, axis=1)), REACH - 1, axis=1).max(-1)
    return float(np.quantile(steps[edges] / rise[edges], 0.9))


def _blurred(name: str, image: Image.Image) -> Iterator[Fault]:
    steep = sharpness(image)
    if steep is None:
        says = "shows hardly anything: no edge is in it, as in the dark, in fog or far out of focus"
        yield Fault(where=name, says=says, remedy="leave it out")
    elif steep < STEEP:
        yield Fault(where=name, says="is blurred all over", remedy="take it again, or leave it out: blur is learned")


def _near(thumbs: dict[str, NDArray[np.float64]]) -> Iterator[tuple[str, str]]:
    """Pairs of one shot, each later photo once."""
    names, told = list(thumbs), set[str]()
    rows = np.stack([*thumbs.values()]) if thumbs else np.zeros((0, THUMB, THUMB, 3))
    for at, name in enumerate(names):
        for other in (names[at + 1 + later] for later in np.flatnonzero(_one_shot(rows[at], rows[at + 1 :]))):
            if not told & {name, other}:
                told.add(other)
                yield name, other


def _one_shot(thumb: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of N other thumbnails (N, h, w, 3) are of the same shot, (N,)."""
    contrast = (thumb.std() + others.std((1, 2, 3))) / 2 + 1e-6
    apart = np.abs(others - thumb).mean((1, 2, 3)) / contrast
    grey, greys = thumb.mean(2) - thumb.mean(), others.mean(3) - others.mean((1, 2, 3))[:, None, None]
    norm = np.sqrt((grey**2).sum() * (greys**2).sum((1, 2))) + 1e-6
    return np.asarray((apart < NEAR) | (((grey * greys).sum((1, 2)) / norm > ALIKE) & (apart < 1)))


def _number(different: int, given: int) -> Iterator[Fault]:
    if different == 1:
        says = "are one photo: its scene will be learned with the subject"
        yield Fault(where=ALL, says=says, remedy="three to five, in different places, work better")
    elif given > MANY:
        says = f"are {given}: are all of them of one and the same subject?"
        yield Fault(where=ALL, says=says, remedy="three to five are usual; leave out what shows another")


def _copy(name: str, says: str) -> Fault:
    return Fault(where=name, says=says, remedy="leave one out: what is seen twice is learned twice")


def _unusable(photo: Path, name: str, problem: str) -> Fault:
    says, _, remedy = problem.removeprefix(f"{photo} ").rpartition(": ")
    return Fault(where=name, says=says, remedy=remedy, fatal=True)
