"""Where models compute: on a GPU where there is one, or where the user says."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
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


def memory(of: "torch.device") -> int:
    """Bytes that this process holds there now: of a GPU what torch has given out, else of the machine; 0: unknown."""
    import torch

    if of.type == "cuda":
        return torch.cuda.memory_allocated(of)
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:  # no Linux
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def memory_peak(of: "torch.device") -> int:
    """Bytes that this process has held there at most; 0: unknown."""
    import torch

    if of.type == "cuda":
        return torch.cuda.max_memory_allocated(of)
    if sys.platform == "win32":
        return 0
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def memory_size(of: "torch.device") -> int:
    """Bytes of memory there are; 0: unknown."""
    import torch

    if of.type == "cuda":
        return torch.cuda.get_device_properties(of).total_memory
    return 0 if sys.platform == "win32" else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def device_name(of: "torch.device") -> str:
    """What computes: "NVIDIA H200", or the processor's kind and how many threads torch uses."""
    import platform

    import torch

    if of.type == "cuda":
        return torch.cuda.get_device_name(of)
    return f"{of.type} {platform.machine()}, {torch.get_num_threads()} threads of {os.cpu_count()}"


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
