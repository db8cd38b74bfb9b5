"""Pictures for the embedded DINO: shots of the same toy; and for both judges the wear that makes renders like samples.

A shard holds toys of one class that go by two colour names, several shots each: many of them share every word, and
pose, scene, light, what is worn and the style differ between the shots of a toy. Like the other renders they are drawn
apart from the subjects of `dreambooth toybox photos`.
"""

import math
import random
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from dreambooth.support.files import atomic_write
from dreambooth.toybox import colours, world
from pretraining import renders
from pretraining.state import arguments, log, prepare

TOYS, SHOTS = 256, 4
MEAN, STD = (0.58, 0.55, 0.49), (0.32, 0.29, 0.33)  # of the renders


def truths_of(shard: int) -> list[renders.Truth]:
    """TOYS toys of one class and two colours in SHOTS shots each, toy by toy."""
    rng = random.Random(f"judges/{shard}")
    class_noun = world.CLASSES[shard % len(world.CLASSES)]
    names = rng.sample(tuple(colours.COLOURS), 2)
    truths = []
    for _ in range(TOYS):
        toy = replace(world.Toy.sample(class_noun, rng), main=colours.sample(rng.choice(names), rng))
        truths += [renders.Truth(toy=toy, shot=world.Shot.sample(class_noun, rng)) for _ in range(SHOTS)]
    return truths


def shards(state: Path) -> list[Path]:
    """The shards that are complete, in the order of their numbers."""
    return sorted((state / "judge_renders").glob("*.safetensors"))


def load(path: Path) -> Tensor:
    """A shard's pictures (TOYS, SHOTS, 3, H, W) uint8."""
    return load_file(path)["images"]


def normalised(images: Tensor) -> Tensor:
    """Images in [0, 1] (N, 3, H, W) as both judges take them; their preprocessor_config.json says the same."""
    mean, std = (torch.tensor(values, device=images.device).view(3, 1, 1) for values in (MEAN, STD))
    return (images - mean) / std


def worn(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images in [0, 1] (N, 3, H, W), each cropped, mirrored, blurred and noisy to a degree of its own.

    Samples of a diffusion model are softer than renders: a judge must not read softness as another toy.
    """
    return softened(framed(images, generator), generator)


def _uniform(images: Tensor, generator: torch.Generator, low: float, high: float) -> Tensor:
    return torch.empty(len(images), 1, 1, 1).uniform_(low, high, generator=generator).to(images.device)


def framed(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images (N, C, H, W), each cropped and mirrored."""
    scale = _uniform(images, generator, 0.85, 1.05)
    shift = torch.cat([_uniform(images, generator, -0.1, 0.1), _uniform(images, generator, -0.1, 0.1)], 1)[..., 0]
    theta = torch.cat([torch.eye(2, device=images.device) * scale[:, 0], shift], 2)
    theta[:, 0, 0] *= _uniform(images, generator, -1, 1)[:, 0, 0, 0].sign()
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def softened(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images in [0, 1] (N, 3, H, W), each blurred, and noisy."""
    soft = F.interpolate(F.avg_pool2d(images, 2), scale_factor=2.0, mode="bilinear")
    noise = torch.randn(images.shape, generator=generator).to(images.device)
    blur = _uniform(images, generator, -0.5, 1).clamp(min=0)
    return images.lerp(soft, blur) + 0.03 * _uniform(images, generator, 0, 1) * noise


def share_at(step: int, gone: float) -> float:
    """The share of the learning rates: warm-up, then half a cosine down to a hundredth.

    gone: of the whole training, in [0, 1].
    """
    fallen = 0.01 + 0.99 * (1 + math.cos(math.pi * gone)) / 2
    return min(1.0, (step + 1) / 50) * fallen


def main() -> None:
    """Render the shards that are missing."""
    parser = arguments(__doc__)
    parser.add_argument("--shards", type=int, default=36, help=f"shards of {TOYS} toys x {SHOTS} pictures")
    options = parser.parse_args()
    size = prepare(options)
    for shard in range(options.shards):
        path = options.state / "judge_renders" / f"{shard:05}.safetensors"
        if path.exists():
            continue
        images = renders.draw(truths_of(shard), size.resolution, options.device)
        with atomic_write(path) as aside:
            save_file({"images": images.unflatten(0, (TOYS, SHOTS)).contiguous()}, aside)
        log(options.state, f"judge_renders: shard {shard}")


if __name__ == "__main__":
    main()
