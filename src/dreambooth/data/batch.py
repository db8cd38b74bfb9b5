"""What one training step sees."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from dreambooth.support.device import onto


@dataclass(frozen=True)
class Part:
    """Which rows of a whole batch of W these are; other processes have the others.

    numbers: B of them.  is_prior: (W,) bool, of the whole batch.
    """

    numbers: Sequence[int]
    is_prior: Tensor


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
    part: of a batch that several processes share; None: it is whole.
    """

    mean: Tensor
    std: Tensor
    prompts: tuple[str, ...]
    is_prior: Tensor
    rows: tuple[int, ...]
    framing: Tensor | None = None
    low_res: Tensor | None = None
    weight: Tensor | None = None
    part: Part | None = None

    @property
    def numbers(self) -> Sequence[int]:
        """The place of each row in the whole batch, where its noise is drawn."""
        return range(len(self.rows)) if self.part is None else self.part.numbers

    def take(self, numbers: Sequence[int]) -> Self:
        """The rows of these numbers alone; the batch itself where they are all."""
        if len(numbers) == len(self.rows):
            return self

        def chosen(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor[list(numbers)]

        return replace(
            self,
            mean=self.mean[list(numbers)],
            std=self.std[list(numbers)],
            prompts=tuple(self.prompts[number] for number in numbers),
            is_prior=self.is_prior[list(numbers)],
            rows=tuple(self.rows[number] for number in numbers),
            framing=chosen(self.framing),
            low_res=chosen(self.low_res),
            weight=chosen(self.weight),
            part=Part(numbers, self.is_prior),
        )

    def in_whole(self, error: Tensor) -> tuple[Tensor, Tensor]:
        """Errors (B,) as those (W,) of the whole batch, 0 where another process has the row; and its is_prior (W,)."""
        if self.part is None:
            return error, self.is_prior
        numbers = onto(torch.tensor(self.part.numbers), error.device)
        return error.new_zeros(len(self.part.is_prior)).index_copy(0, numbers, error), self.part.is_prior
