"""Renders of toys, most of them striped or spotted, and where in each picture the pattern shows.

A picture is rendered twice, with its pattern and without: where the two differ, the pattern shows. The random numbers
are not those of the other renders.
"""

import random
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from pretraining import renders
from pretraining.state import prepare

FOLDER = "patterned"
PLAIN_KEPT = 0.15
"""The share of plain toys that stay among the others."""
BLOCK = 4
"""Side in pixels of the blocks in which the share of pattern is counted."""
DIFFERS = 12
"""Of 255, in one colour at least: less is not seen."""


@dataclass(frozen=True, kw_only=True)
class Shard:
    """images: (N, 3, H, W) uint8.  shown: (N, H / BLOCK, W / BLOCK) uint8, 255 where a block is all pattern."""

    images: Tensor
    shown: Tensor
    truths: list[renders.Truth]


def truths_of(shard: int) -> list[renders.Truth]:
    """The truths of a shard."""
    rng = random.Random(f"patterned/{shard}")
    truths: list[renders.Truth] = []
    while len(truths) < renders.SHARD:
        truth = renders.Truth.sample(rng)
        if truth.toy.pattern != "plain" or rng.random() < PLAIN_KEPT:
            truths.append(truth)
    return truths


def where(images: Tensor, plain: Tensor) -> Tensor:
    """`Shard.shown` of images (N, 3, H, W) uint8 and of the same toys without their patterns."""
    differs = ((images.float() - plain.float()).abs().amax(1, keepdim=True) > DIFFERS).float()
    return (F.avg_pool2d(differs, BLOCK)[:, 0] * 255).round().to(torch.uint8)


def shards(state: Path) -> list[int]:
    """The numbers of the shards that are complete."""
    return renders.shards(state, FOLDER)


def load(state: Path, shard: int) -> Shard:
    """One shard."""
    tensors = load_file(renders.shard_path(state, shard, FOLDER))
    return Shard(**tensors, truths=renders.load_truths(state, shard, FOLDER))


def main() -> None:
    """Render the shards that are missing."""
    options = renders.rendering_arguments(__doc__, shards=40).parse_args()
    size = prepare(options)

    def drawn(truths: list[renders.Truth]) -> dict[str, Tensor]:
        images = renders.draw(truths, size.resolution, options.device)
        bare = [replace(truth, toy=replace(truth.toy, pattern="plain")) for truth in truths]
        return {"images": images, "shown": where(images, renders.draw(bare, size.resolution, options.device))}

    renders.render_missing(options, range(options.shards), drawn, truths_of, FOLDER)


if __name__ == "__main__":
    main()
