"""Stable Diffusion 3 and 3.5: a flow transformer with three text encoders (Esser et al. 2024, arXiv:2403.03206)."""

from collections.abc import Sequence
from typing import Any, final

from diffusers import AutoencoderKL, SD3Transformer2DModel, StableDiffusion3Pipeline
from torch import Tensor
from transformers import CLIPTextModelWithProjection, T5EncoderModel

from dreambooth.models import opening, pipelines
from dreambooth.models.base import Conditioning, LoraLayout, joined
from dreambooth.models.flow import FlowModel, FlowStage, one_file

KIND = opening.Kind(
    pipeline=StableDiffusion3Pipeline,
    weights={
        "transformer": SD3Transformer2DModel,
        "vae": AutoencoderKL,
        "text_encoder": CLIPTextModelWithProjection,
        "text_encoder_2": CLIPTextModelWithProjection,
        "text_encoder_3": T5EncoderModel,
    },
    others=("tokenizer", "tokenizer_2", "tokenizer_3", "scheduler"),
    unread=("image_encoder", "feature_extractor"),
    options={},
    family="Stable Diffusion 3",
)
READERS = {"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2", "text_encoder_3": "tokenizer_3"}


# diffusers' train_dreambooth_lora_sd3.py, and the second attention of 3.5 medium, which it passes over
TARGETS = (
    *("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0"),
    *("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj", "attn.to_add_out"),
    *("attn2.to_q", "attn2.to_k", "attn2.to_v", "attn2.to_out.0"),
)


@final
class ThreeEncoderDenoising(FlowStage):
    """Both CLIPs at their last layer but one, T5's 256 states after them, and the pooled words of both CLIPs."""

    readers = READERS

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return pipelines.posterior(self.pipeline.vae, images)

    def condition(self, prompts: Sequence[str]) -> Conditioning:
        embeds, _, pooled, _ = self.encoded(prompts, prompt_2=None, prompt_3=None, do_classifier_free_guidance=False)
        return Conditioning(embeds=embeds.to(self.device), pooled=pooled.to(self.device))

    def stack(self, rows: Sequence[Conditioning]) -> Conditioning:
        return joined(rows)

    def predict(self, x_t: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        assert conditioning.pooled is not None, "condition() always pools"
        pred: Tensor = self.pipeline.transformer(
            hidden_states=x_t.to(self.dtype),
            timestep=1000 * t.to(x_t.device),
            encoder_hidden_states=conditioning.embeds.to(self.dtype),
            pooled_projections=conditioning.pooled.to(self.dtype),
        ).sample
        return pred.float()


@final
class StableDiffusion3(FlowModel):
    """A diffusers StableDiffusion3Pipeline: 3 medium, 3.5 medium and large, and what was tuned from them."""

    kind, denoising = KIND, ThreeEncoderDenoising

    @staticmethod
    def layout_of(pipeline: Any) -> LoraLayout:
        return one_file(TARGETS, "stable-diffusion-3")

    @staticmethod
    def problems(pipeline: Any) -> list[str]:
        transformer = pipeline.transformer.config
        if transformer.in_channels == pipeline.vae.config.latent_channels:
            return []
        return [f"its transformer reads {transformer.in_channels} channels (an inpainting or editing model?)"]
