"""A model's weights: where they are, whether they are as they were read, and one hash of what they are."""

import hashlib
import json
import weakref
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from dreambooth.errors import ModelError
from dreambooth.models import group_offload
from dreambooth.models.quantized import Bits, Quantized, dequantize, quantize
from dreambooth.support.files import sha256
from dreambooth.support.libraries import hushed
from dreambooth.support.tensor_files import is_finite


class Weights:
    """The modules of a model by their part, frozen until an adapter asks for some.

    files: what they were read from; none: they were made here. A tensor is as it was read while it is the same object,
    in the same memory, and was never written to: training or loading writes to it, an adapter or a resized table puts
    another in its place.
    """

    def __init__(self, parts: Mapping[str, nn.Module], files: Sequence[Path]) -> None:
        self.parts = dict(parts)
        for module in self.parts.values():
            module.requires_grad_(False).eval()
        self._device = torch.device("cpu")
        self._away: set[str] = set()
        self._in_blocks: set[str] = set()
        self._files: list[str] = []
        self._read: dict[int, tuple[weakref.ref[Tensor], int, int]] = {}
        self._last: tuple[object, str] | None = None
        if files:
            self.are(files)

    def to(self, device: torch.device) -> None:
        """Move every part, but for blocks that are kept in the CPU's memory."""
        self._device = device
        self._away.clear()
        self._move(self.parts, device)

    def offload(self, parts: Collection[str]) -> None:
        """Keep these parts in the CPU's memory."""
        self._away |= set(parts)
        self._move(parts, torch.device("cpu"))

    def let_go(self) -> None:
        """Keep shapes alone, whoever still holds the modules: their memory is free."""
        for module in self.parts.values():
            module.to("meta")

    @contextmanager
    def together(self) -> Iterator[None]:
        """All parts on one device inside, those that `offload` keeps in the CPU's memory too."""
        self._move(self._away, self._device)
        try:
            yield
        finally:
            self._move(self._away, torch.device("cpu"))

    def offload_blocks(self, parts: Collection[str]) -> None:
        """Keep the blocks of these parts in the CPU's memory: `to` and `together` leave them there."""
        for part in set(parts) - self._in_blocks:
            group_offload.keep_on_cpu(self.parts[part])
        self._in_blocks |= set(parts)

    @property
    def kept_on_cpu(self) -> int:
        """Bytes of the blocks that are kept in the CPU's memory, but for the largest: it is copied to the device."""
        blocks = [block for part in self._in_blocks for block in group_offload.frozen_by_block(self.parts[part])]
        sizes = [sum(tensor.nbytes for tensor in block) for block in blocks]
        return sum(sizes) - max(sizes, default=0)

    def quantize(self, parts: Collection[str], bits: Bits) -> None:
        """Hold the linear layers of these parts in so few bits, until `gather`."""
        for part in parts:
            quantize(self.parts[part], bits)
        if self._files:  # as they were read, all the same
            self._files.append(f"{bits} bits")
            self._mark(self._tensors().values())

    @property
    def spared(self) -> int:
        """Bytes that few bits spare until `gather`: a saved model takes them all the same."""
        return sum(layer.spared for layer in self._in_few_bits())

    @property
    def written(self) -> int:
        """Bytes that a saved model takes."""
        return sum(tensor.nbytes for tensor in self._tensors().values()) + self.spared

    def gather(self) -> None:
        """No layer is in few bits, all weights are in one place; where some were not, in the CPU's memory."""
        if self._in_blocks or self._in_few_bits():
            self.to(torch.device("cpu"))
            for module in self.parts.values():
                dequantize(module)

    def round_to(self, dtype: torch.dtype) -> bool:
        """Have all weights in one precision; whether all of them are finite in it."""
        with hushed():  # diffusers warns of casts, also of a network that has nothing to be kept in float32
            for module in self.parts.values():
                module.to(dtype)
        return all(bool(p.isfinite().all()) for module in self.parts.values() for p in module.parameters())

    def require_finite(self, name: str) -> None:
        """Raise ModelError where a weight is NaN or infinite; name: what the model is called."""
        if bad := next((its for its, tensor in self._tensors().items() if not is_finite(tensor.detach())), None):
            raise ModelError(
                f"{name} was not saved: its {bad} is NaN or infinite now. Start over with a lower --learning-rate."
            )

    def are(self, files: Iterable[Path]) -> None:
        """The weights are now those of `files`."""
        self._files, self._read = [sha256(file) for file in files], {}
        self._mark(self._tensors().values())

    def fingerprint(self, also: object) -> str:
        """The hash of `also`, of the files, and of every tensor that is not as it was read."""
        changed = {name: tensor for name, tensor in self._tensors().items() if not self._is_as_read(tensor)}
        words = json.dumps([also, self._files], sort_keys=True, default=str)
        key = words, [(name, tensor.data_ptr(), tensor._version) for name, tensor in changed.items()]
        if self._last is None or self._last[0] != key:
            digest = hashlib.blake2b(words.encode(), digest_size=16)
            for name, tensor in changed.items():
                digest.update(f"{name} {tuple(tensor.shape)}".encode())
                digest.update(tensor.detach().float().cpu().contiguous().numpy().data)
            self._last = key, digest.hexdigest()
        return self._last[1]

    def _move(self, parts: Iterable[str], device: torch.device) -> None:
        as_read = [tensor for tensor in self._tensors().values() if self._is_as_read(tensor)]
        for part in parts:
            if part in self._in_blocks:
                group_offload.move(self.parts[part], device)
            else:
                self.parts[part].to(device)
        self._mark(as_read)  # the same, elsewhere

    def _in_few_bits(self) -> list[Quantized]:
        layers = (layer for part in self.parts.values() for layer in part.modules())
        return [layer for layer in layers if isinstance(layer, Quantized)]

    def _tensors(self) -> dict[str, Tensor]:
        return {
            f"{part}.{name}": tensor
            for part, module in self.parts.items()
            for name, tensor in module.state_dict(keep_vars=True).items()
        }

    def _mark(self, tensors: Iterable[Tensor]) -> None:
        self._read |= {id(t): (weakref.ref(t), t.data_ptr(), t._version) for t in tensors}

    def _is_as_read(self, tensor: Tensor) -> bool:
        known = self._read.get(id(tensor))
        return known is not None and known[0]() is tensor and known[1:] == (tensor.data_ptr(), tensor._version)
