"""How a rectified flow's noise levels are drawn in training, by name: every tool of the field draws them differently.

Sources: SD3 is Esser et al. 2024 (https://arxiv.org/abs/2403.03206); diffusers its examples/dreambooth, kohya
https://github.com/kohya-ss/sd-scripts, AI Toolkit https://github.com/ostris/ai-toolkit, SimpleTuner
https://github.com/bghira/SimpleTuner, as they were in August 2026. None of them measures its choice on a few photos.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

Density = Literal["uniform", "logit_normal", "mode"]
NoiseLevelsName = Literal[
    "logit_normal", "mode", "uniform", "uniform_shifted", "sigmoid", "shift_3", "kohya_shift",
    "diffusers_sd3", "kohya_sd3",
]  # fmt: skip


class NoiseLevels(NamedTuple):
    """density: of sigma before the shift.  scale: of the density.  shift: none is the model's own, with which it draws.

    x0_weighted: rows are weighted by sigma squared, so that an error of the velocity counts as the error of x0 that it
    means: little noise then hardly trains.
    """

    density: Density
    shift: float | None
    scale: float = 1.0
    x0_weighted: bool = False


NOISE_LEVELS: Mapping[NoiseLevelsName, NoiseLevels] = {
    # SD3, tables 1 and 2: the best of 61; shifted as the model is when it draws (section 5.3.2). Every family's own
    "logit_normal": NoiseLevels("logit_normal", None),
    # SD3, table 1: the best of its mode densities, fourth of all
    "mode": NoiseLevels("mode", None, scale=1.29),
    # diffusers' scripts of FLUX.1, FLUX.2, Qwen-Image, Krea 2 and Sana, whose schedulers shift nothing while they
    # train; AI Toolkit's "linear"
    "uniform": NoiseLevels("uniform", 1.0),
    # diffusers' script of Z-Image, whose scheduler does
    "uniform_shifted": NoiseLevels("uniform", None),
    # AI Toolkit's default, kohya's "sigmoid"
    "sigmoid": NoiseLevels("logit_normal", 1.0),
    # SimpleTuner's default, of all its flows
    "shift_3": NoiseLevels("logit_normal", 3.0),
    # kohya's recommendation for FLUX.1: "shift" at 3.1582, the model's own shift at 1024 pixels
    "kohya_shift": NoiseLevels("logit_normal", 3.1582),
    # diffusers' script of SD3: shifted, and --precondition_outputs 1
    "diffusers_sd3": NoiseLevels("logit_normal", 3.0, x0_weighted=True),
    # kohya's script of SD3: training_shift 1, weighted the same
    "kohya_sd3": NoiseLevels("uniform", 1.0, x0_weighted=True),
}
