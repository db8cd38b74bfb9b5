"""FLUX.2: a flow transformer that reads one language model at three depths (https://github.com/black-forest-labs/flux2).

[dev] reads Mistral and is told a guidance, as FLUX.1 is; [klein] base reads Qwen3 and is guided by the difference to an
empty prompt. Both share the rest.
"""

from collections.abc import Sequence
from typing import Any, final

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLFlux2, Flux2KleinPipeline, Flux2Pipeline, Flux2Transformer2DModel
from torch import Tensor
from transformers import Mistral3ForConditionalGeneration, Qwen3ForCausalLM

from dreambooth.models import opening
from dreambooth.models.base import Conditioning, LoraLayout, joined
from dreambooth.models.flow import FlowModel, FlowStage, one_file, places

WEIGHTS = {"transformer": Flux2Transformer2DModel, "vae": AutoencoderKLFlux2}
DEV = opening.Kind(
    pipeline=Flux2Pipeline,
    weights={**WEIGHTS, "text_encoder": Mistral3ForConditionalGeneration},
    others=("tokenizer", "scheduler"),
    unread=(),
    options={},
    family="FLUX.2",
)
KLEIN = opening.Kind(
    pipeline=Flux2KleinPipeline,
    weights={**WEIGHTS, "text_encoder": Qwen3ForCausalLM},
    others=("tokenizer", "scheduler"),
    unread=(),
    options={},
    family="FLUX.2 klein",
)
READERS = {"text_encoder": "tokenizer"}


@final
class Flux2Denoising(FlowStage):
    """Squares of two by two cells are one cell here, normalised by the autoencoder's running statistics."""

    readers = READERS
    patch = 1

    @torch.no_grad()
    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Of the latents' distribution the model was trained on the mean alone."""
        vae = self.pipeline.vae
        cells = F.pixel_unshuffle(vae.encode(images.to(vae.device, vae.dtype)).latent_dist.mode(), 2)
        variance = vae.bn.running_var + vae.config.batch_norm_eps
        x0 = (cells - vae.bn.running_mean[:, None, None]) / variance.sqrt()[:, None, None]
        return x0, torch.zeros_like(x0)

    def condition(self, prompts: Sequence[str]) -> Conditioning:
        embeds, _ = self.encoded(prompts)
        return Conditioning(embeds=embeds.to(self.device))

    def stack(self, rows: Sequence[Conditioning]) -> Conditioning:
        return joined(rows)

    def predict(self, x_t: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        length, guided = conditioning.embeds.shape[1], self.pipeline.transformer.config.guidance_embeds
        words = F.pad(torch.arange(length, device=x_t.device)[:, None], (3, 0))  # their place is the last of four axes
        pred: Tensor = self.pipeline.transformer(
            hidden_states=x_t.flatten(2).transpose(1, 2).to(self.dtype),
            timestep=t.to(x_t.device),
            guidance=torch.ones(len(x_t), device=x_t.device) if guided else None,  # photos were taken without any
            encoder_hidden_states=conditioning.embeds.to(self.dtype),
            txt_ids=words,
            img_ids=places(x_t.shape[-2], x_t.shape[-1], x_t.device, axes=4),
        ).sample
        return pred.float().transpose(1, 2).reshape(x_t.shape)


def layout(pipeline: Any) -> LoraLayout:
    """diffusers' train_dreambooth_lora_flux2.py; outputs of a single block have the name of a list in a double one."""
    singles = range(pipeline.transformer.config.num_single_layers)
    targets = (
        *("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0", "attn.to_qkv_mlp_proj"),
        *(f"single_transformer_blocks.{number}.attn.to_out" for number in singles),
    )
    return one_file(targets, "flux-2-dev")


def unlike(pipeline: Any) -> list[str]:
    """What speaks against both kinds."""
    channels = pipeline.transformer.config.in_channels
    if channels == 4 * pipeline.vae.config.latent_channels:
        return []
    return [f"its transformer reads {channels} channels (an inpainting or editing model?)"]


@final
class Flux2(FlowModel):
    """A diffusers Flux2Pipeline: FLUX.2 [dev]."""

    kind, denoising = DEV, Flux2Denoising
    layout_of, problems = staticmethod(layout), staticmethod(unlike)


@final
class Flux2Klein(FlowModel):
    """A diffusers Flux2KleinPipeline: FLUX.2 [klein] base of 4 or 9 billion weights."""

    kind, denoising = KLEIN, Flux2Denoising
    layout_of = staticmethod(layout)

    @staticmethod
    def problems(pipeline: Any) -> list[str]:
        distilled = ["it is distilled to a few steps, which training undoes: its base model is trained"]
        return unlike(pipeline) + distilled * bool(pipeline.config.is_distilled)
