"""Pictures of toys: shading, shadows, styles and antialiasing over what `casting` finds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from dreambooth.toybox import scenes, shapes
from dreambooth.toybox.casting import Surface, Table, cast, surface, table
from dreambooth.toybox.world import STYLES, Shot, Toy

_CPU_CHUNK, _GPU_CHUNK = 16, 512  # images at once: few enough to stay in a core's cache, many for a GPU
_SUPERSAMPLING = 2
_PENCIL, _CARTOON = STYLES.index("a pencil drawing of"), STYLES.index("a cartoon of")


def _lights(shots: Sequence[Shot], toys: Sequence[Toy]) -> Tensor:
    """(N, 9): direction towards the key light in view space, its strength, tint, gloss, style."""
    rows = []
    for toy, shot in zip(toys, shots, strict=True):
        azimuth, elevation = math.radians(shot.light_azimuth), math.radians(shot.light_elevation)
        flat = math.cos(elevation)
        towards = (flat * math.sin(azimuth), math.sin(elevation), flat * math.cos(azimuth))
        tint = scenes.TINTS.get(shot.scene, (1.0, 1.0, 1.0))
        gloss = float(toy.material == "shiny")
        rows.append([*towards, shot.light_strength, *tint, gloss, float(STYLES.index(shot.style))])
    return torch.tensor(rows)


def _shade(seen: Surface, lights: Tensor) -> Tensor:
    """Colours (F, 3) of the toy's pixels."""
    light = lights.index_select(0, seen.image)
    # Wrapped a little around the toy, so that colours stay readable on the far side of the light.
    lambert = ((seen.normal * light[:, :3]).sum(-1) * 0.8 + 0.2).clamp(min=0)
    strength, facing = light[:, 3], seen.normal[:, 2]
    level = 1.06 - strength + strength * lambert
    rim = 0.16 * (1 - facing.clamp(0, 1)) ** 2
    halfway = F.normalize(light[:, :3] + torch.tensor([0.0, 0.0, 1.0], device=lights.device), dim=-1)
    shine = light[:, 7] * (seen.normal * halfway).sum(-1).clamp(min=0) ** 24
    rgb = seen.colour * level[:, None] + rim[:, None]
    rgb = rgb + (1 - rgb) * (shine * 0.95)[:, None]
    flat = seen.colour * torch.where(lambert > 0.4, 1.0, 0.62)[:, None]
    grey = flat.mean(-1, keepdim=True)
    flat = grey + 1.3 * (flat - grey)
    style = light[:, 8:9]
    rgb = torch.where(style == _CARTOON, flat, rgb * light[:, 4:7])
    tone = 0.30 * seen.colour[:, :1] + 0.59 * seen.colour[:, 1:2] + 0.11 * seen.colour[:, 2:]
    pencil = (0.42 + 0.50 * tone) * (0.80 + 0.25 * lambert[:, None])
    return torch.where(style == _PENCIL, pencil, rgb).clamp(0, 1)


def _shadow(
    toys: Sequence[Toy], shots: Sequence[Shot], geometry: Table, lights: Tensor, x: Tensor, y: Tensor
) -> Tensor:
    """What the soft blob under each toy leaves of the light, (N, H, W)."""
    device = x.device
    rooms = [shapes.bounds(toy) for toy in toys]
    foot = torch.tensor([(0.7 * room.length, 0.7 * room.width) for room in rooms], device=device)[..., None, None]
    yaw = torch.tensor([math.radians(shot.yaw) for shot in shots], device=device)[:, None, None]
    frame = geometry.frame.to(device)[..., None, None]
    light = lights[..., None, None]
    across = (x - frame[:, 0]) / frame[:, 2] + 0.12 * light[:, 0]
    towards = -(y - frame[:, 1]) / frame[:, 2] / frame[:, 3]
    along = (across * yaw.sin() + towards * yaw.cos()) / (foot[:, 0] + 0.12)
    beside = (across * yaw.cos() - towards * yaw.sin()) / (foot[:, 1] + 0.12)
    return 1 - 0.55 * torch.exp(-((along * along + beside * beside) ** 1.5))


def _grow(mask: Tensor, radius: int) -> Tensor:
    """A (N, H, W) mask widened by `radius` pixels, as floats."""
    return F.max_pool2d(mask.float()[:, None], 2 * radius + 1, stride=1, padding=radius)[:, 0]


def _outlines(depth: Tensor, index: Tensor) -> Tensor:
    """1 on the toy's outlines and on the seams between its parts, else 0; (N, H, W)."""
    side = index.shape[-1]
    edge = torch.zeros(index.shape, dtype=torch.bool, device=index.device)
    depth = depth.clamp(min=-4)
    for axis in (1, 2):
        here, there = slice(0, side - 1), slice(1, side)
        near = (slice(None),) * axis + (here,)
        far = (slice(None),) * axis + (there,)
        step = (depth[near] - depth[far]).abs() > 0.05
        edge[near] |= step & (index[near] != index[far])
    return _grow(edge, max(1, round(side / 96)))


def _stylise(picture: Tensor, edges: Tensor, subject: Tensor, style: Tensor) -> Tensor:
    """Backdrops in the style of each image, and outlines over everything; picture (3, N, H, W)."""
    behind = ~subject
    grey = 0.30 * picture[0] + 0.59 * picture[1] + 0.11 * picture[2]
    local = F.max_pool2d(grey[:, None], 3, 1, 1)[:, 0] + F.max_pool2d(-grey[:, None], 3, 1, 1)[:, 0]
    line = _grow(local > 0.10, max(1, grey.shape[-1] // 128)) * behind
    paper = (0.86 + 0.12 * grey - 0.30 * line).expand(3, -1, -1, -1)
    bold = (grey + 1.3 * (picture - grey)).clamp(0, 1).mul(5).round().div(5)
    pencil = (style == _PENCIL)[:, None, None]
    backdrop = torch.where(pencil, paper, bold)
    picture = torch.where(behind, backdrop, picture)
    return picture * (1 - edges * torch.where(pencil, 0.75, 0.95))


def _grid(side: int, device: torch.device) -> tuple[Tensor, Tensor]:
    centres = (torch.arange(side, device=device) * 2 + 1) / side - 1
    return centres.view(1, 1, side), -centres.view(1, side, 1)


def _horizon(shots: Sequence[Shot]) -> list[float]:
    """The height of the horizon, which rises out of sight as the camera looks down."""
    return [0.05 + 0.45 * min(1.0, max(0.0, (shot.pitch - 22) / 30)) for shot in shots]


def _render_class(toys: Sequence[Toy], shots: Sequence[Shot], side: int, device: torch.device) -> Tensor:
    """Images of one class, (N, 3, side, side), before antialiasing."""
    x, y = _grid(side, device)
    geometry = table(toys, shots)
    lights = _lights(shots, toys).to(device)
    jitter = torch.tensor([shot.scene_jitter for shot in shots], device=device)
    picture = scenes.paint([shot.scene for shot in shots], x, y, torch.tensor(_horizon(shots), device=device), jitter)
    picture *= _shadow(toys, shots, geometry, lights, x, y)
    depth, index = cast(geometry, x, y)
    seen = surface(geometry, depth, index, x, y)
    picture.view(3, -1)[:, seen.pixels] = _shade(seen, lights).T
    drawn = [i for i, shot in enumerate(shots) if shot.style]
    if drawn:
        some = torch.tensor(drawn, device=device)
        edges = _outlines(depth, index)[some]
        picture[:, some] = _stylise(picture[:, some], edges, index[some] >= 0, lights[some, 8])
    return picture.transpose(0, 1)


def _batches(toys: Sequence[Toy], shots: Sequence[Shot], size: int, device: torch.device) -> list[list[int]]:
    """Positions grouped by class, since a class is a fixed list of primitives, in chunks."""
    if len(toys) != len(shots):
        raise ValueError(f"{len(toys)} toys but {len(shots)} shots")
    if size < 8:
        raise ValueError(f"a picture is at least 8 pixels wide, not {size}")
    most = _CPU_CHUNK if device.type == "cpu" else _GPU_CHUNK
    order = sorted(range(len(toys)), key=lambda i: toys[i].class_noun)
    groups: list[list[int]] = []
    for i in order:
        if groups and len(groups[-1]) < most and toys[groups[-1][0]].class_noun == toys[i].class_noun:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


@torch.no_grad()
def render(toys: Sequence[Toy], shots: Sequence[Shot], size: int = 64, *, device: str | torch.device = "cpu") -> Tensor:
    """Pictures (N, 3, size, size) within [0, 1], a function of the toys and shots alone.

    Raises ValueError when there are not as many toys as shots or the size is below 8.
    """
    place = torch.device(device)
    pictures = torch.empty((len(toys), 3, size, size), device=place)
    for group in _batches(toys, shots, size, place):
        fine = _render_class([toys[i] for i in group], [shots[i] for i in group], size * _SUPERSAMPLING, place)
        pictures[torch.tensor(group, device=place)] = F.avg_pool2d(fine, _SUPERSAMPLING)
    return pictures


@torch.no_grad()
def render_mask(
    toys: Sequence[Toy], shots: Sequence[Shot], size: int = 64, *, device: str | torch.device = "cpu"
) -> Tensor:
    """How much of each pixel shows the toy itself, not what it wears: (N, 1, size, size) within [0, 1].

    Raises ValueError as `render` does.
    """
    place = torch.device(device)
    masks = torch.empty((len(toys), 1, size, size), device=place)
    x, y = _grid(size * _SUPERSAMPLING, place)
    for group in _batches(toys, shots, size, place):
        geometry = table([toys[i] for i in group], [shots[i] for i in group])
        _, index = cast(geometry, x, y)
        worn = torch.cat([geometry.paint[..., 4], torch.ones(len(group), 1)], dim=1).to(place)
        flat = index.flatten(1).long()  # the backdrop's -1 becomes the last column
        own = 1 - worn.gather(1, torch.where(flat < 0, worn.shape[1] - 1, flat))
        fine = own.view(len(group), 1, *index.shape[1:])
        masks[torch.tensor(group, device=place)] = F.avg_pool2d(fine, _SUPERSAMPLING)
    return masks
