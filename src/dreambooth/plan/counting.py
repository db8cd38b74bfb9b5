"""Arithmetic and memory of a computation that is not made: torch goes through it on "meta", without values."""

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, final

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import flop_registry

META = torch.device("meta")

_LOW = (F.linear, F.conv1d, F.conv2d, torch.matmul, torch.bmm, torch.baddbmm, F.scaled_dot_product_attention)
_HIGH = (F.group_norm, F.layer_norm, F.softmax, F.mse_loss)
"""What autocast computes in low precision and in float32, of what these networks use.

https://docs.pytorch.org/docs/stable/amp.html#cuda-op-specific-behavior
"""

_FUSED = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
"""An attention that keeps no matrix of all pairs, as every device's does; on "meta" torch would take one that does."""


@dataclass(frozen=True)
class Cost:
    """flop: multiplications and additions.  peak: bytes that it holds at most beyond what was there before."""

    flop: float
    peak: int


def cost(compute: Callable[[], object], known: Callable[[], list[Tensor]] = list) -> Cost:
    """What `compute` costs; known: the tensors that were there before."""
    with _Counting(known()) as counting:
        compute()
    return Cost(flop=counting.flop, peak=counting.peak)


def as_computed(compute: Callable[..., Any], low: torch.dtype | None) -> Callable[..., Any]:
    """`compute` with the attention of a real device, and within autocast to `low` where that is a dtype."""

    def computed(*given: Any) -> Any:
        with _Computing(low):
            return compute(*given)

    return computed


def checkpointing(low: torch.dtype | None) -> Callable[..., Any]:
    """What diffusers' enable_gradient_checkpointing takes: autograd computes anew outside the mode of the forward."""
    return lambda module, *given: checkpoint(as_computed(module, low), *given, use_reentrant=False)


@final
class _Counting(TorchDispatchMode):
    """Sees every operation, forward and backward, and every memory that is given and taken back."""

    def __init__(self, known: list[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flop, self.held, self.peak = 0.0, 0, 0
        self._seen = {tensor.untyped_storage()._cdata for tensor in known}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, Tensor) and tensor.device == META:
                self._hold(tensor.untyped_storage())
        if (formula := flop_registry.get(func._overloadpacket)) is not None:
            self.flop += formula(*args, **(kwargs or {}), out_val=out)
        return out

    def _hold(self, storage: Any) -> None:
        if storage._cdata in self._seen:
            return
        self._seen.add(storage._cdata)
        self.held += storage.nbytes()
        self.peak = max(self.peak, self.held)
        weakref.finalize(storage, partial(self._drop, storage._cdata, storage.nbytes()))

    def _drop(self, which: int, size: int) -> None:
        self._seen.discard(which)
        self.held -= size


@final
class _Computing(TorchFunctionMode):
    """Attention without its matrix and, with a dtype, what autocast does: each weight is cast once."""

    def __init__(self, low: torch.dtype | None) -> None:
        super().__init__()
        self._low, self._cast = low, dict[int, Tensor]()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self._low and (func in _LOW or func in _HIGH):
            dtype = self._low if func in _LOW else torch.float32
            args = [self._in(dtype, arg) for arg in args]
            kwargs = {name: self._in(dtype, arg) for name, arg in kwargs.items()}
        if func is F.scaled_dot_product_attention:
            return _attention(*args, **kwargs)
        return func(*args, **kwargs)

    def _in(self, dtype: torch.dtype, given: Any) -> Any:
        if not isinstance(given, Tensor) or not given.is_floating_point() or given.dtype == dtype:
            return given
        if not given.requires_grad or not given.is_leaf:
            return given.to(dtype)
        return self._cast.setdefault(id(given), given.to(dtype))


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    return _FUSED(query, key, value, dropout_p, is_causal, attn_mask=attn_mask, scale=scale)[0]
