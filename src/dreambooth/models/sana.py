"""Sana: a linear flow transformer over latents of 32 pixels that reads Gemma 2 (Xie et al. 2024, arXiv:2410.10629)."""

from collections.abc import Sequence
from typing import Any, final

import torch
from diffusers import AutoencoderDC, SanaPipeline, SanaTransformer2DModel
from torch import Tensor
from transformers import Gemma2Model

from dreambooth.models import opening
from dreambooth.models.base import Conditioning, LoraLayout, padded
from dreambooth.models.flow import FlowModel, FlowStage, one_file
from dreambooth.support.device import onto

KIND = opening.Kind(
    pipeline=SanaPipeline,
    weights={"transformer": SanaTransformer2DModel, "vae": AutoencoderDC, "text_encoder": Gemma2Model},
    others=("tokenizer", "scheduler"),
    unread=(),
    options={},
    family="Sana",
)
READERS = {"text_encoder": "tokenizer"}
# diffusers' train_dreambooth_lora_sana.py
TARGETS = ("to_q", "to_k", "to_v")


@final
class SanaDenoising(FlowStage):
    """The last state of the language model, after the instruction that the pipeline puts before every prompt."""

    readers = READERS
    patch = 1

    def __init__(self, pipeline: Any) -> None:
        super().__init__(pipeline)
        self.sides = pipeline.vae_scale_factor

    @torch.no_grad()
    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The autoencoder knows one latent of an image."""
        vae = self.pipeline.vae
        x0 = vae.encode(images.to(vae.device, vae.dtype)).latent * vae.config.scaling_factor
        return x0, torch.zeros_like(x0)

    def condition(self, prompts: Sequence[str]) -> Conditioning:
        embeds, mask, *_ = self.encoded(prompts, do_classifier_free_guidance=False)
        return padded([Conditioning(embeds=embeds.to(self.device), mask=mask)])

    def stack(self, rows: Sequence[Conditioning]) -> Conditioning:
        return padded(rows)

    def predict(self, x_t: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        assert conditioning.mask is not None, "condition() always pads"
        transformer = self.pipeline.transformer
        pred: Tensor = transformer(
            x_t.to(self.dtype),
            encoder_hidden_states=conditioning.embeds.to(self.dtype),
            encoder_attention_mask=onto(conditioning.mask, x_t.device),
            timestep=1000 * transformer.config.timestep_scale * t.to(x_t.device),
        ).sample
        return pred.float()


@final
class Sana(FlowModel):
    """A diffusers SanaPipeline: Sana and SANA-1.5 of 0.6 to 4.8 billion weights, and what was tuned from them."""

    kind, denoising = KIND, SanaDenoising
    samplers = ("euler", "dpmsolver++")

    @staticmethod
    def layout_of(pipeline: Any) -> LoraLayout:
        return one_file(TARGETS, "sana")

    @staticmethod
    def problems(pipeline: Any) -> list[str]:
        transformer, found = pipeline.transformer.config, []
        if not transformer.in_channels == transformer.out_channels == pipeline.vae.config.latent_channels:
            found.append(f"its transformer reads {transformer.in_channels} channels and writes other ones")
        if transformer.guidance_embeds:
            found.append("it is distilled to a few steps, as Sana Sprint is, which training undoes")
        return found
