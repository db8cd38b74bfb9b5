"""Where models compute: on a GPU where there is one, or where the user says."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dreambooth.errors import DreamBoothError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

DEVICES = ("cuda", "mps", "cpu")
"""The best first."""

VARIABLE = "DREAMBOOTH_DEVICE"
"""The environment variable that names one of them; the processes started from here have it too."""


def device() -> "torch.device":
    """The device that VARIABLE names, else the best one of this machine: CUDA, Apple's MPS, the CPU.

    Raises DreamBoothError for one that is not there.
    """
    import torch  # the command line names the devices before it needs any

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    found = [name for name in DEVICES if there[name]]
    wanted = os.environ.get(VARIABLE) or found[0]
    if wanted not in found:
        raise DreamBoothError(f"there is no device {wanted!r} here, only {', '.join(found)}: give --device {found[0]}.")
    return torch.device(wanted)


def onto(tensor: "Tensor", device: "torch.device") -> "Tensor":
    """The tensor on `device`; from the CPU to a GPU by way of pinned memory, so that nobody waits for the copy."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def keep_freed_memory() -> None:
    """Have glibc keep up to 64 MiB that was freed; without it each step returns pages and waits for zeroed ones.

    It adapts itself: once a block of its own mapping is freed, smaller ones come from the heap, of which twice as much
    may stay free (M_MMAP_THRESHOLD in mallopt(3); 32 MiB is the most). Nothing is touched, so nothing is used.
    """
    import torch

    torch.empty(31 * 2**20, dtype=torch.uint8)


@contextmanager
def computing_on(name: str | None) -> Iterator[None]:
    """Inside, `device` is the one of this name; None: as it was."""
    before = os.environ.get(VARIABLE)
    if name is not None:
        os.environ[VARIABLE] = name
    try:
        yield
    finally:
        if name is not None:
            os.environ.pop(VARIABLE)
        if before is not None:
            os.environ[VARIABLE] = before
