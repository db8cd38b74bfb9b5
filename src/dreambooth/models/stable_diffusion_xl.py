"""SDXL: a latent U-Net with two text encoders that knows a photo's framing (Podell et al. 2023, arXiv:2307.01952)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, final

import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from dreambooth.data.batch import Batch
from dreambooth.errors import ModelError
from dreambooth.models import clip, opening, original_layout, pipelines, schedules, single_file
from dreambooth.models.base import DENOISER, Conditioning, LoraLayout
from dreambooth.models.latent_unet import UNetModel, UNetStage
from dreambooth.support.device import onto

KIND = opening.Kind(
    pipeline=StableDiffusionXLPipeline,
    weights={
        "unet": UNet2DConditionModel,
        "vae": AutoencoderKL,
        "text_encoder": CLIPTextModel,
        "text_encoder_2": CLIPTextModelWithProjection,
    },
    others=("tokenizer", "tokenizer_2", "scheduler"),
    unread=("image_encoder", "feature_extractor"),
    options={"add_watermarker": False},
    family="SDXL",
)
_CLIP = {"vocab_size": 49408, "max_position_embeddings": 77, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}
PUBLISHED = single_file.Published(
    family="SDXL",
    configs={
        "unet": {
            "sample_size": 128,
            "block_out_channels": (320, 640, 1280),
            "layers_per_block": 2,
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "transformer_layers_per_block": (1, 2, 10),
            "attention_head_dim": (5, 10, 20),
            "cross_attention_dim": 2048,
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 6 * 256 + 1280,
        },
        "vae": {
            "sample_size": 1024,
            "block_out_channels": (128, 256, 512, 512),
            "layers_per_block": 2,
            "down_block_types": ("DownEncoderBlock2D",) * 4,
            "up_block_types": ("UpDecoderBlock2D",) * 4,
            "scaling_factor": 0.13025,
        },
        "text_encoder": _CLIP
        | {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12},
        "text_encoder_2": _CLIP
        | {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20}
        | {"projection_dim": 1280, "hidden_act": "gelu"},
    },
    scheduler=partial(
        EulerDiscreteScheduler,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        steps_offset=1,
        timestep_spacing="leading",
    ),
    tokenizers={
        "tokenizer": partial(single_file.clip_tokenizer, "<|endoftext|>"),
        "tokenizer_2": partial(single_file.clip_tokenizer, "!"),
    },
    layout={
        "unet": ("model.diffusion_model.", original_layout.unet),
        "vae": ("first_stage_model.", original_layout.vae),
        "text_encoder": ("conditioner.embedders.0.transformer.", original_layout.clip),
        "text_encoder_2": ("conditioner.embedders.1.model.", original_layout.open_clip),
    },
    marks=tuple(single_file.MARKS),
)
"""The settings of https://huggingface.co/stabilityai/stable-diffusion-xl-base-1.0; those tuned from it share them."""

READERS = {"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2"}
EMBEDDING_NAMES = {"text_encoder": "clip_l", "text_encoder_2": "clip_g"}
"""What a learned word's vectors are called in the files that the field shares."""


@final
class FramedDenoising(UNetStage):
    """Latents of an autoencoder; both encoders at their last layer but one, and the second one's pooled words."""

    readers = READERS

    def condition(self, prompts: Sequence[str]) -> Conditioning:
        states = []
        for part, reader in READERS.items():
            encoder, tokenizer = getattr(self.pipeline, part), getattr(self.pipeline, reader)
            ids = clip.token_ids(self.pipeline, tokenizer, prompts, self._cut)
            read = encoder(onto(ids, encoder.device), output_hidden_states=True)
            states.append(read.hidden_states[-2].to(self.device))
        return Conditioning(embeds=torch.cat(states, dim=-1), pooled=read.text_embeds.to(self.device))

    def with_row_conditioning(self, conditioning: Conditioning, batch: Batch, *place: int) -> Conditioning:
        if batch.framing is None:
            return conditioning
        return replace(conditioning, extras={"framing": onto(batch.framing, self.device)})

    def predict(self, x_t: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        assert conditioning.pooled is not None, "condition() always pools"
        unet, side = self.pipeline.unet, float(self.resolution)
        dtype = next(unet.parameters()).dtype  # unet.dtype goes through all modules
        whole = torch.tensor([[side, side, 0, 0, side, side]]).expand(len(x_t), 6)  # as the pipeline draws
        asked = {
            "text_embeds": conditioning.pooled.to(dtype),
            "time_ids": conditioning.extras.get("framing", whole).to(x_t.device, torch.float32),
        }
        embeds = conditioning.embeds.to(dtype)
        pred: Tensor = unet(x_t.to(dtype), t.to(x_t.device), embeds, added_cond_kwargs=asked).sample
        return pred.float()


@final
class StableDiffusionXL(UNetModel):
    """A diffusers StableDiffusionXLPipeline."""

    samplers = ("ddpm", "ddim", "euler", "dpmsolver++")
    kind, published, denoising = KIND, PUBLISHED, FramedDenoising

    @staticmethod
    def require_family(pipeline: Any, name: str) -> None:
        problems = pipelines.problems(pipeline, READERS) + schedules.problems(
            pipeline.scheduler, StableDiffusionXL.samplers
        )
        if pipeline.unet.config.addition_embed_type != "text_time":
            problems.append("its U-Net takes no framing of a photo")
        if pipeline.vae.config.latents_mean is not None:
            problems.append("its latents are scaled channel by channel, as Playground 2.5's are")
        if problems:
            raise ModelError(
                f"{name} is not a text-to-image model of the SDXL family: {'; '.join(problems)}. "
                "Choose another base model."
            )

    @staticmethod
    def layout_of(pipeline: Any) -> LoraLayout:
        prefixes = {part: clip.text_model_prefix(getattr(pipeline, part), "_") for part in READERS}
        return LoraLayout(
            targets={DENOISER: pipelines.ATTENTION, **dict.fromkeys(READERS, clip.ATTENTION)},
            kohya_prefixes={
                DENOISER: "lora_unet_",
                "text_encoder": "lora_te1_" + prefixes["text_encoder"],
                "text_encoder_2": "lora_te2_" + prefixes["text_encoder_2"],
            },
            architecture="stable-diffusion-xl-v1-base",
        )

    def drawing_options(self) -> Mapping[str, Any]:
        zeros = self.pipeline.config.force_zeros_for_empty_prompt  # what guidance leads away from
        return {"force_zeros_for_empty_prompt": zeros}

    def add_tokens(self, tokens: Sequence[str]) -> Mapping[str, tuple[nn.Embedding, list[int]]]:
        clip.pool_at_the_end(self.pipeline.text_encoder_2, self.pipeline.tokenizer_2)
        return {part: clip.add_words(self.tokenizers[part], getattr(self.pipeline, part), tokens) for part in READERS}

    def save_embeddings(self, folder: Path, token: str, rows: Mapping[str, Tensor]) -> None:
        pipelines.save_embeddings(folder, {EMBEDDING_NAMES[part]: vectors for part, vectors in rows.items()})

    def fingerprint(self) -> str:
        zeros, words = self.pipeline.config.force_zeros_for_empty_prompt, self.tokenizers.values()
        return self.weights.fingerprint([zeros, pipelines.description(self.pipeline, "unet", words)])
