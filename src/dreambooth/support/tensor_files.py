"""safetensors files that are equal to the byte where their tensors and metadata are: all that this package writes.

The format (https://github.com/huggingface/safetensors): the header's length in eight bytes, the header as JSON, then
the bytes of the tensors. The library writes the metadata in another order each time.
"""

import json
import math
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dreambooth.errors import ModelError
from dreambooth.support.files import atomic_write

METADATA = "__metadata__"
"""The entry of the header that is no tensor: words by their name."""


def save_tensors(file: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a canonical file; raises SafetensorError or OSError where it cannot be written.

    Inside `atomic_write` either becomes a DiskError.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(plain, file, dict(metadata) if metadata else None)
    make_canonical(file)


def is_finite(tensor: Tensor) -> bool:
    """Whether there is no NaN and no infinity in it; one pass without a copy, a fortieth of the time of isfinite."""
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    small = tensor.float() if tensor.element_size() == 1 else tensor.detach()  # of float8 torch has no least and most
    return all(math.isfinite(end.item()) for end in torch.aminmax(small))


def require_finite(called: str, files: Iterable[Path]) -> None:
    """Raise ModelError where a tensor of the files holds NaN or infinity; a damaged file is left to who opens it."""
    for file in files:
        with suppress(SafetensorError, OSError), safe_open(file, "pt") as opened:
            for name in opened.keys():  # noqa: SIM118
                if not is_finite(opened.get_tensor(name)):
                    raise ModelError(
                        f"{called} holds weights that are no numbers (NaN or infinite): {name} in {file}, for one. "
                        "Copy or download it again, or choose another."
                    )


def make_canonical(file: Path, name_of: Callable[[str], str] = str) -> None:
    """Sort the header of a file that a library wrote: metadata by name, then tensors by their place.

    name_of: gives each tensor its name, as it was or another.  The file is replaced only where anything changes.
    """
    with file.open("rb") as stream:
        old = _header(stream)
        if (new := _canonical(old, name_of)) == old:
            return
    with atomic_write(file) as aside, file.open("rb") as stream, aside.open("wb") as out:
        _header(stream)
        out.write(len(new).to_bytes(8, "little") + new)
        shutil.copyfileobj(stream, out, 1 << 24)


def _header(stream: BinaryIO) -> bytes:
    return stream.read(int.from_bytes(stream.read(8), "little"))


def _canonical(header: bytes, name_of: Callable[[str], str]) -> bytes:
    entries = json.loads(header)
    metadata = entries.pop(METADATA, None)
    ordered = {METADATA: dict(sorted(metadata.items()))} if metadata else {}
    ordered |= {name_of(name): entry for name, entry in sorted(entries.items(), key=_place)}
    text = json.dumps(ordered, separators=(",", ":"), ensure_ascii=False).encode()
    return text.ljust(-(-len(text) // 8) * 8)  # tensors begin at a multiple of eight bytes


def _place(entry: tuple[str, Mapping[str, list[int]]]) -> tuple[list[int], str]:
    return entry[1]["data_offsets"], entry[0]
