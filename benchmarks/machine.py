"""What a result was measured on."""

import os
import platform
import subprocess
import time
from importlib.metadata import version
from pathlib import Path


def machine() -> dict[str, str]:
    """Processor, cores, date, commit and the versions that matter."""
    import torch

    device = (
        torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else f"{os.cpu_count()} CPU cores, {platform.machine()}"
    )
    packages = ("dreambooth", "torch", "diffusers", "transformers")
    known = {"device": device, "date": time.strftime("%Y-%m-%d"), "commit": _commit()}
    return known | {name: version(name) for name in packages}


def clocked(processor: bool) -> None:
    """Have every clock of this process count the processor's seconds, which other work does not lengthen."""
    if processor:
        time.monotonic = time.process_time


def _commit() -> str:
    """What is checked out here, with "-dirty" where it was changed since; "unknown" outside of a repository."""
    result = subprocess.run(
        ["git", "-C", Path(__file__).parent, "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=False,
    )
    return result.stdout.strip() or "unknown"
