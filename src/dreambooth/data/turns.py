"""Several subjects in one model take turns: batch after batch, each from its own photos and class images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Protocol

import torch
from torch import Tensor

from dreambooth.data.batch import Batch
from dreambooth.data.dataset import LatentDataset


class Dataset(Protocol):
    """What a training draws its batches from; M rows, see `LatentDataset`."""

    @property
    def prompts(self) -> tuple[str, ...]:
        """M captions."""

    @property
    def captions(self) -> tuple[str, ...]:
        """Every prompt that a batch may have."""

    @property
    def names(self) -> tuple[str, ...]:
        """M file names."""

    @property
    def is_prior(self) -> Tensor:
        """(M,) bool."""

    @property
    def weight(self) -> Tensor | None:
        """(M, 1, h, w), or None."""

    def batch(self, seed: int, number: int, subject_rows: int, prior_rows: int) -> Batch:
        """What the run's batch `number` sees."""


@dataclass(frozen=True, eq=False)
class Turns:
    """The rows of K subjects, one subject's after the other's; batch n is the (n // K)-th of subject n % K."""

    datasets: tuple[LatentDataset, ...]

    @property
    def prompts(self) -> tuple[str, ...]:
        """The captions of all rows."""
        return tuple(prompt for its in self.datasets for prompt in its.prompts)

    @property
    def captions(self) -> tuple[str, ...]:
        """Every prompt that a batch of any of them may have."""
        return tuple(dict.fromkeys(prompt for its in self.datasets for prompt in its.captions))

    @property
    def names(self) -> tuple[str, ...]:
        """The file names of all rows."""
        return tuple(name for its in self.datasets for name in its.names)

    @property
    def is_prior(self) -> Tensor:
        """Which rows are class images."""
        return torch.cat([its.is_prior for its in self.datasets])

    @property
    def weight(self) -> Tensor | None:
        """The weights of all rows, where each subject has masks."""
        weights = [its.weight for its in self.datasets if its.weight is not None]
        return torch.cat(weights) if len(weights) == len(self.datasets) else None

    def batch(self, seed: int, number: int, subject_rows: int, prior_rows: int) -> Batch:
        """As that of the subject whose turn it is; its row numbers are those of all rows."""
        turn, which = divmod(number, len(self.datasets))
        first = [0, *accumulate(len(its.names) for its in self.datasets)][which]
        batch = self.datasets[which].batch(seed, turn, subject_rows, prior_rows)
        return replace(batch, rows=tuple(first + row for row in batch.rows))


def in_turns(datasets: Sequence[LatentDataset]) -> Dataset:
    """One subject's dataset as it is, those of several by turns."""
    return datasets[0] if len(datasets) == 1 else Turns(tuple(datasets))
