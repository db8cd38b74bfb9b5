"""Closed-form ray casting with an orthographic camera, vectorised over images and pixels: what is hit, and where."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dreambooth.toybox import markings, parts, shapes
from dreambooth.toybox.world import Shot, Toy

_NEVER = -1e9


@dataclass(frozen=True)
class Table:
    """Everything about N images of one class, P primitives each, small tensors only; e = (1, x, y)."""

    kinds: list[int]  # P
    affine: Tensor  # (N, P, 3, 3): local coordinates at depth 0 as a linear map of e
    ray: Tensor  # (N, P, 3): local direction towards the camera
    normal: Tensor  # (N, P, 3, 3): local normals to view space (right, up, camera)
    taper: Tensor  # (N, P, 2): a tube's radius is a + b z
    paint: Tensor  # (N, P, 5): colour; whether coat, worn
    extent: Tensor  # (N, P, 4): x low, x high, y low, y high in the frame; low > high where there is nothing
    toy_space: Tensor  # (N, 3, 4): toy coordinates as a linear map of e and of depth
    frame: Tensor  # (N, 4): offset x, offset y, zoom, sine of the pitch
    pattern: Tensor  # (N, 8), as markings.patterns
    marks: Tensor  # (N, MOST, 11), as markings.markings


def _rows(toys: Sequence[Toy], shots: Sequence[Shot]) -> tuple[list[int], Tensor, Tensor]:
    """Kinds (P), primitives (N, P, 15) padded kind by kind to equal numbers, and which of them exist."""
    by_kind: list[list[list[list[float]]]] = [[], [], []]
    for toy, shot in zip(toys, shots, strict=True):
        lists: list[list[list[float]]] = [[], [], []]
        for part in shapes.parts(toy, shot.accessory):
            flags = [float(part.coat), float(part.worn)]
            row = [*part.centre, *part.size, *part.axis, part.taper, *part.colour, *flags, 1.0]
            lists[part.kind].append(row)
        for kind in range(3):
            by_kind[kind].append(lists[kind])
    kinds: list[int] = []
    # Padding lies far off with unit size: no ray meets it.
    nothing = [1e3, 0, 0, 1, 1, 1, 0, 0, 1, 1, *([0.0] * 6)]
    padded: list[list[list[float]]] = [[] for _ in toys]
    for kind, rows_of in enumerate(by_kind):
        most = max(len(rows) for rows in rows_of)
        kinds += [kind] * most
        for image, rows in zip(padded, rows_of, strict=True):
            image += rows + [nothing] * (most - len(rows))
    table_rows = torch.tensor(padded, dtype=torch.float32)
    return kinds, table_rows[..., :15], table_rows[..., 15] > 0


def _basis(axis: Tensor) -> Tensor:
    """Rotations (..., 3, 3) whose third column is `axis`; the identity for the upright axis."""
    along_x = torch.tensor([1.0, 0.0, 0.0]).expand_as(axis)
    down = torch.tensor([0.0, 0.0, -1.0]).expand_as(axis)
    reference = torch.where(axis[..., :1].abs() > 0.9, down, along_x)
    axis = F.normalize(axis, dim=-1)
    first = F.normalize(reference - (reference * axis).sum(-1, keepdim=True) * axis, dim=-1)
    return torch.stack([first, torch.linalg.cross(axis, first), axis], dim=-1)


def _frame(toy: Toy, shot: Shot) -> tuple[float, float, float]:
    """Offset x, offset y and zoom that centre the toy, with its hat, in the frame."""
    top, half = shapes.hat_top(toy, shot.accessory), shapes.bounds(toy).length
    zoom = shot.zoom * min(1.35, 1.84 / top, 1.0 / half)
    middle = top / 2 * math.cos(math.radians(shot.pitch))
    return shot.offset[0], shot.offset[1] - 0.03 - zoom * middle, zoom


def table(toys: Sequence[Toy], shots: Sequence[Shot]) -> Table:
    kinds, rows, exists = _rows(toys, shots)
    frame = torch.tensor([_frame(toy, shot) for toy, shot in zip(toys, shots, strict=True)])
    yaw = torch.tensor([math.radians(shot.yaw) for shot in shots])
    pitch = torch.tensor([math.radians(shot.pitch) for shot in shots])
    zero = torch.zeros_like(yaw)
    right = torch.stack([yaw.sin(), yaw.cos(), zero], dim=-1)
    forward = torch.stack([yaw.cos(), -yaw.sin(), zero], dim=-1)
    upright = torch.tensor([0.0, 0.0, 1.0])
    up = pitch.cos()[:, None] * upright - pitch.sin()[:, None] * forward
    camera = pitch.sin()[:, None] * upright + pitch.cos()[:, None] * forward
    view = torch.stack([right, up, camera], dim=-1)  # (N, 3, 3): toy coordinates of view vectors
    zoom, offset = frame[:, 2], frame[:, :2]
    plane = view[..., :2] / zoom[:, None, None]
    shift = -(plane * offset[:, None, :]).sum(-1, keepdim=True)
    toy_space = torch.cat([shift, plane, view[..., 2:]], dim=-1)  # toy = toy_space @ (1, x, y, depth)

    centre, size, taper = rows[..., :3], rows[..., 3:6], rows[..., 9]
    basis = _basis(rows[..., 6:9])
    to_local = basis.transpose(-1, -2) / size[..., None]
    affine = to_local @ toy_space[:, None, :, :3]
    affine[..., 0] -= (to_local @ centre[..., None])[..., 0]
    half = (size[..., None] * (basis.transpose(-1, -2) @ view[:, None, :, :2])).abs()
    ball = torch.tensor([kind == parts.BALL for kind in kinds])[:, None]
    half = torch.where(ball, half.square().sum(-2).sqrt(), half.sum(-2)) * zoom[:, None, None]
    middle = centre @ view[..., :2] * zoom[:, None, None] + offset[:, None]
    extent = torch.stack([middle - half, middle + half], dim=-1).flatten(-2)
    extent = torch.where(exists[..., None], extent, torch.tensor([9.0, -9.0, 9.0, -9.0]))
    return Table(
        kinds=kinds,
        affine=affine,
        ray=(to_local @ camera[:, None, :, None])[..., 0],
        normal=view.transpose(-1, -2)[:, None] @ to_local.transpose(-1, -2),
        taper=torch.stack([(1 + taper) / 2, (taper - 1) / 2], dim=-1),
        paint=rows[..., 10:15],
        extent=extent,
        toy_space=toy_space,
        frame=torch.cat([frame, pitch.sin()[:, None]], dim=-1),
        pattern=markings.patterns(toys),
        marks=markings.markings(toys),
    )


def _quadrics(table: Table) -> tuple[Tensor, Tensor]:
    """Depth of every ball's and tube's near surface as `lin @ e + sqrt(e @ quad @ e)`; (N, P, 3), (N, P, 3, 3)."""
    ball = torch.tensor([kind == parts.BALL for kind in table.kinds])
    a, b = table.taper.unbind(-1)
    one = torch.ones_like(a)
    metric = torch.stack([one, one, torch.where(ball, one, -b * b)], dim=-1)
    slope = torch.where(ball, 0.0, -2 * a * b)
    constant = torch.where(ball, -one, -a * a)
    weighted = metric[..., None] * table.affine
    square = (metric * table.ray**2).sum(-1).clamp(min=1e-6)
    middle = (table.ray[..., None] * weighted).sum(-2)
    middle[..., 0] += slope / 2 * table.ray[..., 2]
    rest = table.affine.transpose(-1, -2) @ weighted
    rest[..., 0, :] += slope[..., None] / 2 * table.affine[..., 2, :]
    rest[..., :, 0] += slope[..., None] / 2 * table.affine[..., 2, :]
    rest[..., 0, 0] += constant
    quad = middle[..., :, None] * middle[..., None, :] - square[..., None, None] * rest
    return -middle / square[..., None], quad / (square * square)[..., None, None]


def _plane(coefficients: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """An affine function of the frame, coefficients (N, 3), on the grid x (1, 1, W), y (1, H, 1)."""
    c = coefficients[..., None, None]
    return (c[:, 0] + c[:, 2] * y) + c[:, 1] * x


def _quad_depth(lin: Tensor, quad: Tensor, x: Tensor, y: Tensor) -> Tensor:
    q = quad[..., None, None]
    across = q[:, 0, 0] + 2 * q[:, 0, 1] * x + q[:, 1, 1] * x * x
    down = 2 * q[:, 0, 2] * y + q[:, 2, 2] * y * y
    # Outside the outline the root is NaN, which every comparison and fmax pass over.
    return torch.addcmul(across + down, 2 * q[:, 1, 2] * y, x).sqrt_().add_(_plane(lin, x, y))


def _tube_depth(table: Table, k: int, lin: Tensor, quad: Tensor, x: Tensor, y: Tensor) -> Tensor:
    affine, ray, taper = table.affine[:, k], table.ray[:, k], table.taper[:, k]
    side = _quad_depth(lin, quad, x, y)
    height = torch.addcmul(_plane(affine[:, 2], x, y), side, ray[:, 2, None, None])
    side.masked_fill_(height.abs_() > 1, _NEVER)
    facing = torch.where(ray[:, 2] >= 0, 1.0, -1.0)
    steep = facing * ray[:, 2].abs().clamp(min=1e-5)
    cap = -affine[:, 2] / steep[:, None]
    cap[:, 0] += facing / steep
    across = _plane(affine[:, 0] + ray[:, :1] * cap, x, y)
    along = _plane(affine[:, 1] + ray[:, 1:2] * cap, x, y)
    radius = (taper[:, 0] + taper[:, 1] * facing)[:, None, None]
    outside = across.square_().addcmul_(along, along) > radius * radius
    return torch.fmax(side, _plane(cap, x, y).masked_fill_(outside, _NEVER))


def _box_depth(affine: Tensor, ray: Tensor, x: Tensor, y: Tensor) -> Tensor:
    ray = torch.where(ray >= 0, 1.0, -1.0) * ray.abs().clamp(min=1e-5)
    enter = -affine / ray[..., None]
    enter[..., 0] += 1 / ray.abs()
    leave = enter.clone()
    leave[..., 0] -= 2 / ray.abs()
    near, far = (_plane(c[:, 0], x, y) for c in (enter, leave))
    for axis in (1, 2):
        near = torch.minimum(near, _plane(enter[:, axis], x, y))
        far = torch.maximum(far, _plane(leave[:, axis], x, y))
    return near.masked_fill_(near < far, _NEVER)


def cast(table: Table, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """First hits: depth and primitive index, both (N, H, W); the index is -1 on the backdrop."""
    device, side = x.device, x.shape[2]
    lin, quad = (t.to(device) for t in _quadrics(table))
    low, high = table.extent.amin(0), table.extent.amax(0)
    pixel = torch.stack([low[:, 0], high[:, 1], -high[:, 3], -low[:, 2]], dim=-1)
    bounds = ((pixel + 1) / 2 * side).clamp(0, side).tolist()
    on = _to(table, device)
    count = len(table.frame)
    depth = torch.full((count, side, side), _NEVER, device=device)
    index = torch.full((count, side, side), -1, dtype=torch.int32, device=device)
    for k, kind in enumerate(table.kinds):
        left, right, top, bottom = bounds[k]
        rows, columns = slice(int(top), math.ceil(bottom)), slice(int(left), math.ceil(right))
        if rows.start >= rows.stop or columns.start >= columns.stop:
            continue
        xs, ys = x[:, :, columns], y[:, rows]
        if kind == parts.BALL:
            near = _quad_depth(lin[:, k], quad[:, k], xs, ys)
        elif kind == parts.TUBE:
            near = _tube_depth(on, k, lin[:, k], quad[:, k], xs, ys)
        else:
            near = _box_depth(on.affine[:, k], on.ray[:, k], xs, ys)
        best = depth[:, rows, columns]
        index[:, rows, columns].masked_fill_(near > best, k)
        torch.fmax(best, near, out=best)
    return depth, index


def _to(table: Table, device: torch.device) -> Table:
    moved = {name: value.to(device) for name, value in vars(table).items() if isinstance(value, Tensor)}
    return Table(kinds=table.kinds, **moved)


@dataclass(frozen=True)
class Surface:
    """The F pixels that show the toy: where they are and what lies there."""

    pixels: Tensor  # (F,) positions in (N * H * W)
    image: Tensor  # (F,)
    normal: Tensor  # (F, 3) in view space
    colour: Tensor  # (F, 3)


def surface(table: Table, depth: Tensor, index: Tensor, x: Tensor, y: Tensor) -> Surface:
    side, primitives = x.shape[2], len(table.kinds)
    on = _to(table, x.device)
    pixels = (index.flatten() >= 0).nonzero()[:, 0]
    image = pixels.div(side * side, rounding_mode="floor")
    which = image * primitives + index.flatten()[pixels]
    column, line = pixels % side, pixels.div(side, rounding_mode="floor") % side
    far = depth.flatten()[pixels]
    e = torch.stack([torch.ones_like(far), x.flatten()[column], y.flatten()[line], far], dim=-1)
    kinds = torch.tensor(table.kinds, dtype=torch.float32, device=x.device).expand(len(on.frame), -1)[..., None]
    flat = torch.cat([on.affine.flatten(2), on.ray, on.normal.flatten(2), on.taper, on.paint, kinds], dim=-1)
    row = flat.flatten(0, 1)[which]
    local = (row[:, :9].view(-1, 3, 3) * e[:, None, :3]).sum(-1) + row[:, 9:12] * e[:, 3:]
    kind = row[:, 28:29]
    px, py, pz = local.unbind(-1)
    a, b = row[:, 21], row[:, 22]
    on_cap = (px * px + py * py).sqrt() < (a + b * pz) - 1e-3
    tube_side = torch.stack([px, py, -b * (a + b * pz)], dim=-1)
    flat_end = torch.stack([torch.zeros_like(px), torch.zeros_like(px), pz.sign()], dim=-1)
    face = local.sign() * (local.abs() >= local.abs().amax(-1, keepdim=True))
    normal = torch.where(kind == parts.TUBE, torch.where(on_cap[:, None], flat_end, tube_side), local)
    normal = torch.where(kind == parts.BOX, face, normal)
    normal = F.normalize((row[:, 12:21].view(-1, 3, 3) * normal[:, None]).sum(-1), dim=-1)
    point = (on.toy_space.index_select(0, image) * e[:, None]).sum(-1)
    pattern, marks = on.pattern.index_select(0, image), on.marks.index_select(0, image)
    colour = markings.dress(row[:, 23:26], row[:, 26] > 0, pattern, marks, point)
    return Surface(pixels, image, normal, colour)
