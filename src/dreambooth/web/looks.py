"""What may go wrong with a photo, seen before anything is trained: too small, blurred, dark, or one that is there.

Each caution is a sentence with what to do. None keeps a photo out: a person sees better.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE, SHARP = 256, 0.05
"""Least `_sharpness` at SIDE pixels: 42 photos of things and pets have .09 and more, blurred by 0.8 % .034 and less."""
DARK, BRIGHT = 0.13, 0.94
"""Bounds of the mean luminance."""
SAME = 6
"""Bits of 64 in which the hashes of two shots of one moment differ at most."""


def look_of(image: Image.Image) -> str:
    """A hash of how a picture looks: whether each of 64 places is brighter than the one to its right."""
    small = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.BOX), dtype=np.int16)
    bits = (small[:, :-1] > small[:, 1:]).flatten()
    return f"{int(''.join('1' if bit else '0' for bit in bits), 2):016x}"


def too_small(width: int, height: int, side: int) -> tuple[str, ...]:
    """What to tell of a photo, or of the square cut from it, that has fewer pixels than a model learns at."""
    if min(width, height) >= side:
        return ()
    return (
        f"It is only {width} x {height} pixels, and the model learns at {side}: it will look soft. "
        "Choose the original instead of a copy from a chat, or a larger photo.",
    )


def cautions(image: Image.Image, others: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """What to tell of a photo, whatever learns from it. others: name and look of the photos that are there."""
    found, grey = [], _luminance(image)
    if _sharpness(grey) < SHARP:
        found.append("It looks blurred, and what is blurred is learned so. Take it again, or leave it out.")
    if not DARK <= float(grey.mean()) <= BRIGHT:
        how, mend = ("dark", "more") if float(grey.mean()) < DARK else ("bright", "less")
        found.append(f"It is very {how}. Take it again with {mend} light.")
    mine = look_of(image)
    if same := [other for other, look in others if _differing(mine, look) <= SAME]:
        found.append(f"It is nearly the same as {same[0]}. Another side or another place teaches more: leave one out.")
    return tuple(found)


def _luminance(image: Image.Image) -> NDArray[np.float64]:
    """(H, W) in [0, 1], its longer side at SIDE pixels."""
    grey = image.convert("L")
    grey.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(grey, dtype=np.float64) / 255


def _sharpness(grey: NDArray[np.float64]) -> float:
    """The mean size of the second differences in the sharpest tenth of the picture: a subject may be small."""
    if min(grey.shape) < 8:
        return 1.0
    curved = np.abs(4 * grey[1:-1, 1:-1] - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:])
    return float(np.sort(curved.flatten())[-curved.size // 10 :].mean())


def _differing(one: str, other: str) -> int:
    return (int(one, 16) ^ int(other, 16)).bit_count()
