"""The twelve scenes: closed-form pictures of a ground and a backdrop, calm in texture and far apart in palette.

Frame coordinates: x and y within [-1, 1], y up. Every scene takes them with the horizon's height and three
jitter floats within [-1, 1] an image, and answers colours of shape (3, N, H, W).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from dreambooth.toybox.colours import RGB

Scene = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]

EDGE = 0.02  # half width of a soft edge, about 1.3 pixels of a 128 px picture


def _above(value: Tensor) -> Tensor:
    """1 where `value` is positive, 0 where negative, with a narrow ramp between."""
    return (value * (0.5 / EDGE) + 0.5).clamp(0, 1)


def _rgb(colour: RGB, like: Tensor) -> Tensor:
    return torch.tensor(colour, dtype=like.dtype, device=like.device).view(3, 1, 1, 1)


def _mix(low: Tensor | RGB, high: Tensor | RGB, weight: Tensor) -> Tensor:
    """Colours from `low` to `high` by a weight of shape (N, H, W) or one that broadcasts to it."""
    below = _rgb(low, weight) if isinstance(low, tuple) else low
    above = _rgb(high, weight) if isinstance(high, tuple) else high
    return torch.lerp(below, above, weight)


def _disc(x: Tensor, y: Tensor, cx: Tensor | float, cy: Tensor | float, radius: float) -> Tensor:
    return _above(radius - ((x - cx) ** 2 + (y - cy) ** 2).sqrt())


def _sky(y: Tensor, h: Tensor, low: RGB, high: RGB) -> Tensor:
    return _mix(low, high, ((y - h) / (1.05 - h)).clamp(0, 1))


def _clouds(x: Tensor, y: Tensor, h: Tensor, j: Tensor) -> Tensor:
    top = h + 0.62
    left, right = -0.62 + 0.15 * j, 0.60 + 0.15 * j
    puffs = _disc(x, 1.6 * y, left, 1.6 * top, 0.24) + _disc(x, 1.6 * y, left + 0.24, 1.6 * top - 0.06, 0.17)
    return (puffs + _disc(x, 1.6 * y, right, 1.6 * top + 0.12, 0.24)).clamp(0, 1)


def _triangle(x: Tensor, y: Tensor, cx: Tensor | float, base: Tensor, top: Tensor, half: float) -> Tensor:
    rise = (top - y) / (top - base)
    return _above(half * rise - (x - cx).abs()) * _above(y - base)


def snow(x: Tensor, y: Tensor, h: Tensor, j: Tensor) -> Tensor:
    """White drifts under a pale sky, with dark firs at both sides."""
    sky = _sky(y, h, (0.80, 0.86, 0.93), (0.62, 0.72, 0.85))
    for k, (side, tall) in enumerate(((-0.78, 0.75), (0.80, 0.62), (-0.42, 0.42))):
        cx = side + 0.08 * j[k]
        for step in range(2):
            low = h + tall * 0.42 * step - 0.02
            sky = _mix(sky, (0.12, 0.32, 0.28), _triangle(x, y, cx, low, low + tall * 0.62, 0.26 - 0.06 * step))
    drift = h + 0.03 * torch.sin(3 * x + 3 * j[1])
    wave = 0.5 + 0.5 * torch.sin(5 * y + 1.5 * torch.sin(2 * x + 3 * j[2]))
    ground = _mix((0.90, 0.94, 1.00), (0.98, 0.99, 1.00), wave)
    return _mix(sky, ground, _above(drift - y))


def beach(x: Tensor, y: Tensor, h: Tensor, j: Tensor) -> Tensor:
    """Pale yellow sand, a foam line and a turquoise sea."""
    sky = _sky(y, h, (0.80, 0.93, 1.00), (0.42, 0.72, 0.98))
    sea = _mix((0.10, 0.72, 0.78), (0.02, 0.38, 0.72), ((y - h + 0.3) / 0.3).clamp(0, 1))
    picture = _mix(sky, sea, _above(h - y))
    shore = h - 0.30 + 0.04 * torch.sin(4 * x + 4 * j[0])
    picture = _mix(picture, (1.0, 1.0, 1.0), _above(shore + 0.07 - y))
    sand = _mix((0.90, 0.78, 0.50), (0.98, 0.90, 0.66), 0.5 + 0.5 * torch.sin(4 * y + x + 3 * j[1]))
    return _mix(picture, sand, _above(shore - y))


def _leaf(x: Tensor, y: Tensor, cx: Tensor, cy: Tensor, along: tuple[float, float], size: float) -> Tensor:
    """A pointed leaf: the overlap of two discs, answered as a height that is positive inside."""
    u = (x - cx) * along[0] + (y - cy) * along[1]
    v = (x - cx) * along[1] - (y - cy) * along[0]
    return size * 0.36 * (1 - (u / size) ** 2) - v.abs()


def jungle(x: Tensor, y: Tensor, h: Tensor, j: Tensor) -> Tensor:
    """Dark green all over with big bright leaves reaching in from the sides."""
    picture = _mix((0.10, 0.20, 0.05), (0.02, 0.16, 0.08), _above(y - h + 0.1 * torch.sin(3 * x)))
    leaves = (
        (-0.75, 0.62, 0.7, 0.71, 0.62),
        (0.80, 0.55, -0.8, 0.6, 0.62),
        (-0.95, 0.10, 0.95, 0.3, 0.55),
        (0.98, 0.0, -0.95, 0.3, 0.55),
        (0.10, 0.92, 0.2, -0.98, 0.50),
    )
    for k, (cx, cy, ax, ay, size) in enumerate(leaves):
        lift = (h - 0.1) * 0.5
        height = _leaf(x, y, cx + 0.10 * j[k % 3], cy + 0.06 * j[(k + 1) % 3] + lift, (ax, ay), size)
        tone = (0.08, 0.46, 0.12) if k % 2 else (0.20, 0.60, 0.10)
        picture = _mix(picture, tone, _above(height))
        picture = _mix(picture, (0.50, 0.80, 0.22), _above(height - size * 0.31))
    return picture


def grass(x: Tensor, y: Tensor, h: Tensor, j: Tensor) -> Tensor:
    """A bright lawn under a blue sky with white clouds."""
    sky = _mix(_sky(y, h, (0.70, 0.88, 1.0), (0.30, 0.60, 0.98)), (1.0, 1.0, 1.0), _clouds(x, y, h, j[0]))
    lawn = _mix((0.28, 0.70, 0.14), (0.42, 0.82, 0.22), 0.5 + 0.5 * torch.sin(6 * y + 2 * torch.sin(x + 2 * j[1])))
    return _mix(sky, lawn, _above(h + 0.05 * torch.sin(2 * x + 3 * j[2]) - y))


def wooden_floor(x: Tensor, y: Tensor, h: Tensor, j: Tensor) -> Tensor:
    """Brown planks that run to a cream wall with a white skirting board."""
    h = h + 0.05
    near = 0.9 + h - y
    across = (x - 0.3 * j[0]) / near.clamp(min=0.2) * 3.2
    plank = torch.floor(across)
    tone = 0.5 + 0.5 * torch.sin(plank * 2.4 + 3 * j[1])
    wood = _mix((0.52, 0.29, 0.11), (0.70, 0.43, 0.19), tone)
    seam = _above(0.07 - (across - plank - 0.5).abs().sub(0.5).abs())
    wood = _mix(wood, (0.28, 0.14, 0.05), seam)
    wall = _mix((0.90, 0.85, 0.70), (0.83, 0.77, 0.60), ((y - h) / 0.9).clamp(0, 1))
    wall = _mix(wall, (0.98, 0.98, 0.96), _above(h + 0.13 - y))
    return _mix(wall, wood, _above(h - y))


def pink_fabric(x: Tensor, y: Tensor, h: Tensor, j: Tensor) -> Tensor:
    """Pink cloth in soft diagonal folds, filling the frame."""
    fold = torch.sin(4.5 * (0.8 * x + 0.6 * y) + 1.3 * torch.sin(1.8 * (x - y) + 2 * j[0]) + 3 * j[1])
    return _mix((0.88, 0.30, 0.55), (1.0, 0.68, 0.82), 0.5 + 0.5 * fold)


def mountain(x: Tensor, y: Tensor, h: Tensor, j: Tensor) -> Tensor:
    """One great grey peak with a white cap behind an olive meadow."""
    picture = _sky(y, h, (0.86, 0.90, 0.98), (0.45, 0.62, 0.90))
    cx, top = 0.35 * j[0], h + 0.90 + 0.04 * j[1]
    side = _triangle(x, y, cx + 0.75, h, h + 0.5, 0.8)
    picture = _mix(picture, (0.50, 0.54, 0.66), side)
    rock = _mix((0.42, 0.43, 0.54), (0.30, 0.31, 0.42), _above(x - cx))
    cap = _above(y - top + 0.36 + 0.06 * torch.sin(16 * (x - cx)))
    rock = _mix(rock, (1.0, 1.0, 1.0), cap)
    picture = _mix(picture, rock, _triangle(x, y, cx, h - 0.05, top, 1.05))
    meadow = _mix((0.45, 0.52, 0.18), (0.58, 0.62, 0.26), 0.5 + 0.5 * torch.sin(5 * y + x + 3 * j[2]))
    return _mix(picture, meadow, _above(h + 0.03 * torch.sin(3 * x) - y))


def blue_house(x: Tensor, y: Tensor, h: Tensor, j: Tensor) -> Tensor:
    """A blue house with a red roof and yellow windows, behind a pale green yard."""
    picture = _sky(y, h, (1.0, 0.97, 0.88), (0.93, 0.90, 0.78))
    side = torch.where(j[0] >= 0, 1.0, -1.0)
    u, v = (x - side * 0.30 - 0.08 * j[1]).abs(), y - h
    picture = _mix(picture, (0.15, 0.45, 0.92), _above(0.62 - u) * _above(0.48 - v))
    # Windows stand in the wall on either side of the toy.
    window = _above(0.13 - (u - 0.36).abs()) * _above(0.12 - (v - 0.27).abs())
    picture = _mix(picture, (1.0, 0.92, 0.45), window)
    roof = _above(0.74 * (0.88 - v) / 0.42 - u) * _above(v - 0.46)
    picture = _mix(picture, (0.78, 0.16, 0.12), roof)
    yard = _mix((0.60, 0.78, 0.50), (0.70, 0.86, 0.58), 0.5 + 0.5 * torch.sin(4 * y + 3 * j[2]))
    return _mix(picture, yard, _above(h - y))


def night(x: Tensor, y: Tensor, h: Tensor, j: Tensor) -> Tensor:
    """A navy sky with a big moon and stars over dark blue ground."""
    picture = _sky(y, h, (0.08, 0.10, 0.32), (0.02, 0.02, 0.12))
    side = torch.where(j[0] >= 0, 1.0, -1.0)
    stars = ((-0.85, 0.30), (-0.55, 0.75), (-0.15, 0.90), (0.30, 0.72), (0.9, 0.25), (-0.8, 0.88))
    for k, (cx, cy) in enumerate(stars):
        star = _disc(x, y, side * cx + 0.06 * j[k % 3], h + cy * 0.93, 0.035)
        picture = _mix(picture, (1.0, 1.0, 0.85), star)
    picture = _mix(picture, (1.0, 0.96, 0.75), _disc(x, y, side * 0.66 + 0.06 * j[1], h + 0.62, 0.23))
    ground = _mix((0.07, 0.10, 0.22), (0.14, 0.18, 0.34), ((h - y) / 1.1).clamp(0, 1))
    return _mix(picture, ground, _above(h + 0.05 * torch.sin(2.5 * x + 3 * j[2]) - y))


def desert(x: Tensor, y: Tensor, h: Tensor, j: Tensor) -> Tensor:
    """Orange dunes under a yellow sky with a white-hot sun."""
    picture = _sky(y, h, (1.0, 0.90, 0.62), (0.98, 0.72, 0.36))
    side = torch.where(j[0] >= 0, 1.0, -1.0)
    picture = _mix(picture, (1.0, 1.0, 0.88), _disc(x, y, side * 0.62, h + 0.62 + 0.05 * j[1], 0.22))
    dunes = ((0.16, 2.2, (0.86, 0.52, 0.24)), (-0.10, 2.8, (0.78, 0.42, 0.16)), (-0.34, 2.0, (0.90, 0.56, 0.27)))
    for k, (level, waves, tone) in enumerate(dunes):
        ridge = h + level + 0.13 * torch.sin(waves * x + 2 * k + 3 * j[k])
        picture = _mix(picture, tone, _above(ridge - y))
    return picture


def under_water(x: Tensor, y: Tensor, h: Tensor, j: Tensor) -> Tensor:
    """Teal water that darkens downwards, with light shafts and bubbles, over pale sand."""
    picture = _mix((0.02, 0.34, 0.44), (0.20, 0.72, 0.76), ((y - h + 0.2) / 1.1).clamp(0, 1))
    for k, start in enumerate((-0.7, 0.0, 0.65)):
        middle = start + 0.35 * (1 - y) + 0.12 * j[k]
        shaft = _above(0.13 - (x - middle).abs()) * ((y - h) / 0.9).clamp(0, 1)
        picture = _mix(picture, (0.72, 0.96, 0.94), 0.45 * shaft)
    for k, (cx, cy, size) in enumerate(
        ((-0.8, 0.62, 0.09), (0.82, 0.45, 0.11), (-0.68, 0.25, 0.06), (0.66, 0.85, 0.07))
    ):
        bubble_x, bubble_y = cx + 0.08 * j[k % 3], h + cy + 0.05 * j[(k + 1) % 3]
        picture = _mix(picture, (0.80, 0.97, 0.98), 0.8 * _disc(x, y, bubble_x, bubble_y, size))
        picture = _mix(picture, (0.20, 0.66, 0.72), 0.8 * _disc(x, y, bubble_x, bubble_y, 0.7 * size))
    sand = _mix((0.62, 0.66, 0.52), (0.76, 0.78, 0.62), 0.5 + 0.5 * torch.sin(5 * y + 2 * torch.sin(2 * x + 3 * j[0])))
    return _mix(picture, sand, _above(h - 0.1 + 0.05 * torch.sin(3 * x + 3 * j[1]) - y))


def checkered_floor(x: Tensor, y: Tensor, h: Tensor, j: Tensor) -> Tensor:
    """Large black and white tiles under a mint wall."""
    depth = 1 / (1.35 + h - y).clamp(min=0.3)
    across, along = (x - 0.2 * j[0]) * depth * 2.6, depth * 4.5 + 0.5 * j[1]
    row, column = _above(0.25 * torch.sin(math.pi * along)), _above(0.12 * torch.sin(math.pi * across))
    floor = _mix((0.16, 0.16, 0.19), (0.94, 0.93, 0.90), row + column - 2 * row * column)
    wall = _mix((0.62, 0.86, 0.74), (0.52, 0.78, 0.66), ((y - h) / 0.9).clamp(0, 1))
    wall = _mix(wall, (0.30, 0.52, 0.44), _above(h + 0.10 - y))
    return _mix(wall, floor, _above(h - y))


_PAINTERS: dict[str, Scene] = {
    "in the snow": snow,
    "on the beach": beach,
    "in the jungle": jungle,
    "on the grass": grass,
    "on a wooden floor": wooden_floor,
    "on pink fabric": pink_fabric,
    "with a mountain in the background": mountain,
    "with a blue house in the background": blue_house,
    "at night": night,
    "in the desert": desert,
    "under water": under_water,
    "on a checkered floor": checkered_floor,
}

# What the scene's light does to the colours of the toy.
TINTS: dict[str, RGB] = {
    "in the snow": (0.98, 1.0, 1.05),
    "in the jungle": (0.90, 0.97, 0.88),
    "on a wooden floor": (1.02, 0.99, 0.94),
    "at night": (0.86, 0.87, 1.0),
    "in the desert": (1.05, 0.98, 0.90),
    "under water": (0.86, 1.0, 1.0),
}


def paint(scenes: Sequence[str], x: Tensor, y: Tensor, horizon: Tensor, jitter: Tensor) -> Tensor:
    """Backdrops of shape (3, N, H, W) for N scenes; x is (1, 1, W), y (1, H, 1), horizon (N,), jitter (N, 3)."""
    picture = torch.empty((3, len(scenes), y.shape[1], x.shape[2]), dtype=x.dtype, device=x.device)
    for name in sorted(set(scenes)):
        rows = torch.tensor([i for i, scene in enumerate(scenes) if scene == name], device=x.device)
        h, j = horizon[rows].view(-1, 1, 1), jitter[rows].T.reshape(3, -1, 1, 1)
        picture[:, rows] = _PAINTERS[name](x, y, h, j)
    return picture
