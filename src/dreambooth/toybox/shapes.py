"""What each class is built of, and what it wears: the figure of any toy, centred over the origin."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from dreambooth.toybox import animals, things
from dreambooth.toybox.colours import RGB
from dreambooth.toybox.parts import BALL, BLACK, BOX, WHITE, Anchors, Figure, Part, ball, box, tube
from dreambooth.toybox.world import Toy

YELLOW: RGB = (1.0, 0.85, 0.05)

_BUILDERS: dict[str, Callable[[Toy], Figure]] = {
    "dog": animals.dog,
    "cat": animals.cat,
    "duck": animals.duck,
    "bear": animals.bear,
    "car": things.car,
    "teapot": things.teapot,
    "robot": things.robot,
    "clock": things.clock,
    "backpack": things.backpack,
}


class Bounds(NamedTuple):
    """Of a bare toy: its height, the middle and half of its length along x, half its width along y."""

    height: float
    middle: float
    length: float
    width: float


@lru_cache(maxsize=64)
def figure(toy: Toy) -> Figure:
    """The toy as it is built, nothing worn, its parts where the builder put them."""
    return _BUILDERS[toy.class_noun](toy)


def _reach(part: Part, axis: int) -> float:
    """Half of what a part takes up along x, y or z."""
    if part.kind == BOX:
        return part.size[axis]
    along = abs(part.axis[axis])
    across = part.size[0] * (1 - along * along) ** 0.5 if part.axis[2] < 1 else part.size[axis]
    if part.kind == BALL:
        return max(across, part.size[2] * along) if part.axis[2] < 1 else part.size[axis]
    return across + part.size[2] * along if part.axis[2] < 1 or axis == 2 else part.size[0]


@lru_cache(maxsize=64)
def bounds(toy: Toy) -> Bounds:
    """How much room the bare toy takes."""
    parts = figure(toy).parts
    low = min(part.centre[0] - _reach(part, 0) for part in parts)
    high = max(part.centre[0] + _reach(part, 0) for part in parts)
    return Bounds(
        height=max(part.centre[2] + _reach(part, 2) for part in parts),
        middle=(low + high) / 2,
        length=(high - low) / 2,
        width=max(abs(part.centre[1]) + _reach(part, 1) for part in parts),
    )


def hat_top(toy: Toy, accessory: str) -> float:
    """The height of the toy with its hat, if it wears one."""
    bare = bounds(toy).height
    return max(bare, figure(toy).anchors.head[2] + 0.56) if accessory.endswith("hat") else bare


def parts(toy: Toy, accessory: str) -> list[Part]:
    """The primitives of a toy and of what it wears, centred over the origin."""
    built, middle = figure(toy), bounds(toy).middle
    return [
        part._replace(centre=(part.centre[0] - middle, part.centre[1], part.centre[2]))
        for part in built.parts + _worn(accessory, built.anchors)
    ]


def _worn(accessory: str, at: Anchors) -> list[Part]:
    hx, hy, hz = at.head
    r = at.head_radius
    parts: list[Part] = []
    if accessory == "a red hat":
        parts = [
            tube((hx, hy, hz), (hx - 0.06, hy, hz + 0.50), r * 0.98, (0.90, 0.05, 0.08), taper=0.05),
            tube((hx, hy, hz - 0.03), (hx, hy, hz + 0.10), r * 1.08, WHITE),
            ball((hx - 0.06, hy, hz + 0.50), 0.105, WHITE),
        ]
    elif accessory == "a black top hat":
        parts = [
            tube((hx, hy, hz), (hx, hy, hz + 0.07), r * 1.45, BLACK),
            tube((hx, hy, hz), (hx, hy, hz + 0.46), r * 0.88, BLACK, taper=1.08),
            tube((hx, hy, hz + 0.07), (hx, hy, hz + 0.16), r * 0.93, (0.75, 0.75, 0.78)),
        ]
    elif accessory == "a yellow scarf":
        (nx, ny, nz), (ax, ay, az) = at.neck, at.neck_axis
        reach = at.neck_radius + 0.10
        ring = tube((nx - ax * 0.08, ny - ay, nz - az * 0.08), (nx + ax * 0.08, ny + ay, nz + az * 0.08), reach, YELLOW)
        parts = [
            ring._replace(kind=BALL, size=(reach, reach, 0.15)),
            box((nx + at.neck_front + 0.06, 0.12, nz - 0.22), (0.05, 0.095, 0.22), YELLOW),
        ]
    return [part._replace(worn=True) for part in parts]
