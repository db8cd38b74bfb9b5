"""The latent that a picture was decoded from, in a file beside it; a damaged file is never taken for one."""

import hashlib
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from dreambooth.support.files import atomic_write
from dreambooth.support.tensor_files import save_tensors

NAME, SUM = "x0", "sha256"


def beside(picture: Path) -> Path:
    """The file of a picture's latent."""
    return picture.with_suffix(".safetensors")


def write(picture: Path, x0: Tensor) -> None:
    """Keep x0 (C, h, w) float32 beside a picture; raises DiskError."""
    with atomic_write(beside(picture)) as aside:
        save_tensors(aside, {NAME: x0}, {SUM: _sum(x0)})


def read(picture: Path) -> Tensor | None:
    """The latent (C, h, w) beside a picture; None where there is none, or it is not as it was written."""
    try:
        with safe_open(beside(picture), "pt") as opened:
            x0: Tensor = opened.get_tensor(NAME)
            return x0 if (opened.metadata() or {}).get(SUM) == _sum(x0) else None
    except (SafetensorError, OSError):
        return None


def are_whole(picture: Path) -> bool:
    """Whether the file beside a picture is as it was written; one that was never written is."""
    return not beside(picture).exists() or read(picture) is not None


def _sum(x0: Tensor) -> str:
    return hashlib.sha256(x0.contiguous().numpy().tobytes()).hexdigest()
