"""Randomness as a function of its place: (purpose, seed, batch number, row) and nothing else.

No state is carried from step to step, so a resumed run draws what an uninterrupted one would have drawn, and a row's
noise does not depend on who its neighbours in the batch are.
"""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


def generator(*place: int | str) -> torch.Generator:
    """A fresh CPU generator, a function of `place` alone: `generator("noise", seed, number, row)`."""
    digest = hashlib.blake2b(repr(place).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)


def normal(shape: Sequence[int], *place: int | str, rows: Sequence[int] | None = None) -> Tensor:
    """Standard normal rows of `shape` (B, ...), row i drawn at (*place, i); rows: other numbers than 0 to B - 1."""
    numbers = range(shape[0]) if rows is None else rows
    return torch.stack([torch.randn(tuple(shape[1:]), generator=generator(*place, row)) for row in numbers])


def permutation(length: int, *place: int | str) -> list[int]:
    """A shuffle of range(length) drawn at `place`."""
    return list(map(int, torch.randperm(length, generator=generator(*place))))
