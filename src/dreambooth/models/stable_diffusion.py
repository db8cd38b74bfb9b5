"""Stable Diffusion 1.x and 2.x: a latent U-Net with one CLIP text encoder (Rombach et al. 2022, arXiv:2112.10752)."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, final

from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel

from dreambooth.data.batch import Batch
from dreambooth.errors import ModelError
from dreambooth.models import clip, opening, original_layout, pipelines, schedules, single_file
from dreambooth.models.base import DENOISER, Conditioning, LoraLayout
from dreambooth.models.latent_unet import UNetModel, UNetStage
from dreambooth.support.device import onto

KIND = opening.Kind(
    pipeline=StableDiffusionPipeline,
    weights={"unet": UNet2DConditionModel, "vae": AutoencoderKL, "text_encoder": CLIPTextModel},
    others=("tokenizer", "scheduler"),
    unread=("safety_checker", "feature_extractor"),
    options={"requires_safety_checker": False},
    family="Stable Diffusion 1.x or 2.x",
)
READERS = {"text_encoder": "tokenizer"}
"""The tokenizer of the text encoder."""

PUBLISHED = single_file.Published(
    family="Stable Diffusion 1.x",
    configs={
        "unet": {"sample_size": 64, "cross_attention_dim": 768, "layers_per_block": 2},
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
    layout={
        "unet": ("model.diffusion_model.", original_layout.unet),
        "vae": ("first_stage_model.", original_layout.vae),
        "text_encoder": ("cond_stage_model.transformer.", original_layout.clip),
    },
)
"""The settings of Stable Diffusion 1.x; single files of 2.x are neither read nor written."""


@final
class Denoising(UNetStage):
    """The whole of it: latents of an autoencoder, and the last hidden state of the text encoder."""

    readers = READERS

    def condition(self, prompts: Sequence[str]) -> Conditioning:
        encoder = self.pipeline.text_encoder
        ids = clip.token_ids(self.pipeline, self.pipeline.tokenizer, prompts, self._cut)
        return Conditioning(embeds=encoder(onto(ids, encoder.device))[0].to(self.device))

    def with_row_conditioning(self, conditioning: Conditioning, batch: Batch, *place: int) -> Conditioning:
        return conditioning

    def predict(self, x_t: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        unet = self.pipeline.unet
        dtype = next(unet.parameters()).dtype  # unet.dtype goes through all modules, a millisecond each time
        pred: Tensor = unet(x_t.to(dtype), t.to(x_t.device), conditioning.embeds.to(dtype)).sample
        return pred.float()


@final
class StableDiffusion(UNetModel):
    """A diffusers StableDiffusionPipeline."""

    samplers = ("ddpm", "ddim", "dpmsolver++")
    kind, published, denoising = KIND, PUBLISHED, Denoising

    @staticmethod
    def require_family(pipeline: Any, name: str) -> None:
        if problems := pipelines.problems(pipeline, READERS) + schedules.problems(
            pipeline.scheduler, StableDiffusion.samplers
        ):
            raise ModelError(
                f"{name} is not a text-to-image model of the Stable Diffusion 1.x/2.x family: {'; '.join(problems)}. "
                "Choose another base model."
            )

    @staticmethod
    def layout_of(pipeline: Any) -> LoraLayout:
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

    def drawing_options(self) -> Mapping[str, Any]:
        return {}

    def add_tokens(self, tokens: Sequence[str]) -> Mapping[str, tuple[nn.Embedding, list[int]]]:
        return {"text_encoder": clip.add_words(self.pipeline.tokenizer, self.pipeline.text_encoder, tokens)}

    def save_embeddings(self, folder: Path, token: str, rows: Mapping[str, Tensor]) -> None:
        pipelines.save_embeddings(folder, {token: rows["text_encoder"]})

    def fingerprint(self) -> str:
        return self.weights.fingerprint(pipelines.description(self.pipeline, "unet", self.tokenizers.values()))
