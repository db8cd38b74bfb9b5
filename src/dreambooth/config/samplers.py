"""The samplers by the names of the settings, and the schedulers of diffusers that they are."""

from collections.abc import Mapping
from typing import Literal

Sampler = Literal["ddpm", "ddim", "euler", "dpmsolver++"]

SAMPLERS: Mapping[str, str] = {
    "ddpm": "DDPMScheduler",
    "ddim": "DDIMScheduler",
    "euler": "EulerDiscreteScheduler",
    "dpmsolver++": "DPMSolverMultistepScheduler",
}
"""Which of them a base model knows, its family says: `DiffusionModel.samplers`."""
