"""FLUX.1: a flow transformer of 12 billion weights that reads T5 and CLIP (https://github.com/black-forest-labs/flux).

Its guidance is distilled: a number beside the time. Photos were taken without any, so training tells it 1; drawing
tells it the guidance_scale.
"""

from collections.abc import Sequence
from typing import Any, final

import torch
from diffusers import AutoencoderKL, FluxPipeline, FluxTransformer2DModel
from torch import Tensor
from transformers import CLIPTextModel, T5EncoderModel

from dreambooth.models import opening, pipelines
from dreambooth.models.base import Conditioning, LoraLayout, joined
from dreambooth.models.flow import FlowModel, FlowStage, one_file, packed, places, unpacked

KIND = opening.Kind(
    pipeline=FluxPipeline,
    weights={
        "transformer": FluxTransformer2DModel,
        "vae": AutoencoderKL,
        "text_encoder": CLIPTextModel,
        "text_encoder_2": T5EncoderModel,
    },
    others=("tokenizer", "tokenizer_2", "scheduler"),
    unread=("image_encoder", "feature_extractor"),
    options={},
    family="FLUX.1",
)


READERS = {"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2"}


# diffusers' train_dreambooth_lora_flux.py
TARGETS = (
    *("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0"),
    *("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj", "attn.to_add_out"),
    *("ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2"),
)


@final
class FluxDenoising(FlowStage):
    """T5's last hidden state, all 512 of it, and CLIP's pooled words; latents in squares of two by two."""

    readers = READERS

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return pipelines.posterior(self.pipeline.vae, images)

    def condition(self, prompts: Sequence[str]) -> Conditioning:
        embeds, pooled, _ = self.encoded(prompts, prompt_2=None)
        return Conditioning(embeds=embeds.to(self.device), pooled=pooled.to(self.device))

    def stack(self, rows: Sequence[Conditioning]) -> Conditioning:
        return joined(rows)

    def predict(self, x_t: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        assert conditioning.pooled is not None, "condition() always pools"
        height, width = x_t.shape[-2:]
        guided = self.pipeline.transformer.config.guidance_embeds
        pred: Tensor = self.pipeline.transformer(
            hidden_states=packed(x_t).to(self.dtype),
            timestep=t.to(x_t.device),
            guidance=torch.ones(len(x_t), device=x_t.device) if guided else None,
            pooled_projections=conditioning.pooled.to(self.dtype),
            encoder_hidden_states=conditioning.embeds.to(self.dtype),
            txt_ids=torch.zeros(conditioning.embeds.shape[1], 3, device=x_t.device),
            img_ids=places(height // 2, width // 2, x_t.device),
        ).sample
        return unpacked(pred, height, width).float()


@final
class Flux(FlowModel):
    """A diffusers FluxPipeline: FLUX.1 [dev], FLUX.1 Krea [dev], and what was tuned from them."""

    kind, denoising = KIND, FluxDenoising

    @staticmethod
    def layout_of(pipeline: Any) -> LoraLayout:
        return one_file(TARGETS, "flux-1-dev")

    @staticmethod
    def problems(pipeline: Any) -> list[str]:
        transformer, found = pipeline.transformer.config, []
        if transformer.in_channels != 4 * pipeline.vae.config.latent_channels:
            found.append(f"its transformer reads {transformer.in_channels} channels (an inpainting or editing model?)")
        if not transformer.guidance_embeds and not pipeline.scheduler.config.use_dynamic_shifting:
            found.append("it is distilled to a few steps, as FLUX.1 [schnell] is, which training undoes")
        return found
