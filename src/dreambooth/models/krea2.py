"""Krea 2: a flow transformer that reads Qwen3-VL at twelve depths (https://huggingface.co/krea/Krea-2-Raw)."""

from collections.abc import Sequence
from typing import Any, final

import torch
from diffusers import AutoencoderKLQwenImage, Krea2Pipeline, Krea2Transformer2DModel
from torch import Tensor
from transformers import Qwen3VLModel

from dreambooth.models import opening, pipelines
from dreambooth.models.base import Conditioning, LoraLayout, padded
from dreambooth.models.flow import FlowModel, FlowStage, one_file, packed, places, unpacked
from dreambooth.support.device import onto

KIND = opening.Kind(
    pipeline=Krea2Pipeline,
    weights={
        "transformer": Krea2Transformer2DModel,
        "vae": AutoencoderKLQwenImage,
        "text_encoder": Qwen3VLModel,
    },
    others=("tokenizer", "scheduler"),
    unread=(),
    options={},
    family="Krea 2",
)
READERS = {"text_encoder": "tokenizer"}
# diffusers' train_dreambooth_lora_krea2.py, but for twelve weights that mix the depths: OFT cannot turn them
TARGETS = (
    *("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0", "attn.to_gate", "ff.up", "ff.down"),
    *("img_in", "final_layer.linear", "txt_in.linear_1", "txt_in.linear_2"),
    *("time_embed.linear_1", "time_embed.linear_2", "time_mod_proj"),
)


@final
class Krea2Denoising(FlowStage):
    """States of the language model at the depths of the pipeline's config, side by side for each of 512 tokens."""

    readers = READERS

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return pipelines.posterior_by_channel(self.pipeline.vae, images)

    def condition(self, prompts: Sequence[str]) -> Conditioning:
        embeds, mask = self.encoded(prompts)
        return padded([Conditioning(embeds=embeds.to(self.device), mask=mask)])

    def stack(self, rows: Sequence[Conditioning]) -> Conditioning:
        return padded(rows)

    def predict(self, x_t: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        assert conditioning.mask is not None, "condition() always pads"
        height, width = x_t.shape[-2:]
        words = torch.zeros(conditioning.embeds.shape[1], 3, device=x_t.device)
        pred: Tensor = self.pipeline.transformer(
            hidden_states=packed(x_t).to(self.dtype),
            timestep=t.to(x_t.device),
            encoder_hidden_states=conditioning.embeds.to(self.dtype),
            encoder_attention_mask=onto(conditioning.mask, x_t.device),
            position_ids=torch.cat([words, places(height // 2, width // 2, x_t.device)]),
        ).sample
        return unpacked(pred, height, width).float()


@final
class Krea2(FlowModel):
    """A diffusers Krea2Pipeline: Krea 2 Raw. What is tuned on it also draws on its distilled Turbo."""

    kind, denoising = KIND, Krea2Denoising

    @staticmethod
    def layout_of(pipeline: Any) -> LoraLayout:
        return one_file(TARGETS, "krea-2")

    @staticmethod
    def problems(pipeline: Any) -> list[str]:
        found = []
        if pipeline.transformer.config.in_channels != 4 * pipeline.vae.config.z_dim or pipeline.config.patch_size != 2:
            found.append(f"its transformer reads {pipeline.transformer.config.in_channels} channels")
        if pipeline.config.is_distilled:
            found.append("it is distilled to a few steps, which training undoes: Krea 2 Raw is trained")
        return found
