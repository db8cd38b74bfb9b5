"""What a U-Net predicts, noise or velocity: as the user says, else as its file or folder says, else it is asked about.

A model that is trained or drawn as what it is not gives noise, and its weights show the difference to nobody.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from safetensors import safe_open
from torch.nn.functional import cosine_similarity

from dreambooth.diffusion import DiscreteDiffusion
from dreambooth.errors import ConfigError
from dreambooth.models.base import Stage
from dreambooth.support.progress import log
from dreambooth.support.rng import normal

MARK = "v_pred"
"""An empty tensor by which ComfyUI tells a model of velocity; nothing marks one of noise."""
SPEC = "modelspec.prediction_type"
"""The metadata that says it of both, by the names of https://github.com/Stability-AI/ModelSpec."""
SPELLED = {"epsilon": "epsilon", "v": "v_prediction", "v_prediction": "v_prediction"}

ALIKE = 0.5
"""Cosine of pure noise and the answer to it: above 0.99 for a prediction of the noise, about 0 for one of velocity."""


def said_by(file: Path, names: Collection[str]) -> str | None:
    """What a single file says that it predicts, "epsilon" or "v_prediction"; None where it says nothing.

    names: of its tensors.
    """
    if MARK in names:
        return "v_prediction"
    with safe_open(file, "pt") as opened:
        said: str = (opened.metadata() or {}).get(SPEC, "")
    return SPELLED.get(said.strip().lower())


def spelled(prediction: str) -> str:
    """A prediction type as ModelSpec has it."""
    return "v" if prediction == "v_prediction" else prediction


def settle(scheduler: Any, asked: str | None, name: str) -> None:
    """Give a model's scheduler the prediction type that the user asked for; None: it keeps its own.

    A scheduler that says another is contradicted in words.  Raises ConfigError for that of a rectified flow.
    """
    said = scheduler.config.get("prediction_type")
    if asked in (None, said):
        return
    if said == "flow_prediction" or isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
        raise ConfigError([f"prediction_type: {name} is a rectified flow and predicts nothing else: leave it out"])
    log.warning(
        "%s says of itself that it predicts %s, and is taken for a model of %s because --prediction-type says so. "
        "Samples of noise mean that it was right: leave the setting out then.",
        *(name, said, asked),
    )
    scheduler.register_to_config(prediction_type=asked)


@torch.no_grad()
def ask(stage: Stage, name: str, side: int | None) -> None:
    """Say what is assumed of a single file that does not say what it predicts.

    side: of the picture at which it is looked at, in pixels; None: it is not.  Raises ConfigError where the answer to
    pure noise is not what the assumption promises, so that the user must say it.
    """
    process = stage.process
    assert isinstance(process, DiscreteDiffusion), "a single file is of a U-Net"
    silent = f"{name} does not say what it predicts (no tensor {MARK}, no metadata {SPEC})"
    likeness = None if side is None else _likeness(stage, process, side)
    if likeness is not None and (likeness > ALIKE) != (process.prediction == "epsilon"):
        seems = "epsilon" if likeness > ALIKE else "v_prediction"
        raise ConfigError(
            [
                f"prediction_type: {silent}, and it looks like {seems}: its answer to pure noise has a cosine of "
                f"{likeness:.2f} with that noise, near 1 for epsilon and near 0 for v_prediction. Give "
                f"--prediction-type {seems}, or the other where the model's page says so"
            ]
        )
    seen = "" if likeness is None else f", as its answer to pure noise says ({likeness:.2f})"
    log.warning(
        "%s: %s is assumed%s. If the model's page says another, give --prediction-type; given, this is not said again.",
        *(silent, process.prediction, seen),
    )


def _likeness(stage: Stage, process: DiscreteDiffusion, side: int) -> float:
    """Cosine of noise at the last time and what the model makes of it, for a picture of so many pixels."""
    latent, _ = stage.posterior(torch.zeros(1, 3, side, side))
    noise = normal(latent.shape, "prediction")
    t = torch.full((1,), len(process.alphas_cumprod) - 1)
    return cosine_similarity(stage.predict(noise, t, stage.condition(["a"])).flatten(), noise.flatten(), 0).item()
