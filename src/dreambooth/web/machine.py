"""The GPUs of this machine and their memory, asked of the driver's own tool: torch would take seconds to say."""

import subprocess
from dataclasses import dataclass
from functools import cache

ASK = ("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits")
"""https://docs.nvidia.com/deploy/nvidia-smi/index.html"""


@dataclass(frozen=True)
class Gpu:
    """memory: GB."""

    name: str
    memory: float


@cache
def gpus() -> tuple[Gpu, ...]:
    """All of them; none where there is no such tool, or it says nothing."""
    try:
        told = subprocess.run(ASK, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(_read(told))


def _read(told: str) -> list[Gpu]:
    """The lines "name, MiB"."""
    found = []
    for line in told.splitlines():
        name, comma, memory = line.rpartition(",")
        if comma and memory.strip().isdigit():
            found.append(Gpu(name.strip(), int(memory) * 2**20 / 1e9))
    return found
