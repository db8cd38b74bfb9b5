"""True renders of the embedded world, as pictures."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from PIL import Image

from dreambooth.toybox.render import render
from dreambooth.toybox.world import Shot, Toy


def drawn(toys: Sequence[Toy], shots: Sequence[Shot], scene: str) -> list[Image.Image]:
    """Each toy as its shot shows it, all in one scene, 64 pixels a side."""
    pixels = render(list(toys), [replace(shot, scene=scene) for shot in shots], 64)
    return [Image.fromarray(each.numpy()) for each in (pixels * 255).round().to(torch.uint8).permute(0, 2, 3, 1)]
