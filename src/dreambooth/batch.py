"""What one training step sees."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Batch:
    """B rows, subject photos and class images in any mix; the mask travels with the data.

    mean, std: (B, C, h, w) of each row's latent (std is zero for a pixel-space model): x0 = mean + std * noise.
    prompts: B captions.  is_prior: (B,) bool, true for class images.  rows: B indices into the examples, to name a
    photo in an error.
    """

    mean: Tensor
    std: Tensor
    prompts: tuple[str, ...]
    is_prior: Tensor
    rows: tuple[int, ...]
