"""Where a toy is marked and how its pattern runs: what tells it from others that words describe alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dreambooth.toybox import shapes
from dreambooth.toybox.parts import Anchors, Vec
from dreambooth.toybox.world import PATTERNS, Marking, Toy

_BLOB, _BOX, _FLANK_STAR, _FRONT_STAR, _BACK_STAR = 1.0, 2.0, 3.0, 4.0, 5.0
_STRIPED, _SPOTTED = PATTERNS.index("striped"), PATTERNS.index("spotted")
_FAR = 9.0  # no limit along this axis
MOST = 2  # markings a toy


@dataclass(frozen=True)
class _Place:
    """A region of toy space. sided: only on the marking's own side."""

    kind: float
    centre: Vec
    size: Vec
    sided: bool = False


def _eye_patch(a: Anchors, m: Marking) -> _Place:
    return _Place(_BLOB, (a.eye[0], m.side * a.eye[1], a.eye[2]), (0.17, 0.15, 0.17), True)


def _blaze(a: Anchors, m: Marking) -> _Place:
    return _Place(_BLOB, (a.eye[0], 0, a.eye[2] + 0.06), (0.22, 0.06, 0.24))


def _crown(a: Anchors, m: Marking) -> _Place:
    return _Place(_BLOB, a.head, (a.head_radius, a.head_radius, a.head_radius * 0.6))


def _saddle(a: Anchors, m: Marking) -> _Place:
    (x, _, z), (sx, sy, sz) = a.body, a.body_size
    return _Place(_BLOB, (x + 0.3 * sx * m.numbers[1], 0, z + sz), (sx * 0.55, sy * 1.3, sz * 0.9))


def _belly(a: Anchors, m: Marking) -> _Place:
    (x, y, z), (sx, sy, sz) = a.body, a.body_size
    return _Place(_BLOB, (x + sx, y, z), (sx, sy * 0.7, sz * 0.65))


def _breast(a: Anchors, m: Marking) -> _Place:
    (x, y, z), (sx, _, _) = a.body, a.body_size
    return _Place(_BLOB, (x + sx * 0.85, y, z + 0.06 * m.numbers[1]), (0.26, 0.30, 0.24))


def _rump(a: Anchors, m: Marking) -> _Place:
    (x, _, z), (sx, sy, _) = a.body, a.body_size
    return _Place(_BLOB, (x - sx * 0.9, m.side * sy * 0.4, z + 0.05), (0.24, 0.24, 0.24))


def _flank(a: Anchors, m: Marking) -> _Place:
    (x, _, z), (sx, sy, sz) = a.body, a.body_size
    centre = (x + 0.4 * sx * m.numbers[1], m.side * sy, z + 0.3 * sz * m.numbers[2])
    return _Place(_BLOB, centre, (0.19, 0.25, 0.19), True)


def _shoulder(a: Anchors, m: Marking) -> _Place:
    (x, _, z), (sx, sy, sz) = a.body, a.body_size
    return _Place(_BLOB, (x + 0.3 * sx * m.numbers[1], m.side * sy * 0.8, z + sz * 0.75), (0.25, 0.25, 0.22), True)


def _spout_side(a: Anchors, m: Marking) -> _Place:
    (x, y, z), (sx, _, _) = a.body, a.body_size
    return _Place(_BLOB, (x + sx, y + 0.15 * m.numbers[1], z), (0.28, 0.22, 0.26))


def _chest_corner(a: Anchors, m: Marking) -> _Place:
    (x, _, z), (sx, sy, sz) = a.body, a.body_size
    return _Place(_BLOB, (x + sx, m.side * sy * 0.75, z + sz * 0.7 * m.numbers[1]), (0.2, 0.17, 0.17), True)


def _flank_star(a: Anchors, m: Marking) -> _Place:
    (x, y, z), (sx, _, sz) = a.body, a.body_size
    centre = (x + 0.35 * sx * m.numbers[1], y, z + 0.2 * sz * m.numbers[2])
    return _Place(_FLANK_STAR, centre, (0.23, 1.0, 0.23), True)


def _chest_star(a: Anchors, m: Marking) -> _Place:
    (x, y, z), (_, _, sz) = a.body, a.body_size
    return _Place(_FRONT_STAR, (x, y + 0.1 * m.numbers[1], z + 0.3 * sz * m.numbers[2]), (1.0, 0.22, 0.22))


def _back_star(a: Anchors, m: Marking) -> _Place:
    return _Place(_BACK_STAR, a.body, (1.0, 0.28, 0.28))


def _collar(a: Anchors, m: Marking) -> _Place:
    return _Place(_BOX, (a.neck[0] + 0.1, 0, a.neck[2] + 0.05), (0.38, 0.32, 0.06))


def _belt(a: Anchors, m: Marking) -> _Place:
    return _Place(_BOX, (0, 0, a.body[2] + 0.5 * a.body_size[2] * m.numbers[1]), (_FAR, _FAR, 0.09))


def _socks(a: Anchors, m: Marking) -> _Place:
    return _Place(_BOX, (0, 0, 0), (_FAR, _FAR, 0.20))


def _below(share: float) -> Callable[[Anchors, Marking], _Place]:
    """All below a height: -1 the body's bottom, 1 its top."""

    def place(a: Anchors, m: Marking) -> _Place:
        return _Place(_BOX, (0, 0, a.body[2] + share * a.body_size[2] - _FAR), (_FAR, _FAR, _FAR))

    return place


def _above(share: float) -> Callable[[Anchors, Marking], _Place]:
    """All above a height: -1 the body's bottom, 1 its top."""

    def place(a: Anchors, m: Marking) -> _Place:
        return _Place(_BOX, (0, 0, a.body[2] + share * a.body_size[2] + _FAR), (_FAR, _FAR, _FAR))

    return place


def _racing_stripe(a: Anchors, m: Marking) -> _Place:
    return _Place(_BOX, (0, 0.18 * m.numbers[1], 0), (_FAR, 0.09, _FAR))


def _bonnet(a: Anchors, m: Marking) -> _Place:
    return _Place(_BOX, (a.body[0] + a.body_size[0] * 0.5 + _FAR, 0, 0), (_FAR, _FAR, _FAR))


def _rear_door(a: Anchors, m: Marking) -> _Place:
    return _Place(_BOX, (a.body[0] - a.body_size[0] * 0.3, 0, 0), (0.2, _FAR, _FAR), True)


def _half(a: Anchors, m: Marking) -> _Place:
    return _Place(_BOX, (0, 0, 0), (_FAR, _FAR, _FAR), True)


def _half_face(a: Anchors, m: Marking) -> _Place:
    return _Place(_BOX, (0, 0, a.neck[2] + 0.05 + _FAR), (_FAR, _FAR, _FAR), True)


_PLACES: dict[str, Callable[[Anchors, Marking], _Place]] = {
    "eye patch": _eye_patch,
    "blaze": _blaze,
    "crown": _crown,
    "saddle": _saddle,
    "belly": _belly,
    "breast": _breast,
    "rump": _rump,
    "flank": _flank,
    "side": _flank,
    "shoulder": _shoulder,
    "spout side": _spout_side,
    "chest corner": _chest_corner,
    "flank star": _flank_star,
    "side star": _flank_star,
    "door star": _flank_star,
    "chest star": _chest_star,
    "back star": _back_star,
    "collar": _collar,
    "belt": _belt,
    "socks": _socks,
    "shins": _below(-1.0),
    "lower half": _below(-0.1),
    "base": _below(-0.55),
    "top": _above(0.55),
    "rim top": _above(0.45),
    "racing stripe": _racing_stripe,
    "bonnet": _bonnet,
    "rear door": _rear_door,
    "half rim": _half,
    "half face": _half_face,
}


def _row(toy: Toy, marking: Marking) -> list[float]:
    place = _PLACES[marking.place](shapes.figure(toy).anchors, marking)
    x, y, z = place.centre
    grow = 1 + 0.3 * marking.numbers[0] if place.kind != _BOX else 1.0
    size = [s * grow for s in place.size]
    middle = shapes.bounds(toy).middle
    return [place.kind, x - middle, y, z, *size, float(marking.side * place.sided), *marking.colour]


def markings(toys: Sequence[Toy]) -> Tensor:
    """The regions of N toys' markings, (N, MOST, 11): kind, centre, half sizes, side, colour; kind 0 is none."""
    nothing = [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    rows = [[_row(toy, marking) for marking in toy.markings[:MOST]] for toy in toys]
    return torch.tensor([row + [nothing] * (MOST - len(row)) for row in rows])


def patterns(toys: Sequence[Toy]) -> Tensor:
    """The patterns of N toys, (N, 8): kind, four numbers, second colour."""
    return torch.tensor([[float(PATTERNS.index(t.pattern)), *t.pattern_numbers, *t.secondary] for t in toys])


def _in_star(u: Tensor, v: Tensor) -> Tensor:
    """Whether points lie in a star of five points of radius 1 around the origin."""
    fifth = 2 * math.pi / 5
    turn = (torch.atan2(u, v) % fifth - fifth / 2).abs()  # 0 midway between two points, fifth / 2 at a point
    radius = (u * u + v * v).sqrt()
    x, y = radius * turn.cos(), radius * turn.sin()
    inner = 0.45
    tip_x, tip_y = math.cos(fifth / 2), math.sin(fifth / 2)
    return (tip_x - inner) * y - tip_y * (x - inner) >= 0


def _inside(row: Tensor, point: Tensor) -> Tensor:
    """Whether each of F points (F, 3) lies in the region of its row (F, 11)."""
    kind, side = row[:, 0], row[:, 7]
    local = (point - row[:, 1:4]) / row[:, 4:7]
    x, y, z = local.unbind(-1)
    shown = (kind == _BLOB) & (local.square().sum(-1) < 1)
    shown |= (kind == _BOX) & (local.abs().amax(-1) < 1)
    shown |= (kind == _FLANK_STAR) & _in_star(x, z)
    shown |= (kind == _FRONT_STAR) & (point[:, 0] > row[:, 1]) & _in_star(y, z)
    shown |= (kind == _BACK_STAR) & (point[:, 0] < row[:, 1]) & _in_star(y, z)
    return shown & ((side == 0) | (side * point[:, 1] > 0))


def _on_pattern(row: Tensor, point: Tensor) -> Tensor:
    """Whether each of F points lies on a stripe or a spot of its pattern's row (F, 8)."""
    kind, n = row[:, 0], row[:, 1:5]
    x, y, z = point.unbind(-1)
    tilt = 0.75 + 0.75 * n[:, 0]
    along = tilt.cos() * x + tilt.sin() * z
    bands = torch.sin((13 + 4 * n[:, 1]) * along + math.pi * n[:, 2]) > 0.1 + 0.35 * n[:, 3]
    f = 14 + 3 * n[:, 0]
    waves = (torch.cos(f * axis + math.pi * n[:, k]) for k, axis in ((1, x), (2, y), (3, z)))
    return ((kind == _STRIPED) & bands) | ((kind == _SPOTTED) & (sum(waves, torch.zeros_like(x)) > 0.9))


def dress(colour: Tensor, coat: Tensor, pattern: Tensor, marks: Tensor, point: Tensor) -> Tensor:
    """Colours (F, 3) of F points of toys, of `colour` (F, 3) where nothing else shows.

    coat: (F,) bool, whether the point's part shows the pattern and the markings.  pattern: (F, 8).
    marks: (F, MOST, 11).  point: (F, 3) in toy space.
    """
    colour = torch.where((coat & _on_pattern(pattern, point))[:, None], pattern[:, 5:8], colour)
    for row in marks.unbind(1):
        colour = torch.where((coat & _inside(row, point))[:, None], row[:, 8:11], colour)
    return colour
