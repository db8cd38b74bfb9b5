"""Blocks of frozen weights that wait in the CPU's memory: each computes with copies on the device, and lets them go.

What diffusers calls group offloading, for training too. Its hooks take a block's weights away when the forward pass
has left it, where the backward pass would look for them; of copies autograd keeps none longer than it needs, where
gradient checkpointing computes the block anew.
"""

from collections.abc import Iterator
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.func import functional_call

CPU = torch.device("cpu")


def wait(module: nn.Module) -> None:
    """From now on the blocks of a module compute with copies of their frozen weights; `move` leaves these behind."""
    for block in blocks(module):
        block.forward = _OnDemand(block)


def blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The members of the outermost lists of modules inside: the layers of a transformer, one after the other."""
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield from child
        else:
            yield from blocks(child)


def waiting(module: nn.Module) -> list[list[Tensor]]:
    """The frozen weights of each block."""
    return [[tensor for _, tensor in _frozen(block)] for block in blocks(module)]


def move(module: nn.Module, device: torch.device) -> None:
    """Move all but what waits, which goes to the CPU's memory: pinned where a GPU will copy it."""
    stays = {id(tensor) for its in waiting(module) for tensor in its}

    def moved(tensor: Tensor) -> Tensor:
        if id(tensor) not in stays:
            return tensor.to(device)
        here = tensor.to(CPU)
        return here.pin_memory() if device.type == "cuda" and not here.is_pinned() else here

    for part in module.modules():
        for parameter in part._parameters.values():
            if parameter is not None:
                parameter.data = moved(parameter).detach()
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = moved(buffer)


def bring(tensor: Tensor, device: torch.device) -> Tensor:
    """A copy of a waiting tensor; itself where it is there."""
    return tensor.to(device, non_blocking=True)


@final
class _OnDemand:
    """The forward pass of a block, whose frozen weights come to the device of what it is given."""

    def __init__(self, block: nn.Module) -> None:
        self.plain = _Plain(block)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        device = next(given.device for given in (*args, *kwargs.values()) if isinstance(given, Tensor))
        here = {f"block.{name}": bring(tensor, device) for name, tensor in _frozen(self.plain.block)}
        return functional_call(self.plain, here, args, kwargs)


@final
class _Plain(nn.Module):
    """The forward pass that a block has had, without its hooks: whoever calls the block has called them."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block, self.compute = block, block.forward

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.compute(*args, **kwargs)


def _frozen(block: nn.Module) -> Iterator[tuple[str, Tensor]]:
    named = [*block.named_parameters(), *block.named_buffers()]
    return ((name, tensor) for name, tensor in named if not tensor.requires_grad)
