"""A step of the fine-tuning between the device that computes it and losses.jsonl."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor

from dreambooth.run.records import Loss


@final
@dataclass(frozen=True, kw_only=True)
class Taken:
    """A step that was taken; its numbers are still on the device.

    rows: those of each of M micro-batches.  is_prior: (M * B,) bool.  numbers: (1 + M + M * B,), the norm of the
    gradients, the loss of each micro-batch, and the error of each row.
    """

    step: int
    lr: float
    rows: Sequence[Sequence[int]]
    is_prior: Tensor
    numbers: Tensor

    def problem(self, numbers: Tensor) -> tuple[str, Sequence[int]] | None:
        """What was not finite, and the rows that the step, or that micro-batch, had seen."""
        norm, *losses = numbers[: 1 + len(self.rows)].tolist()
        for rows, loss in zip(self.rows, losses, strict=True):
            if not math.isfinite(loss):
                return f"the loss is {loss}", rows
        return (
            None
            if math.isfinite(norm)
            else (f"the gradient's norm is {norm}", [row for rows in self.rows for row in rows])
        )

    def line(self, numbers: Tensor, seconds: float) -> Loss:
        """Its line in losses.jsonl."""
        norm, losses, errors = numbers[0], numbers[1 : 1 + len(self.rows)], numbers[1 + len(self.rows) :]
        prior = errors[self.is_prior]
        return Loss(
            step=self.step + 1,
            loss=losses.mean().item(),
            subject=errors[~self.is_prior].mean().item(),
            prior=prior.mean().item() if len(prior) else None,
            lr=self.lr,
            grad_norm=norm.item(),
            seconds=seconds,
        )
