"""A scheduler of diffusers: the process to train on, and the samplers to draw by."""

from collections.abc import Sequence
from inspect import signature
from typing import Any

import diffusers
from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler

from dreambooth.config.samplers import SAMPLERS
from dreambooth.diffusion import PREDICTIONS, DiscreteDiffusion, RectifiedFlow, ShiftBySize
from dreambooth.models.base import Sampling


def schedule(scheduler: Any) -> dict[str, Any]:
    """The noise schedule without diffusers' marks, which would put a sampler's own defaults in place of some values."""
    return {key: value for key, value in scheduler.config.items() if not key.startswith("_")}


def problems(scheduler: Any, samplers: Sequence[str]) -> list[str]:
    """Why it can be neither trained on nor drawn by, a clause each; samplers: those of the family."""
    settings, found = scheduler.config, []
    if settings.get("prediction_type", "epsilon") not in [*PREDICTIONS]:
        found.append(f"its prediction type {settings['prediction_type']!r} is none of {', '.join(PREDICTIONS)}")
    if "beta_start" not in settings and "trained_betas" not in settings:
        found.append(f"its scheduler {type(scheduler).__name__} has no noise schedule of betas")
    if not found:
        try:
            _require_usable(scheduler, samplers)
        except Exception as error:  # whatever diffusers and torch say of numbers and words that make no schedule
            found.append(f"its noise schedule cannot be used ({str(error).strip() or type(error).__name__})")
    return found


def _require_usable(scheduler: Any, samplers: Sequence[str]) -> None:
    times = scheduler.config.num_train_timesteps
    signal = process(scheduler).alphas_cumprod
    if signal.shape != (times,) or not ((signal >= 0) & (signal < 1)).all():
        raise ValueError(f"it does not have {times} levels between 0 and 1")
    for name in samplers:
        sampler(scheduler, Sampling(sampler=name, num_inference_steps=1, guidance_scale=1)).set_timesteps(1)


def process(scheduler: Any) -> DiscreteDiffusion:
    """The forward process that the scheduler reverses."""
    training = DDPMScheduler.from_config(schedule(scheduler))
    return DiscreteDiffusion(training.alphas_cumprod, training.config.prediction_type)


def sampler(scheduler: Any, sampling: Sampling) -> Any:
    """The scheduler of diffusers that draws latents by `sampling`."""
    # latents have no range to clip to; and the image must start near t = T - 1, which "leading" spacing misses by far
    # with many steps, and by all of the signal where the last time has none (Lin et al. 2023, arXiv:2305.08891)
    settings = {**schedule(scheduler), "clip_sample": False, "steps_offset": 1}
    many = sampling.num_inference_steps > scheduler.config.num_train_timesteps // 10
    if many or settings.get("rescale_betas_zero_snr"):
        settings["timestep_spacing"] = "trailing"
    return getattr(diffusers, SAMPLERS[sampling.sampler]).from_config(settings)


def flow_problems(scheduler: Any) -> list[str]:
    """Why `flow` could not be made of it, a clause each."""
    settings, found = scheduler.config, []
    solver = settings.get("prediction_type") == "flow_prediction"
    if not solver and not isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
        found.append(f"its scheduler {type(scheduler).__name__} is none of a rectified flow")
    if settings.get("time_shift_type", "exponential") != "exponential" or settings.get("invert_sigmas"):
        found.append("its scheduler shifts noise levels in a way of its own")
    return found


def flow(scheduler: Any, patch: int) -> RectifiedFlow:
    """The rectified flow that the scheduler reverses, shifted as its settings say.

    Samples are drawn with the same shift, except by FLUX.2's pipelines, which ignore it and also count their steps.

    patch: cells of the latent along the side of a token, by whose number some shift.
    """
    settings = scheduler.config
    if not settings.get("use_dynamic_shifting"):
        return RectifiedFlow(shift=settings.get("flow_shift", settings.get("shift", 1.0)))
    tokens = settings.base_image_seq_len, settings.max_image_seq_len
    return RectifiedFlow(shift=ShiftBySize(tokens, (settings.base_shift, settings.max_shift), patch))


def flow_sampler(scheduler: Any, class_name: str) -> Any:
    """A scheduler of this class of diffusers that draws along the same flow."""
    shift, type_ = scheduler.config.get("flow_shift", scheduler.config.get("shift")), getattr(diffusers, class_name)
    flowing = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": shift, "shift": shift}
    known = signature(type_.__init__).parameters
    return type_.from_config({k: v for k, v in (schedule(scheduler) | flowing).items() if k in known})
