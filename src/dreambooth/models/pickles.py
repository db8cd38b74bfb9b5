"""Checkpoints that are pickles: never opened, as a pickle can run code; told how they become safetensors."""

import shlex
from pathlib import Path

from dreambooth.errors import ModelError

SUFFIXES = (".ckpt", ".pt", ".pth", ".bin", ".pkl")
STARTS = (b"PK\x03\x04", b"\x80\x02")
"""Of torch's archives since 1.6, and of a bare pickle of its older ones."""

CONVERT = (
    "import sys, torch; from safetensors.torch import save_file; "
    "found = torch.load(sys.argv[1], map_location='cpu', weights_only=True); found = found.get('state_dict', found); "
    "save_file({k: v.clone().contiguous() for k, v in found.items() if hasattr(v, 'clone')}, sys.argv[2])"
)
"""Reads tensors alone: with `weights_only` torch refuses whatever else a pickle asks for."""


def refuse_pickle(file: Path) -> None:
    """Raise ModelError, with the way to convert it, where a file is a pickle by its name or its first bytes."""
    with file.open("rb") as stream:
        start = stream.read(4)
    if file.suffix.lower() in SUFFIXES or start.startswith(STARTS):
        target = file.with_suffix(".safetensors")
        command = f'python -c "{CONVERT}" {shlex.quote(str(file))} {shlex.quote(str(target))}'
        raise ModelError(
            f"{file} is a pickle, which can run code of its author when it is opened, so it is not. Look for the same "
            f"model as .safetensors; or write its tensors, and nothing else of it, to such a file:\n  {command}"
        )
