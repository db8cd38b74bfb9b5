"""Stable Diffusion 1.x and 2.x: a latent U-Net with one CLIP text encoder (Rombach et al. 2022, arXiv:2112.10752)."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self, final

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import CLIPTextModel

from dreambooth.data.batch import Batch
from dreambooth.errors import ModelError
from dreambooth.models import clip, opening, pipelines, schedules, single_file
from dreambooth.models.base import DENOISER, Conditioning, DiffusionModel, LoraLayout, Sampling, Stage, joined
from dreambooth.models.weights import Weights

KIND = opening.Kind(
    pipeline=StableDiffusionPipeline,
    weights={"unet": UNet2DConditionModel, "vae": AutoencoderKL, "text_encoder": CLIPTextModel},
    others=("tokenizer", "scheduler"),
    unread=("safety_checker", "feature_extractor"),
    options={"requires_safety_checker": False},
    family="Stable Diffusion 1.x or 2.x",
)


PUBLISHED = single_file.Published(
    configs={
        "unet": {"sample_size": 64, "cross_attention_dim": 768},
        "vae": {
            "sample_size": 512,
            "block_out_channels": (128, 256, 512, 512),
            "layers_per_block": 2,
            "down_block_types": ("DownEncoderBlock2D",) * 4,
            "up_block_types": ("UpDecoderBlock2D",) * 4,
        },
        "text_encoder": {
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_attention_heads": 12,
            "eos_token_id": 2,
            "bos_token_id": 0,
        },
    },
    scheduler=partial(
        DDIMScheduler,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    ),
    tokenizers={"tokenizer": partial(single_file.clip_tokenizer, "<|endoftext|>")},
)
"""The settings of Stable Diffusion 1.x; single files of 2.x are not read."""


@final
class LatentDenoising(Stage):
    """The whole of it: latents of an autoencoder, and the last hidden state of the text encoder."""

    name = "base"

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline
        self.process = schedules.process(pipeline.scheduler)
        self.resolution = pipeline.unet.config.sample_size * pipeline.vae_scale_factor
        self._cut: set[str] = set()

    @property
    def parts(self) -> Mapping[str, nn.Module]:
        return {DENOISER: self.pipeline.unet, "text_encoder": self.pipeline.text_encoder}

    @torch.no_grad()
    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return pipelines.posterior(self.pipeline.vae, images)

    def condition(self, prompts: Sequence[str]) -> Conditioning:
        encoder = self.pipeline.text_encoder
        ids = clip.token_ids(self.pipeline, self.pipeline.tokenizer, prompts, self._cut)
        return Conditioning(embeds=encoder(ids.to(encoder.device))[0].to(self.device))

    def stack(self, rows: Sequence[Conditioning]) -> Conditioning:
        return joined(rows)

    def with_rows(self, conditioning: Conditioning, batch: Batch, *place: int) -> Conditioning:
        return conditioning

    def predict(self, x_t: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        unet = self.pipeline.unet
        pred: Tensor = unet(x_t.to(unet.dtype), t.to(x_t.device), conditioning.embeds.to(unet.dtype)).sample
        return pred.float()


@final
class StableDiffusion(DiffusionModel):
    """A diffusers StableDiffusionPipeline, all of its weights frozen until an adapter asks for some.

    pipeline: Any to the type checker, because diffusers sets its parts at run time.  files: what its weights were read
    from.  Raises ModelError where the pipeline's parts do not fit this family.
    """

    samplers = ("ddpm", "ddim", "dpmsolver++")

    def __init__(self, pipeline: Any, name: str, files: Sequence[Path] = ()) -> None:
        _require_family(pipeline, name)
        self.name = name
        self.pipeline = pipeline
        self.stages = (LatentDenoising(pipeline),)
        self.tokenizers = {"text_encoder": pipeline.tokenizer}
        self.dtype = pipeline.unet.dtype
        self.lora_layout = _lora_layout(pipeline)
        self.weights = Weights({**self.stages[0].parts, "vae": pipeline.vae}, files)

    @classmethod
    def open(cls, folder: Path, name: str, variant: str | None, dtype: torch.dtype) -> Self:
        """The pipeline in `folder`, in `dtype`; its safety checker is never loaded.

        variant: the infix of the weight files, such as "fp16".  Raises ModelError where a part is missing or damaged.
        """
        pipeline, files = opening.from_folder(KIND, folder, name, variant, dtype)
        return cls(pipeline, name, files)

    @classmethod
    def open_file(cls, file: Path, name: str, dtype: torch.dtype, published: single_file.Published = PUBLISHED) -> Self:
        """The pipeline in one .safetensors file of the original layout; raises ModelError as `open` does."""
        return cls(single_file.from_file(KIND, published, file, name, dtype), name, [file])

    @torch.no_grad()
    def generate(self, prompts: Sequence[str], seeds: Sequence[int], sampling: Sampling) -> NDArray[np.uint8]:
        parts = {**self.pipeline.components, "scheduler": schedules.sampler(self.pipeline.scheduler, sampling)}
        drawing = KIND.pipeline(**parts, **KIND.options)
        with self.weights.together():
            return pipelines.draw(drawing, self.resolution, prompts, seeds, sampling)

    def add_tokens(self, tokens: Sequence[str]) -> Mapping[str, tuple[nn.Embedding, list[int]]]:
        return {"text_encoder": clip.add_words(self.pipeline.tokenizer, self.pipeline.text_encoder, tokens)}

    def save_lora(
        self, folder: Path, weights: Mapping[str, Mapping[str, Tensor]], configs: Mapping[str, Mapping[str, Any]]
    ) -> None:
        prefixes = {"text_encoder": clip.text_model_prefix(self.pipeline.text_encoder, ".")}
        pipelines.save_lora(KIND.pipeline, folder, weights, configs, prefixes)

    def save_embeddings(self, folder: Path, token: str, rows: Mapping[str, Tensor]) -> None:
        pipelines.save_embeddings(folder, {token: rows["text_encoder"]})

    def fingerprint(self) -> str:
        return self.weights.fingerprint(pipelines.description(self.pipeline, ("tokenizer",)))

    def save(self, folder: Path) -> None:
        pipelines.save(self.pipeline, ("tokenizer",), folder)
        self.weights.are(opening.files_of(KIND, folder, None))


def _require_family(pipeline: Any, name: str) -> None:
    if problems := pipelines.problems(pipeline) + schedules.problems(pipeline.scheduler):
        raise ModelError(
            f"{name} is not a text-to-image model of the Stable Diffusion 1.x/2.x family: {'; '.join(problems)}. "
            "Choose another base model."
        )


def _lora_layout(pipeline: Any) -> LoraLayout:
    second = (
        "stable-diffusion-v2-768-v"
        if pipeline.scheduler.config.prediction_type == "v_prediction"
        else "stable-diffusion-v2-512"
    )
    return LoraLayout(
        targets={DENOISER: pipelines.ATTENTION, "text_encoder": clip.ATTENTION},
        kohya_prefixes={
            DENOISER: "lora_unet_",
            "text_encoder": "lora_te_" + clip.text_model_prefix(pipeline.text_encoder, "_"),
        },
        architecture=second if pipeline.unet.config.cross_attention_dim == 1024 else "stable-diffusion-v1",
    )
