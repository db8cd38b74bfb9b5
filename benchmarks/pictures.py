"""Pictures as tensors and back, and drawing many of them."""

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from dreambooth.models.base import DiffusionModel, Sampling
from dreambooth.toybox import captions
from dreambooth.toybox.world import SCENES


def tensor(pictures: Sequence[Image.Image]) -> Tensor:
    """(N, 3, H, W) in [0, 1]."""
    rows = [
        torch.frombuffer(bytearray(p.convert("RGB").tobytes()), dtype=torch.uint8).view(*p.size[::-1], 3)
        for p in pictures
    ]
    return torch.stack(rows).permute(0, 3, 1, 2).float() / 255


def as_pictures(images: Tensor) -> list[Image.Image]:
    """Images (N, 3, H, W) in [0, 1] as pictures."""
    return [Image.fromarray((row * 255).round().byte().permute(1, 2, 0).numpy()) for row in images]


def in_scenes(name: str, times: int = 1) -> list[str]:
    """The prompts that ask for a noun phrase in every scene of the toybox, so many times."""
    return [f"{captions.article(name)} {scene}" for scene in SCENES] * times


def draw(
    model: DiffusionModel, texts: Sequence[str], sampling: Sampling, batch: int, first: int = 0
) -> list[Image.Image]:
    """A picture of each text; seeds count up from `first`."""
    pictures: list[Image.Image] = []
    for at in range(0, len(texts), batch):
        some = list(texts[at : at + batch])
        images = model.generate(some, list(range(first + at, first + at + len(some))), sampling)
        pictures += map(Image.fromarray, images)
    return pictures
