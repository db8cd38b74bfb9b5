"""Frozen blocks that stay in the CPU's memory: each computes with copies on the device, and lets them go.

What diffusers calls group offloading, for training too. Its hooks take a block's weights away when the forward pass
has left it, where the backward pass would look for them; of copies autograd keeps none longer than it needs, where
gradient checkpointing computes the block anew.
"""

from collections.abc import Iterator
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.func import functional_call

from dreambooth.support.device import onto


def keep_on_cpu(module: nn.Module) -> None:
    """From now on the blocks of a module compute with copies of their frozen weights; `move` leaves these behind."""
    for block in blocks(module):
        block.forward = _WithCopies(block)


def blocks(module: nn.Module) -> list[nn.Module]:
    """The members of the outermost lists of modules inside: the layers of a transformer, one after the other."""
    level = [module]
    while level:
        children = [child for its in level for child in its.children()]
        if found := [block for child in children if isinstance(child, nn.ModuleList) for block in child]:
            return found
        level = children
    return []


def frozen_by_block(module: nn.Module) -> list[list[Tensor]]:
    """The weights that stay in the CPU's memory, of each block."""
    return [[tensor for _, tensor in _frozen(block)] for block in blocks(module)]


def move(module: nn.Module, device: torch.device) -> None:
    """Move all but the frozen weights of the blocks, which go to the CPU's memory."""
    stays = {id(tensor) for block in frozen_by_block(module) for tensor in block}
    module._apply(lambda tensor: tensor.to("cpu" if id(tensor) in stays else device))  # as `Module.to` does


@final
class _WithCopies:
    """The forward pass of a block, by copies of its frozen weights on the device of what it is given."""

    def __init__(self, block: nn.Module) -> None:
        self.plain = _WithoutHooks(block)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        device = next(given.device for given in (*args, *kwargs.values()) if isinstance(given, Tensor))
        copies = {f"block.{name}": onto(tensor, device) for name, tensor in _frozen(self.plain.block)}
        return functional_call(self.plain, copies, args, kwargs)


@final
class _WithoutHooks(nn.Module):
    """The forward pass that a block has had; its hooks are called by whoever calls the block."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block, self.compute = block, block.forward

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.compute(*args, **kwargs)


def _frozen(block: nn.Module) -> Iterator[tuple[str, Tensor]]:
    named = [*block.named_parameters(), *block.named_buffers()]
    return ((name, tensor) for name, tensor in named if not tensor.requires_grad)
