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
    drawn_at: B numbers, where rows are drawn at other places than their own: twins share their noise and time.
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
    drawn_at: tuple[int, ...] | None = None
    part: Part | None = None

    @property
    def numbers(self) -> Sequence[int]:
        """The place of each row in the whole batch, where its noise is drawn."""
        if self.drawn_at is not None:
            return self.drawn_at
        return range(len(self.rows)) if self.part is None else self.part.numbers

    def take(self, numbers: Sequence[int]) -> Self:
        """The rows of these numbers alone; the batch itself where they are all."""
        if len(numbers) == len(self.rows):
            return self
        return replace(self._rows(numbers), part=Part(numbers, self.is_prior))

    def with_twins(self, class_prompt: str, count: int) -> Self:
        """The first `count` rows once more as rows of the class: the same latent, noise and time, and no mask."""
        numbers, weight = (*range(len(self.rows)), *range(count)), self.weight
        return replace(
            self._rows(numbers),
            prompts=(*self.prompts, *[class_prompt] * count),
            is_prior=torch.arange(len(numbers)) >= len(self.rows),
            weight=None if weight is None else torch.cat([weight, torch.ones_like(weight[:count])]),
            drawn_at=numbers,
        )

    @property
    def prior(self) -> Self:
        """The rows of the class alone, their noise where it was."""
        numbers = self.is_prior.nonzero().flatten().tolist()
        return replace(self._rows(numbers), drawn_at=tuple(self.numbers[number] for number in numbers), part=None)

    def _rows(self, numbers: Sequence[int]) -> Self:
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
            drawn_at=None if self.drawn_at is None else tuple(self.drawn_at[number] for number in numbers),
        )

    def in_whole(self, error: Tensor) -> tuple[Tensor, Tensor]:
        """Errors (B,) as those (W,) of the whole batch, 0 where another process has the row; and its is_prior (W,)."""
        if self.part is None:
            return error, self.is_prior
        numbers = onto(torch.tensor(self.part.numbers), error.device)
        return error.new_zeros(len(self.part.is_prior)).index_copy(0, numbers, error), self.part.is_prior
