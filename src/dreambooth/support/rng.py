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


def normal(shape: Sequence[int], *place: int | str) -> Tensor:
    """Standard normal rows of `shape` (B, ...), row i drawn at (*place, i)."""
    return torch.stack([torch.randn(tuple(shape[1:]), generator=generator(*place, row)) for row in range(shape[0])])


def permutation(length: int, *place: int | str) -> list[int]:
    """A shuffle of range(length) drawn at `place`."""
    return list(map(int, torch.randperm(length, generator=generator(*place))))
