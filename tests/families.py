"""Every family as a small random model, for the tests that all of them must pass.

A new family adds one entry here, and its small pipeline in a file of its own beside tiny.py.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from dreambooth.data.dataset import Encoded
from dreambooth.models.base import DiffusionModel
from dreambooth.models.stable_diffusion import StableDiffusion
from dreambooth.models.stable_diffusion_xl import StableDiffusionXL
from dreambooth.subject import Subject
from dreambooth.support.rng import normal
from tiny import tiny_pipeline
from tiny_xl import tiny_xl_pipeline


@dataclass(frozen=True, kw_only=True)
class Family:
    """How to make one, and what the field calls its parts.

    pipeline: a new diffusers pipeline with the same random weights at every call, for images of 16 pixels.
    wrap: the pipeline and a name to the model.  kohya: what stands before a layer's name in a LoRA file, by part.
    components: the pipeline's name of each part.  load_word: what a user of diffusers does with learned_embeds.
    idle: beginnings of the names of weights that are trained and that no
    prediction depends on, such as the last layer of an encoder that is read at the last but one.
    """

    pipeline: Callable[[], Any]
    wrap: Callable[[Any, str], DiffusionModel]
    kohya: Mapping[str, str]
    components: Mapping[str, str]
    load_word: Callable[[Any, Path], None]
    idle: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def model(self) -> Any:
        """A new model, the same at every call; Any, as the tests look inside it."""
        return self.wrap(self.pipeline(), "tiny")


def load_word(pipeline: Any, file: Path) -> None:
    """One encoder: the file as it is."""
    pipeline.load_textual_inversion(file.parent, weight_name=file.name)


def load_word_xl(pipeline: Any, file: Path) -> None:
    """Two encoders: each its own vectors. Configs as old as SDXL's also need to be told where a prompt ends."""
    vectors = load_file(file)
    for name, part, reader in (
        ("clip_l", "text_encoder", "tokenizer"),
        ("clip_g", "text_encoder_2", "tokenizer_2"),
    ):
        encoder, tokenizer = getattr(pipeline, part), getattr(pipeline, reader)
        pipeline.load_textual_inversion(vectors[name], token="<dog>", text_encoder=encoder, tokenizer=tokenizer)
    pipeline.text_encoder_2.text_model.eos_token_id = pipeline.tokenizer_2.eos_token_id


SUBJECT = Subject(photos=(), class_noun="dog", identifier="sks")


def noisy(count: int, name: str = "x_t") -> Tensor:
    """(B, 4, 8, 8): latents of 16 pixel images, which have half their side."""
    return normal((count, 4, 8, 8), name)


def encoded(photos: int = 2, class_images: int = 3) -> Encoded:
    """Random latents of photos and class images."""
    rows = photos + class_images
    return Encoded(
        mean=noisy(rows, "rows"),
        std=torch.full((rows, 4, 8, 8), 0.1),
        prompts=(*[SUBJECT.prompt] * photos, *[SUBJECT.class_prompt] * class_images),
        is_prior=torch.arange(rows) >= photos,
        names=tuple(f"{row}.png" for row in range(rows)),
    )


FAMILIES: dict[str, Family] = {
    "stable diffusion": Family(
        pipeline=lambda: tiny_pipeline(size=16),
        wrap=StableDiffusion,
        kohya={"denoiser": "lora_unet_", "text_encoder": "lora_te_text_model_"},
        components={"denoiser": "unet", "text_encoder": "text_encoder"},
        load_word=load_word,
    ),
    "sdxl": Family(
        pipeline=tiny_xl_pipeline,
        wrap=StableDiffusionXL,
        kohya={
            "denoiser": "lora_unet_",
            "text_encoder": "lora_te1_text_model_",
            "text_encoder_2": "lora_te2_text_model_",
        },
        components={"denoiser": "unet", "text_encoder": "text_encoder", "text_encoder_2": "text_encoder_2"},
        load_word=load_word_xl,
        idle={"text_encoder": ("encoder.layers.2.", "final_layer_norm.")},
    ),
}
