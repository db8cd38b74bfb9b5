"""The primitives that toys are built of: ellipsoids, boxes and tapered tubes in toy space.

Toy space: x forward, y to the toy's left, z up, the ground at z = 0, a toy about 1.3 high.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from dreambooth.toybox.colours import RGB

BALL, TUBE, BOX = 0, 1, 2
Vec = tuple[float, float, float]

BLACK: RGB = (0.05, 0.05, 0.06)
WHITE: RGB = (0.97, 0.97, 0.97)
UP: Vec = (0.0, 0.0, 1.0)


class Part(NamedTuple):
    """One primitive: half sizes along its own axes, the third of which points along `axis`.

    coat: part of the toy's own skin, where its pattern and its markings show.
    """

    kind: int
    centre: Vec
    size: Vec
    colour: RGB
    axis: Vec = UP
    taper: float = 1.0  # radius of a tube's far end over that of its near end; 0 is a cone
    coat: bool = False
    worn: bool = False


@dataclass(frozen=True, kw_only=True)
class Anchors:
    """Where a class wears things and is marked: top of the head with its radius, neck, an eye, the middle of the body.

    neck_front: how far before the neck's centre a scarf hangs.
    """

    head: Vec
    head_radius: float
    neck: Vec
    neck_radius: float
    neck_front: float = 0.2
    neck_axis: Vec = UP
    eye: Vec = (0.0, 0.0, 0.0)
    body: Vec = (0.0, 0.0, 0.5)
    body_size: Vec = (0.4, 0.3, 0.3)


@dataclass(frozen=True)
class Figure:
    """A toy: its primitives, and where it wears things and is marked."""

    parts: list[Part]
    anchors: Anchors


def ball(centre: Vec, size: Vec | float, colour: RGB, *, coat: bool = False) -> Part:
    """An ellipsoid."""
    half = (size, size, size) if isinstance(size, float) else size
    return Part(BALL, centre, half, colour, coat=coat)


def box(centre: Vec, size: Vec, colour: RGB, *, coat: bool = False) -> Part:
    """An upright box of these half sizes."""
    return Part(BOX, centre, size, colour, coat=coat)


def tube(
    start: Vec,
    end: Vec,
    radius: float,
    colour: RGB,
    *,
    taper: float = 1.0,
    coat: bool = False,
) -> Part:
    """A capped tube of `radius` at the start and `radius * taper` at the end."""
    delta = (end[0] - start[0], end[1] - start[1], end[2] - start[2])
    length = math.sqrt(sum(d * d for d in delta))
    centre = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2, (start[2] + end[2]) / 2)
    axis = (delta[0] / length, delta[1] / length, delta[2] / length)
    return Part(TUBE, centre, (radius, radius, length / 2), colour, axis, taper, coat)


def eyes(x: float, y: float, z: float, radius: float, iris: RGB = WHITE) -> list[Part]:
    """Bright eyes with black pupils, so that they show on a black toy as on a white one."""
    parts = []
    for side in (-1, 1):
        parts.append(ball((x, side * y, z), radius, iris))
        parts.append(ball((x + 0.6 * radius, side * y * 1.02, z), radius * 0.66, BLACK))
    return parts
