"""Z-Image: a flow transformer that reads Qwen3 (https://github.com/Tongyi-MAI/Z-Image, arXiv:2511.22699).

It is unlike the others: its time runs from noise to photo, its output points there too, it takes lists, and its words
are as many as the prompt has.
"""

from collections.abc import Sequence
from typing import Any, final

import torch
from diffusers import AutoencoderKL, ZImagePipeline, ZImageTransformer2DModel
from torch import Tensor
from transformers import Qwen3Model

from dreambooth.models import opening, pipelines
from dreambooth.models.base import Conditioning, LoraLayout, padded
from dreambooth.models.flow import FlowModel, FlowStage, one_file

KIND = opening.Kind(
    pipeline=ZImagePipeline,
    weights={"transformer": ZImageTransformer2DModel, "vae": AutoencoderKL, "text_encoder": Qwen3Model},
    others=("tokenizer", "scheduler"),
    unread=(),
    options={},
    family="Z-Image",
)
READERS = {"text_encoder": "tokenizer"}
# diffusers' train_dreambooth_lora_z_image.py: of the refiners too
TARGETS = ("attention.to_q", "attention.to_k", "attention.to_v", "attention.to_out.0")


@final
class ZImageDenoising(FlowStage):
    """The last state but one of the language model, of the prompt in its template and of nothing after it."""

    readers = READERS

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return pipelines.posterior(self.pipeline.vae, images)

    def condition(self, prompts: Sequence[str]) -> Conditioning:
        found, _ = self.encoded(prompts, do_classifier_free_guidance=False)
        return padded([Conditioning(embeds=embeds[None].to(self.device)) for embeds in found])

    def stack(self, rows: Sequence[Conditioning]) -> Conditioning:
        return padded(rows)

    def predict(self, x_t: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        assert conditioning.mask is not None, "condition() always pads"
        words, lengths = conditioning.embeds.to(self.dtype), conditioning.mask.sum(1).tolist()  # the mask is on the CPU
        rows: list[Tensor] = self.pipeline.transformer(
            list(x_t.to(self.dtype).unsqueeze(2)),
            1 - t.to(x_t.device),
            [row[:length] for row, length in zip(words, lengths, strict=True)],
        ).sample
        return -torch.stack(rows).squeeze(2).float()


@final
class ZImage(FlowModel):
    """A diffusers ZImagePipeline: Z-Image, and what was tuned from it."""

    kind, denoising = KIND, ZImageDenoising

    @staticmethod
    def layout_of(pipeline: Any) -> LoraLayout:
        return one_file(TARGETS, "z-image")

    @staticmethod
    def problems(pipeline: Any) -> list[str]:
        transformer = pipeline.transformer.config
        if transformer.in_channels == pipeline.vae.config.latent_channels and transformer.siglip_feat_dim is None:
            return []
        return ["its transformer reads more than noise and words (an editing model?)"]
