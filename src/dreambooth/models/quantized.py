"""Frozen linear layers held in 8 or 4 bits, by the kernels of bitsandbytes, an extra.

8 bits: blocks of 256 on a dynamic code (Dettmers et al. 2022, arXiv:2110.02861). 4 bits: NF4 in blocks of 64 (Dettmers
et al. 2023, arXiv:2305.14314). bitsandbytes' own layers, and diffusers' `BitsAndBytesConfig`, want a GPU; these compute
wherever the kernels do, on torch's "meta" device too.
"""

from collections.abc import Callable
from typing import Any, Literal, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dreambooth.support.device import device

Bits = Literal["8", "4"]
BLOCKS = {"8": 256, "4": 64}


@final
class Quantized(nn.Linear):
    """What `layer` computes, by weights (out, in) in few bits that no gradient reaches."""

    held: Tensor
    scale: Tensor
    code: Tensor

    def __init__(self, layer: nn.Linear, bits: Bits) -> None:
        nn.Module.__init__(self)  # not Linear's, which would make the weights anew
        self.in_features, self.out_features, self.bias = layer.in_features, layer.out_features, layer.bias
        self.bits, self.dtype = bits, layer.weight.dtype
        weight, at = layer.weight.detach(), layer.weight.device
        weight = weight if at.type == "meta" else weight.to(device())  # a CPU takes minutes for what a GPU does at once
        code, kernels = _code().to(weight.device), torch.ops.bitsandbytes
        if bits == "8":
            held, scale = kernels.quantize_blockwise(weight, code, BLOCKS[bits])
        else:
            held, scale = kernels.quantize_4bit(weight, BLOCKS[bits], "nf4", torch.uint8)
        for name, tensor in {"held": held, "scale": scale, "code": code}.items():
            self.register_buffer(name, tensor.to(at))

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """The weights as numbers, computed at every call."""
        kernels: Any = torch.ops.bitsandbytes
        block, shape = BLOCKS[self.bits], (self.out_features, self.in_features)
        if self.bits == "8":
            numbers: Tensor = kernels.dequantize_blockwise(self.held, self.scale, self.code, block, self.dtype)
        else:
            numbers = kernels.dequantize_4bit(self.held, self.scale, block, "nf4", shape, self.dtype)
        return numbers

    @property
    def spared(self) -> int:
        """Bytes that the few bits spare beside the weights of a plain layer."""
        plain = self.out_features * self.in_features * self.dtype.itemsize
        return plain - self.held.nbytes - self.scale.nbytes - self.code.nbytes

    def forward(self, x: Tensor) -> Tensor:
        product: Tensor = _Product.apply(x, self)  # type: ignore[no-untyped-call]
        return product

    def plain(self) -> nn.Linear:
        """A linear layer that computes the same."""
        layer = nn.Linear(self.in_features, self.out_features, self.bias is not None, device="meta", dtype=self.dtype)
        layer.weight, layer.bias = nn.Parameter(self.weight, requires_grad=False), self.bias
        return layer.eval()


class _Product(torch.autograd.Function):
    """The layer's product, whose backward pass computes the weights again: to keep them would save nothing."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: Quantized) -> Tensor:
        ctx.layer = layer
        return F.linear(x, layer.weight, layer.bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient @ ctx.layer.weight.to(gradient.dtype), None


def quantize(module: nn.Module, bits: Bits) -> None:
    """Put `Quantized` in the place of every linear layer inside."""
    import bitsandbytes  # noqa: F401  # registers its kernels

    _replace(module, lambda layer: Quantized(layer, bits) if type(layer) is nn.Linear else layer)


def dequantize(module: nn.Module) -> None:
    """The linear layers inside are plain ones again, with the numbers that few bits have left."""
    _replace(module, lambda layer: layer.plain() if isinstance(layer, Quantized) else layer)


def _replace(module: nn.Module, by: Callable[[nn.Module], nn.Module]) -> None:
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            setattr(parent, name, by(child))


def _code() -> Tensor:
    from bitsandbytes.functional import create_dynamic_map

    code: Tensor = create_dynamic_map()
    return code
