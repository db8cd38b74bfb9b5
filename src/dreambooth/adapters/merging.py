"""A LoRA worked into the layers that it was added to; where these are in bfloat16, its smallest parts are kept too.

A weight in bfloat16 has eight binary digits, and what one is moved by is mostly less than half of its last digit:
rounded to the nearest, it would stay where it was. Rounded up or down at random, in proportion to what is cut off, the
weights are on the mean where they should be, and so is what a layer gives (Gupta et al. 2015, arXiv:1502.02551).
"""

import torch
from peft import LoraModel, OFTModel
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor

from dreambooth.support.rng import generator

_CUT_OFF = 16  # binary digits that float32 has and bfloat16 has not


def rounded(values: Tensor, *place: int | str) -> Tensor:
    """`values`, float32, in bfloat16, rounded at random by a generator of this place; what is exact stays as it is.

    So do NaN and the infinities.
    """
    chance = torch.randint(1 << _CUT_OFF, values.shape, dtype=torch.int32, generator=generator(*place))
    bits = values.contiguous().view(torch.int32) + chance.to(values.device)
    cut = (bits >> _CUT_OFF << _CUT_OFF).view(torch.float32)
    return torch.where(values.isfinite(), cut, values).to(torch.bfloat16)


@torch.no_grad()
def merge(tuner: LoraModel | OFTModel, seed: int, part: str) -> None:
    """Add to every layer what peft has learned for it, in float32, and take peft's layers out.

    seed, part: the place at which bfloat16 is rounded.
    """
    for name, layer in tuner.model.named_modules():
        if isinstance(layer, BaseTunerLayer):
            weight = tuner.model.get_parameter(f"{name}.base_layer.weight")
            if low := weight.dtype == torch.bfloat16:
                weight.data = weight.data.float()
            layer.merge()
            if low:
                weight.data = rounded(weight.data, "merge", seed, part, name)
    # peft writes through `.data`, which no version counter sees; the fingerprint of the model asks them
    torch.autograd.graph.increment_version(list(tuner.unload().parameters()))
