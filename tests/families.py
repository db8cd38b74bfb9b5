"""Every family as a small random model, for the tests that all of them must pass.

A new family adds one entry here, and its small pipeline in a file of its own beside tiny.py.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dreambooth.models.base import DiffusionModel
from dreambooth.models.stable_diffusion import StableDiffusion
from tiny import tiny_pipeline


@dataclass(frozen=True, kw_only=True)
class Family:
    """How to make one, and what the field calls its parts.

    pipeline: a new diffusers pipeline with the same random weights at every call, for images of 16 pixels.
    wrap: the pipeline and a name to the model.  kohya: what stands before a layer's name in a LoRA file, by part.
    components: the pipeline's name of each part.  idle: beginnings of the names of weights that are trained and that no
    prediction depends on, such as the last layer of an encoder that is read at the last but one.
    """

    pipeline: Callable[[], Any]
    wrap: Callable[[Any, str], DiffusionModel]
    kohya: Mapping[str, str]
    components: Mapping[str, str]
    idle: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def model(self) -> Any:
        """A new model, the same at every call; Any, as the tests look inside it."""
        return self.wrap(self.pipeline(), "tiny")


FAMILIES: dict[str, Family] = {
    "stable diffusion": Family(
        pipeline=lambda: tiny_pipeline(size=16),
        wrap=StableDiffusion,
        kohya={"denoiser": "lora_unet_", "text_encoder": "lora_te_text_model_"},
        components={"denoiser": "unet", "text_encoder": "text_encoder"},
    ),
}
