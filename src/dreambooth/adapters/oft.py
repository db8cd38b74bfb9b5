"""The sizes of block that OFT can have on a model: a block turns so many of a layer's inputs, and must divide them all.

Where it does not, peft takes for that layer the nearest size that does, with a Python warning: one run would then have
blocks of several sizes, and other numbers of weights than its settings say. So such a size is refused.
"""

from collections.abc import Sequence
from math import gcd

from torch import nn

from dreambooth.adapters.base import layers_named

_SHOWN = 12


def problems(size: int, parts: Sequence[tuple[nn.Module, Sequence[str]]]) -> list[str]:
    """Why blocks of `size` do not fit, a sentence that names sizes that do; none where they fit.

    parts: modules, each with the ends of the names of its layers that are to be turned.
    """
    if size == 1:
        return ["rank: oft turns blocks of this size, and one of 1 turns nothing: give 2 or more"]
    layers = [
        (name, _width(module.get_submodule(name)))
        for module, endings in parts
        for name in layers_named(module, endings)
    ]
    unfit = [(name, width) for name, width in layers if width % size]
    if not unfit:
        return []
    name, width = unfit[0]
    said = (
        f"rank: with lora_type oft it is the size of the blocks, which must divide the inputs of every layer, and "
        f"{size} does not for {len(unfit)} of {len(layers)}, such as {name} with {width}: "
    )
    if fitting := _fitting([width for _, width in layers]):
        return [f"{said}sizes that do for all are {', '.join(fitting)}"]
    return [f"{said}no size does for them all, so leave some out of lora_target_modules"]


def _width(layer: nn.Module) -> int:
    """Inputs of one output, as peft counts them."""
    if isinstance(layer, nn.Conv2d):
        return layer.in_channels * layer.kernel_size[0] ** 2
    return int(layer.in_features)  # type: ignore[arg-type]  # of a linear layer a number


def _fitting(widths: Sequence[int]) -> list[str]:
    """The smallest sizes that divide all widths; without 1, whose blocks turn nothing."""
    common = gcd(*widths)
    return [str(size) for size in range(2, common + 1) if common % size == 0][:_SHOWN]
