"""How fast this machine is: what runs took, kept from one to the next; and a timed look at a model that none has seen.

Work is counted in FLOP, or in pictures for the judges. A rate is of one device, one model and one way to use it.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch.nn import functional as F

from dreambooth.config import Config
from dreambooth.errors import DiskError, RunError
from dreambooth.models.base import DiffusionModel
from dreambooth.plan.costs import Costs, forward, zeros
from dreambooth.plan.counting import META
from dreambooth.run.files import JsonFile
from dreambooth.support.cache import cache_folder
from dreambooth.support.device import device, device_name
from dreambooth.support.distributed import world
from dreambooth.support.progress import log

Positive = Annotated[float, Field(gt=0, lt=1e30)]

FORGET = 0.5
"""What an older run counts for beside a new one."""

JUDGED = 0.03
"""Seconds a picture for all judges, before any is measured: the embedded ones on one core, or large ones on a GPU."""


@dataclass(frozen=True, kw_only=True)
class Rate:
    """seconds that so much work took."""

    seconds: Positive
    work: Positive


RATES = JsonFile("rates.json", dict[str, Rate])


def names(model: DiffusionModel, config: Config) -> dict[str, str]:
    """What each rate of a run is called: "draw", "step", "judge", and "around" the steps, to encode and save."""
    training, place = config.training, device_name(device())
    parameters = sum(p.numel() for part in model.weights.parts.values() for p in part.parameters())
    its = f"{type(model).__name__} of {parameters / 1e6:.1f} M, {str(model.dtype).removeprefix('torch.')}"
    side = config.data.resolution or model.resolution
    rows = training.train_batch_size * (2 if config.prior.with_prior_preservation else 1)
    how = [config.method.method, f"{side} px", f"{rows} rows", training.mixed_precision]
    how += ["gradient checkpointing"] if training.gradient_checkpointing else []
    how += ["8-bit AdamW"] if training.use_8bit_adam else []
    how += [] if training.train_text_encoder else ["denoiser alone"]
    how += [f"base of {bits} bits"] if (bits := config.base.base_bits) else []
    how += ["group offload"] if config.base.group_offload else []
    how += [f"{world().size} processes"] if world().size > 1 else []
    given = {"dino": config.evaluation.dino_model, "clip": config.evaluation.clip_model}
    judges = [its or config.world.judges[judge] for judge, its in given.items()]
    return {
        "draw": f"draw | {place} | {its}, {model.resolution} px",
        "step": f"one step | {place} | {its} | {', '.join(how)}",
        "around": f"around the steps | {place} | {its} | {', '.join(how)}",
        "judge": f"judge | {place} | {', '.join(judges)}",
    }


def known() -> dict[str, float]:
    """Seconds a unit of work, by name; empty where nothing was measured, or what was is damaged."""
    try:
        return {name: rate.seconds / rate.work for name, rate in (RATES.find(cache_folder()) or {}).items()}
    except (RunError, DiskError) as error:  # no result depends on it
        log.info("%s The rates of this machine are measured again.", error)
        return {}


def learn(measured: Mapping[str, tuple[float, float]]) -> None:
    """Keep what a run took: seconds and work by name. Of two processes at the same moment one is forgotten."""
    try:
        folder = cache_folder()
        try:
            rates = RATES.find(folder) or {}
        except RunError:
            rates = {}
        for name, (seconds, work) in measured.items():
            if seconds > 0 and work > 0:
                old = rates.get(name, Rate(seconds=1e-9, work=1e-9))
                share = FORGET if name in rates else 0.0
                rates[name] = Rate(seconds=share * old.seconds + seconds, work=share * old.work + work)
        RATES.write(folder, rates)
    except DiskError:  # a machine that keeps nothing: the next plan is a timed look again
        return


def look(model: DiffusionModel, costs: Costs) -> float:
    """Seconds a FLOP of a forward pass of the denoiser for two pictures, the second time: the first one warms up.

    Of a model that is not on this disk yet: of a convolution as wide as Stable Diffusion's.
    """
    stage = model.stages[0]
    if stage.device == META:
        return _convolution()
    with torch.no_grad():
        latent, _ = stage.posterior(torch.zeros(1, 3, stage.resolution, stage.resolution))
        two = zeros(latent, 1, 1, stage.resolution)
        words = stage.condition(two.prompts)
        for _ in range(2):
            began = time.monotonic()
            forward(stage, two, words, None).item()  # read: a GPU would go on
    return (time.monotonic() - began) / (2 * costs.evaluations[0])


def _convolution() -> float:
    weight, rows = (torch.zeros(shape, device=device()) for shape in ((320, 320, 3, 3), (2, 320, 64, 64)))
    with torch.no_grad():
        for _ in range(2):
            began = time.monotonic()
            F.conv2d(rows, weight, padding=1).sum().item()
    return (time.monotonic() - began) / (2 * 2 * 64**2 * weight.numel())
