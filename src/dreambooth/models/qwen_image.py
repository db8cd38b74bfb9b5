"""Qwen-Image: a flow transformer of 20 billion weights that reads Qwen2.5-VL (arXiv:2508.02324)."""

from collections.abc import Sequence
from typing import Any, final

from diffusers import AutoencoderKLQwenImage, QwenImagePipeline, QwenImageTransformer2DModel
from torch import Tensor
from transformers import Qwen2_5_VLForConditionalGeneration

from dreambooth.models import opening, pipelines
from dreambooth.models.base import Conditioning, LoraLayout, padded
from dreambooth.models.flow import FlowModel, FlowStage, one_file, packed, unpacked
from dreambooth.support.device import onto

KIND = opening.Kind(
    pipeline=QwenImagePipeline,
    weights={
        "transformer": QwenImageTransformer2DModel,
        "vae": AutoencoderKLQwenImage,
        "text_encoder": Qwen2_5_VLForConditionalGeneration,
    },
    others=("tokenizer", "scheduler"),
    unread=(),
    options={},
    family="Qwen-Image",
)
READERS = {"text_encoder": "tokenizer"}
# diffusers' train_dreambooth_lora_qwen_image.py
TARGETS = ("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0")


@final
class QwenImageDenoising(FlowStage):
    """The last state of the language model, without its template's; zeros to the longest prompt, which are masked."""

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
        whole = bool(conditioning.mask.all())  # the mask is on the CPU: nothing waits
        pred: Tensor = self.pipeline.transformer(
            hidden_states=packed(x_t).to(self.dtype),
            timestep=t.to(x_t.device),
            encoder_hidden_states=conditioning.embeds.to(self.dtype),
            encoder_hidden_states_mask=None if whole else onto(conditioning.mask, x_t.device),
            img_shapes=[[(1, height // 2, width // 2)]] * len(x_t),
        ).sample
        return unpacked(pred, height, width).float()


@final
class QwenImage(FlowModel):
    """A diffusers QwenImagePipeline: Qwen-Image, Qwen-Image-2512, and what was tuned from them."""

    kind, denoising = KIND, QwenImageDenoising

    @staticmethod
    def layout_of(pipeline: Any) -> LoraLayout:
        return one_file(TARGETS, "qwen-image")

    @staticmethod
    def problems(pipeline: Any) -> list[str]:
        transformer, found = pipeline.transformer.config, []
        if transformer.in_channels != 4 * pipeline.vae.config.z_dim:
            found.append(f"its transformer reads {transformer.in_channels} channels (an inpainting or editing model?)")
        if transformer.guidance_embeds or transformer.get("zero_cond_t"):
            found.append("its transformer is told more than time and words (a distilled or editing model?)")
        return found
