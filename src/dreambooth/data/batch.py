"""What one training step sees."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Batch:
    """B rows, subject photos and class images in any mix; the mask travels with the data.

    mean, std: (B, C, h, w) of each row's latent (std is zero for a pixel-space model): x0 = mean + std * noise.
    prompts: B captions.  is_prior: (B,) bool, true for class images.  rows: B indices into the examples, to name a
    photo in an error.
    framing: (B, 6) in pixels: height and width of the picture as it was taken, top and left of the square cut from it
    once its short side is as long as the square's, height and width of the square.  low_res: (B, 3, h, w) in [-1, 1],
    the same squares at the side that a super-resolution stage starts from.
    weight: (B, 1, h, w), how much each place counts in the loss.  What is None is not known, or not wanted.
    """

    mean: Tensor
    std: Tensor
    prompts: tuple[str, ...]
    is_prior: Tensor
    rows: tuple[int, ...]
    framing: Tensor | None = None
    low_res: Tensor | None = None
    weight: Tensor | None = None
