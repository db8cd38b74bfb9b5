"""What each class is built of: ellipsoids, boxes and tapered tubes in toy space.

Toy space: x forward, y to the toy's left, z up, the ground at z = 0, a toy about 1.3 high.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from dreambooth.toybox.world import COLOURS, RGB, Toy

BALL, TUBE, BOX = 0, 1, 2
Vec = tuple[float, float, float]

BLACK: RGB = (0.05, 0.05, 0.06)
WHITE: RGB = (0.97, 0.97, 0.97)
ORANGE: RGB = (1.0, 0.55, 0.05)
GLASS: RGB = (0.62, 0.84, 0.95)
UP: Vec = (0.0, 0.0, 1.0)


class Part(NamedTuple):
    """One primitive: half sizes along its own axes, the third of which points along `axis`."""

    kind: int
    centre: Vec
    size: Vec
    colour: RGB
    axis: Vec = UP
    taper: float = 1.0  # radius of a tube's far end over that of its near end; 0 is a cone
    patterned: bool = False
    worn: bool = False


@dataclass(frozen=True)
class Anchors:
    """Where a class wears things: top of the head with its radius and tilt, neck with its radius."""

    head: Vec
    head_radius: float
    neck: Vec
    neck_radius: float
    front: float  # how far before the neck's centre a scarf hangs
    neck_axis: Vec = UP


def ball(centre: Vec, size: Vec | float, colour: RGB, *, axis: Vec = UP, patterned: bool = False) -> Part:
    """An ellipsoid."""
    half = (size, size, size) if isinstance(size, float) else size
    return Part(BALL, centre, half, colour, axis, 1.0, patterned)


def box(centre: Vec, size: Vec, colour: RGB, *, patterned: bool = False) -> Part:
    """An upright box of these half sizes."""
    return Part(BOX, centre, size, colour, UP, 1.0, patterned)


def tube(start: Vec, end: Vec, radius: float, colour: RGB, *, taper: float = 1.0, patterned: bool = False) -> Part:
    """A capped tube of `radius` at the start and `radius * taper` at the end."""
    delta = (end[0] - start[0], end[1] - start[1], end[2] - start[2])
    length = math.sqrt(sum(d * d for d in delta))
    centre = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2, (start[2] + end[2]) / 2)
    axis = (delta[0] / length, delta[1] / length, delta[2] / length)
    return Part(TUBE, centre, (radius, radius, length / 2), colour, axis, taper, patterned)


def _eyes(x: float, y: float, z: float, radius: float, iris: RGB = WHITE) -> list[Part]:
    """Bright eyes with black pupils, so that they show on a black toy as on a white one."""
    parts = []
    for side in (-1, 1):
        parts.append(ball((x, side * y, z), radius, iris))
        parts.append(ball((x + 0.6 * radius, side * y * 1.02, z), radius * 0.66, BLACK))
    return parts


def _dog(toy: Toy) -> tuple[list[Part], Anchors]:
    """Proportions: ears, body length, head, tail."""
    main, second = toy.main, toy.secondary
    ears, length, head, tail = toy.proportions
    half = 0.50 + 0.07 * length
    r = 0.26 + 0.03 * head
    hx, hz = half + 0.02, 0.98
    ear = 0.25 + 0.07 * ears
    parts = [
        ball((0, 0, 0.58), (half, 0.25, 0.24), main, patterned=True),
        tube((half - 0.22, 0, 0.60), (hx - 0.03, 0, hz), 0.19, main, taper=0.8),
        ball((hx, 0, hz), r, main),
        ball((hx + r * 0.95, 0, hz - 0.08), (0.22, 0.14, 0.125), second),
        ball((hx + r * 0.95 + 0.19, 0, hz - 0.02), 0.075, BLACK),
        tube((-half + 0.08, 0, 0.68), (-half - 0.16 - 0.06 * tail, 0, 0.94 + 0.1 * tail), 0.075, main, taper=0.6),
        *_eyes(hx + r * 0.72, 0.12, hz + 0.13, 0.075),
    ]
    for side in (-1, 1):
        parts.append(ball((hx - 0.05, side * (r + 0.03), hz + 0.08 - ear * 0.7), (0.13, 0.075, ear), second))
        for x in (-half + 0.17, half - 0.17):
            parts.append(tube((x, side * 0.14, 0), (x, side * 0.14, 0.52), 0.095, main, taper=1.15))
    return parts, Anchors((hx - 0.04, 0, hz + r * 0.72), r, (hx - 0.10, 0, 0.77), 0.22, 0.2, (0.5, 0, 0.87))


def _cat(toy: Toy) -> tuple[list[Part], Anchors]:
    """Proportions: ears, body width, head, tail."""
    main, second = toy.main, toy.secondary
    ears, width, head, tail = toy.proportions
    w = 0.29 + 0.04 * width
    r = 0.29 + 0.03 * head
    hx, hz = 0.10, 0.95
    ear = 0.30 + 0.07 * ears
    tip = 1.0 + 0.18 * tail
    parts = [
        ball((-0.06, 0, 0.38), (0.31, w, 0.42), main, patterned=True),
        ball((0.13, 0, 0.44), (0.20, w * 0.62, 0.27), second),
        ball((hx, 0, hz), (r * 0.92, r * 1.1, r * 0.92), main, patterned=True),
        ball((hx + r * 0.78, 0, hz - 0.10), (0.10, 0.15, 0.09), second),
        ball((hx + r * 0.78 + 0.09, 0, hz - 0.05), (0.04, 0.05, 0.035), (0.95, 0.45, 0.5)),
        tube((-0.28, 0, 0.10), (-0.56, 0.02, 0.24), 0.085, main),
        ball((-0.56, 0.02, 0.24), 0.085, main),
        tube((-0.56, 0.02, 0.24), (-0.60, 0.06, tip - 0.12), 0.085, main, patterned=True),
        ball((-0.60, 0.06, tip - 0.08), (0.09, 0.09, 0.15), second),
        *_eyes(hx + r * 0.76, 0.14, hz + 0.06, 0.085, (0.55, 0.95, 0.25)),
    ]
    for side in (-1, 1):
        root, tip_of_ear = (hx - 0.02, side * r * 0.62, hz + r * 0.55), (hx - 0.04, side * r * 0.95, hz + r * 0.6 + ear)
        parts.append(tube(root, tip_of_ear, 0.15, main, taper=0.0))
        parts.append(ball((0.02, side * w * 0.85, 0.15), (0.25, 0.13, 0.16), main))
        parts.append(tube((0.24, side * 0.12, 0), (0.20, side * 0.12, 0.45), 0.085, main))
        parts.append(ball((0.28, side * 0.12, 0.06), (0.12, 0.095, 0.07), second))
    return parts, Anchors((hx - 0.02, 0, hz + r * 0.66), r, (0.05, 0, 0.70), 0.21, 0.2)


def _duck(toy: Toy) -> tuple[list[Part], Anchors]:
    """Proportions: beak, body length, head, neck and tail."""
    main, second = toy.main, toy.secondary
    beak, length, head, neck = toy.proportions
    half = 0.50 + 0.05 * length
    r = 0.25 + 0.03 * head
    hx, hz = 0.30, 1.0 + 0.07 * neck
    bill = 0.24 + 0.06 * beak
    feet = ORANGE if toy.colour != "orange" else COLOURS["yellow"]
    parts = [
        ball((0, 0, 0.44), (half, 0.36, 0.32), main, patterned=True),
        tube((-half + 0.2, 0, 0.50), (-half - 0.16, 0, 0.84 + 0.05 * neck), 0.22, main, taper=0.05),
        tube((0.26, 0, 0.52), (hx, 0, hz), 0.19, main, taper=0.8),
        ball((hx, 0, hz), r, main),
        ball((hx + r * 0.8 + bill * 0.4, 0, hz - 0.06), (bill, 0.15, 0.065), feet),
        *_eyes(hx + r * 0.7, 0.13, hz + 0.1, 0.075),
    ]
    for side in (-1, 1):
        parts.append(ball((-0.08, side * 0.33, 0.48), (0.33, 0.08, 0.19), second))
        parts.append(tube((0.02, side * 0.16, 0.02), (0.02, side * 0.16, 0.25), 0.055, feet))
        parts.append(ball((0.10, side * 0.17, 0.03), (0.19, 0.13, 0.04), feet))
    return parts, Anchors((hx - 0.02, 0, hz + r * 0.74), r, (0.28, 0, 0.76), 0.20, 0.2)


def _car(toy: Toy) -> tuple[list[Part], Anchors]:
    """Proportions: cabin height, length, wheels, cabin position."""
    main, second = toy.main, toy.secondary
    cabin, length, wheels, shift = toy.proportions
    half = 0.72 + 0.06 * length
    r = 0.20 + 0.025 * wheels
    h = 0.19 + 0.03 * cabin
    cx = -0.12 + 0.08 * shift
    z = 0.60 + h
    parts = [
        box((0, 0, 0.41), (half, 0.38, 0.19), main, patterned=True),
        box((cx, 0, z), (0.40, 0.345, h), main),
        box((cx, 0, z), (0.33, 0.355, h * 0.72), GLASS),
        box((cx, 0, z), (0.41, 0.28, h * 0.72), GLASS),
        box((cx, 0, z), (0.035, 0.365, h), main),
        box((cx, 0, z + h + 0.03), (0.43, 0.37, 0.045), second),
        *(box((x, 0, 0.28), (0.05, 0.39, 0.06), second) for x in (half, -half)),
        *(ball((half, y, 0.45), (0.05, 0.09, 0.09), (1.0, 0.95, 0.6)) for y in (-0.24, 0.24)),
    ]
    for x in (-half * 0.58, half * 0.58):
        for side in (-1, 1):
            parts.append(tube((x, side * 0.30, r), (x, side * 0.43, r), r, BLACK))
            parts.append(tube((x, side * 0.30, r), (x, side * 0.445, r), r * 0.5, second))
    return parts, Anchors((cx, 0, z + h), 0.3, (0, 0, 0.5), 0.3, 0.3)


def _teapot(toy: Toy) -> tuple[list[Part], Anchors]:
    """Proportions: height, width, lid, spout."""
    main, second = toy.main, toy.secondary
    tall, wide, lid, spout = toy.proportions
    w = 0.46 + 0.04 * wide
    h = 0.42 + 0.05 * tall
    z = 0.10 + h
    tip = (w + 0.42, 0.0, z + 0.34 + 0.08 * spout)
    bend = (w + 0.18, 0.0, z - 0.02)
    knob = 0.085 + 0.015 * lid
    top = z + h * 0.78
    parts = [
        ball((0, 0, z), (w, w, h), main, patterned=True),
        tube((0, 0, 0), (0, 0, 0.16), w * 0.68, second, taper=0.85),
        ball((0, 0, top), (w * 0.66, w * 0.66, 0.14 + 0.03 * lid), second),
        ball((0, 0, top + 0.14 + 0.03 * lid + knob * 0.7), knob, main),
        tube((w * 0.6, 0, z - 0.16), bend, 0.17, main, taper=0.65),
        ball(bend, 0.112, main),
        tube(bend, tip, 0.11, main, taper=0.75),
        tube((tip[0] - 0.02, 0, tip[2] - 0.04), (tip[0] + 0.025, 0, tip[2] + 0.05), 0.10, second, taper=1.15),
    ]
    steps = [math.radians(a) for a in (70, 110, 150, 190, 230, 275)]
    ring = [(-w - 0.02 + 0.30 * math.cos(a), 0.0, z + 0.05 + 0.27 * math.sin(a)) for a in steps]
    for start, end in pairwise(ring):
        link = tube(start, end, 0.065, second)
        # Overlapping ellipsoids join into a smooth ring where tubes would need a ball at every joint.
        parts.append(link._replace(kind=BALL, size=(0.07, 0.07, link.size[2] * 1.55)))
    return parts, Anchors((0, 0, top), 0.3, (0, 0, z), 0.4, 0.4)


def _robot(toy: Toy) -> tuple[list[Part], Anchors]:
    """Proportions: head, body width, antenna, arms."""
    main, second = toy.main, toy.secondary
    head, width, antenna, arms = toy.proportions
    w = 0.28 + 0.04 * width
    hw, hh = 0.25 + 0.03 * head, 0.18 + 0.02 * head
    hz = 0.86 + hh
    tip = hz + hh + 0.16 + 0.05 * antenna
    hand = 0.36 - 0.06 * arms
    parts = [
        box((0, 0, 0.53), (0.21, w, 0.26), main, patterned=True),
        box((0.20, 0, 0.56), (0.03, w * 0.55, 0.12), second),
        ball((0.22, 0, 0.56), (0.04, 0.065, 0.065), (1.0, 0.15, 0.1)),
        tube((0, 0, 0.75), (0, 0, 0.9), 0.11, (0.55, 0.57, 0.6)),
        box((0, 0, hz), (0.21, hw, hh), main),
        box((0.21, 0, hz - hh * 0.5), (0.015, hw * 0.6, 0.03), BLACK),
        tube((0, 0, hz + hh), (0, 0, tip), 0.035, (0.55, 0.57, 0.6)),
        ball((0, 0, tip), 0.085, (1.0, 0.15, 0.1)),
    ]
    for side in (-1, 1):
        y = side * (w + 0.09)
        parts += [
            tube((0.15, side * hw * 0.45, hz + 0.03), (0.24, side * hw * 0.45, hz + 0.03), 0.09, (1.0, 0.95, 0.55)),
            ball((0.235, side * hw * 0.45, hz + 0.03), (0.03, 0.045, 0.045), BLACK),
            tube((0, side * hw, hz), (0, side * (hw + 0.07), hz), 0.08, second),
            tube((0, y, 0.72), (0.05, y + side * 0.05, hand), 0.085, main),
            ball((0.06, y + side * 0.05, hand - 0.04), 0.11, second),
            box((0, side * 0.15, 0.19), (0.10, 0.10, 0.12), main),
            box((0.05, side * 0.16, 0.06), (0.19, 0.125, 0.06), second),
        ]
    return parts, Anchors((0, 0, hz + hh), hw, (0, 0, 0.82), 0.2, 0.2)


def _worn(accessory: str, at: Anchors) -> list[Part]:
    hx, hy, hz = at.head
    r = at.head_radius
    parts: list[Part] = []
    if accessory == "a red hat":
        parts = [
            tube((hx, hy, hz), (hx - 0.06, hy, hz + 0.58), r * 0.98, (0.90, 0.05, 0.08), taper=0.05),
            tube((hx, hy, hz - 0.03), (hx, hy, hz + 0.10), r * 1.08, WHITE),
            ball((hx - 0.06, hy, hz + 0.58), 0.105, WHITE),
        ]
    elif accessory == "a black top hat":
        parts = [
            tube((hx, hy, hz), (hx, hy, hz + 0.07), r * 1.45, BLACK),
            tube((hx, hy, hz), (hx, hy, hz + 0.46), r * 0.88, BLACK, taper=1.08),
            tube((hx, hy, hz + 0.07), (hx, hy, hz + 0.16), r * 0.93, (0.75, 0.75, 0.78)),
        ]
    elif accessory == "a yellow scarf":
        (nx, ny, nz), (ax, ay, az) = at.neck, at.neck_axis
        yellow = (1.0, 0.85, 0.05)
        reach = at.neck_radius + 0.10
        ring = tube((nx - ax * 0.08, ny - ay, nz - az * 0.08), (nx + ax * 0.08, ny + ay, nz + az * 0.08), reach, yellow)
        parts = [
            ring._replace(kind=BALL, size=(reach, reach, 0.15)),
            box((nx + at.front + 0.06, 0.12, nz - 0.22), (0.05, 0.095, 0.22), yellow),
        ]
    return [part._replace(worn=True) for part in parts]


_BUILDERS: dict[str, Callable[[Toy], tuple[list[Part], Anchors]]] = {
    "dog": _dog,
    "cat": _cat,
    "duck": _duck,
    "car": _car,
    "teapot": _teapot,
    "robot": _robot,
}

# Height without a hat, half footprint along x and along y: for framing and the shadow.
SIZES = {"dog": (1.30, 0.55, 0.26), "cat": (1.45, 0.42, 0.36), "duck": (1.30, 0.42, 0.34)}
SIZES |= {"car": (1.10, 0.74, 0.42), "teapot": (1.25, 0.46, 0.44), "robot": (1.45, 0.28, 0.34)}
HAT_HEIGHT = 0.34

# How far forward of the origin the middle of each long class lies.
_MIDDLE = {"dog": 0.13, "duck": 0.06, "teapot": 0.06}


def parts(toy: Toy, accessory: str) -> list[Part]:
    """The primitives of a toy and of what it wears."""
    body, anchors = _BUILDERS[toy.class_noun](toy)
    middle = _MIDDLE.get(toy.class_noun, 0.0)
    return [
        part._replace(centre=(part.centre[0] - middle, part.centre[1], part.centre[2]))
        for part in body + _worn(accessory, anchors)
    ]
