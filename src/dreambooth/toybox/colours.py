"""Colours have names, toys have colours: hues lie anywhere between the names, and words only say which is near."""

from __future__ import annotations

import colorsys
import math
import random
from functools import lru_cache

RGB = tuple[float, float, float]

COLOURS: dict[str, RGB] = {
    "red": (0.86, 0.08, 0.10),
    "orange": (1.00, 0.48, 0.03),
    "yellow": (0.98, 0.86, 0.10),
    "green": (0.10, 0.62, 0.16),
    "turquoise": (0.08, 0.76, 0.72),
    "blue": (0.10, 0.25, 0.88),
    "purple": (0.50, 0.14, 0.72),
    "pink": (1.00, 0.50, 0.72),
    "brown": (0.47, 0.25, 0.10),
    "black": (0.09, 0.09, 0.11),
    "grey": (0.50, 0.51, 0.53),
    "white": (0.95, 0.95, 0.94),
}

# Where each hue ends, in degrees.
_HUES = (
    (14, "red"),
    (45, "orange"),
    (66, "yellow"),
    (160, "green"),
    (195, "turquoise"),
    (255, "blue"),
    (292, "purple"),
    (345, "pink"),
    (361, "red"),
)
_BROWN_BELOW = {"red": 0.45, "orange": 0.65, "yellow": 0.5}  # the value of dark warm hues
_SHADES = 256  # of each name
_APART = 0.32  # between the hues of one toy, in Oklab, so that patterns and markings show


def oklab(colour: RGB) -> tuple[float, float, float]:
    """An sRGB colour in Oklab (https://bottosson.github.io/posts/oklab), where distance is what the eye sees."""
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour)
    long = (0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b) ** (1 / 3)
    medium = (0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b) ** (1 / 3)
    short = (0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b) ** (1 / 3)
    return (
        0.2104542553 * long + 0.7936177850 * medium - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * medium + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * medium - 0.8086757660 * short,
    )


def distance(first: RGB, second: RGB) -> float:
    """How different two colours look: 0 for equal ones, 1 between black and white."""
    return math.dist(oklab(first), oklab(second))


def name_of(colour: RGB) -> str:
    """What people call a colour: by its hue, unless it is pale, grey or dark."""
    hue, saturation, value = colorsys.rgb_to_hsv(*colour)
    if value < 0.22:
        return "black"
    if saturation < 0.2:
        return "white" if value > 0.78 else "grey"
    name = next(name for end, name in _HUES if hue * 360 < end)
    if name == "red" and saturation < 0.55 and value > 0.75:
        return "pink"
    if name == "pink" and value < 0.6:
        return "purple"
    return "brown" if value < _BROWN_BELOW.get(name, 0.0) else name


def _nearest(colour: RGB) -> str:
    return min(COLOURS, key=lambda name: distance(COLOURS[name], colour))


@lru_cache(maxsize=1)
def _shades() -> dict[str, list[RGB]]:
    """Colours around that of each name, spread over all that are nearer to it than to any other."""
    rng = random.Random("shades")
    found: dict[str, list[RGB]] = {name: [] for name in COLOURS}
    while any(len(shades) < _SHADES for shades in found.values()):
        vivid = rng.random() < 0.7
        saturation, value = (rng.uniform(0.5, 1), rng.uniform(0.4, 1)) if vivid else (rng.random() ** 2, rng.random())
        colour = colorsys.hsv_to_rgb(rng.random(), saturation, 0.06 + 0.94 * value)
        name = _nearest(colour)
        if len(found[name]) < _SHADES and distance(colour, COLOURS[name]) < 0.22:
            found[name].append(colour)
    return found


def sample(name: str, rng: random.Random) -> RGB:
    """A colour near that of this name, which need not go by it; raises KeyError for a name there is not."""
    r, g, b = rng.choice(_shades()[name])
    return round(r, 4), round(g, 4), round(b, 4)


def sample_apart(others: list[RGB], rng: random.Random) -> RGB:
    """A colour of any name that is easily told from the others, or as easily as sixty tries allow."""
    tried: list[tuple[float, RGB]] = []
    while len(tried) < 60 and not (tried and tried[-1][0] >= _APART):
        colour = sample(rng.choice(tuple(COLOURS)), rng)
        tried.append((min(distance(colour, other) for other in others), colour))
    return max(tried)[1]
