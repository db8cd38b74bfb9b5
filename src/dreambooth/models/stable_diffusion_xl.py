"""SDXL: a latent U-Net told by two text encoders and by a photo's framing (Podell et al. 2023, arXiv:2307.01952)."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, final

import numpy as np
import torch
from diffusers import AutoencoderKL, StableDiffusionXLPipeline, UNet2DConditionModel
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from dreambooth.batch import Batch
from dreambooth.errors import ModelError
from dreambooth.models import clip, opening, pipelines, schedules
from dreambooth.models.base import DENOISER, Conditioning, DiffusionModel, LoraLayout, Sampling, Stage, joined
from dreambooth.models.weights import Weights

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
READERS = {"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2"}
EMBEDDING_NAMES = {"text_encoder": "clip_l", "text_encoder_2": "clip_g"}
"""What a learned word's vectors are called in the files that the field shares."""


@final
class FramedDenoising(Stage):
    """Latents of an autoencoder; both encoders at their last layer but one, and the second one's pooled words."""

    name = "base"

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline
        self.process = schedules.process(pipeline.scheduler)
        self.resolution = pipeline.unet.config.sample_size * pipeline.vae_scale_factor
        self._cut: set[str] = set()

    @property
    def parts(self) -> Mapping[str, nn.Module]:
        return {DENOISER: self.pipeline.unet, **{part: getattr(self.pipeline, part) for part in READERS}}

    @torch.no_grad()
    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return pipelines.posterior(self.pipeline.vae, images)

    def condition(self, prompts: Sequence[str]) -> Conditioning:
        states = []
        for part, reader in READERS.items():
            encoder, tokenizer = getattr(self.pipeline, part), getattr(self.pipeline, reader)
            ids = clip.token_ids(self.pipeline, tokenizer, prompts, self._cut)
            read = encoder(ids.to(encoder.device), output_hidden_states=True)
            states.append(read.hidden_states[-2].to(self.device))
        return Conditioning(embeds=torch.cat(states, dim=-1), pooled=read.text_embeds.to(self.device))

    def stack(self, rows: Sequence[Conditioning]) -> Conditioning:
        return joined(rows)

    def with_rows(self, conditioning: Conditioning, batch: Batch, *place: int) -> Conditioning:
        return conditioning if batch.framing is None else replace(conditioning, extras={"framing": batch.framing})

    def predict(self, x_t: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        assert conditioning.pooled is not None, "condition() always pools"
        unet, side = self.pipeline.unet, float(self.resolution)
        whole = torch.tensor([[side, side, 0, 0, side, side]]).expand(len(x_t), 6)  # as the pipeline draws
        asked = {
            "text_embeds": conditioning.pooled.to(unet.dtype),
            "time_ids": conditioning.extras.get("framing", whole).to(x_t.device, torch.float32),
        }
        embeds = conditioning.embeds.to(unet.dtype)
        pred: Tensor = unet(x_t.to(unet.dtype), t.to(x_t.device), embeds, added_cond_kwargs=asked).sample
        return pred.float()


@final
class StableDiffusionXL(DiffusionModel):
    """A diffusers StableDiffusionXLPipeline, all of its weights frozen until an adapter asks for some.

    pipeline: Any to the type checker, because diffusers sets its parts at run time.  files: what its weights were read
    from.  Raises ModelError where the pipeline's parts do not fit this family.
    """

    samplers = ("ddpm", "ddim", "euler", "dpmsolver++")

    def __init__(self, pipeline: Any, name: str, files: Sequence[Path] = ()) -> None:
        _require_family(pipeline, name)
        self.name = name
        self.pipeline = pipeline
        self.stages = (FramedDenoising(pipeline),)
        self.tokenizers = {part: getattr(pipeline, reader) for part, reader in READERS.items()}
        self.dtype = pipeline.unet.dtype
        self.lora_layout = _lora_layout(pipeline)
        self._weights = Weights({**self.stages[0].parts, "vae": pipeline.vae}, files)

    @classmethod
    def open(cls, folder: Path, name: str, variant: str | None, dtype: torch.dtype) -> Self:
        """The pipeline in `folder`, in `dtype`.

        variant: the infix of the weight files, such as "fp16".  Raises ModelError where a part is missing or damaged.
        """
        pipeline, files = opening.from_folder(KIND, folder, name, variant, dtype)
        return cls(pipeline, name, files)

    def to(self, device: torch.device) -> None:
        self._weights.to(device)

    def offload(self, parts: Collection[str]) -> None:
        self._weights.offload(parts)

    @torch.no_grad()
    def generate(self, prompts: Sequence[str], seeds: Sequence[int], sampling: Sampling) -> NDArray[np.uint8]:
        parts = {**self.pipeline.components, "scheduler": schedules.sampler(self.pipeline.scheduler, sampling)}
        zeros = self.pipeline.config.force_zeros_for_empty_prompt  # what guidance leads away from
        drawing = KIND.pipeline(**parts, **KIND.options, force_zeros_for_empty_prompt=zeros)
        with self._weights.together():
            return pipelines.draw(drawing, self.resolution, prompts, seeds, sampling)

    def add_tokens(self, tokens: Sequence[str]) -> Mapping[str, tuple[nn.Embedding, list[int]]]:
        clip.pool_at_the_end(self.pipeline.text_encoder_2, self.pipeline.tokenizer_2)
        return {part: clip.add_words(self.tokenizers[part], getattr(self.pipeline, part), tokens) for part in READERS}

    def save_lora(
        self, folder: Path, weights: Mapping[str, Mapping[str, Tensor]], configs: Mapping[str, Mapping[str, Any]]
    ) -> None:
        prefixes = {part: clip.text_model_prefix(getattr(self.pipeline, part), ".") for part in READERS}
        pipelines.save_lora(KIND.pipeline, folder, weights, configs, prefixes)

    def save_embeddings(self, folder: Path, token: str, rows: Mapping[str, Tensor]) -> None:
        pipelines.save_embeddings(folder, {EMBEDDING_NAMES[part]: vectors for part, vectors in rows.items()})

    def fingerprint(self) -> str:
        zeros = self.pipeline.config.force_zeros_for_empty_prompt
        return self._weights.fingerprint([zeros, pipelines.description(self.pipeline, tuple(READERS.values()))])

    def save(self, folder: Path) -> None:
        pipelines.save(self.pipeline, tuple(READERS.values()), folder)
        self._weights.are(opening.files_of(KIND, folder, None))


def _require_family(pipeline: Any, name: str) -> None:
    problems = pipelines.problems(pipeline) + schedules.problems(pipeline.scheduler)
    if pipeline.unet.config.addition_embed_type != "text_time":
        problems.append("its U-Net is not told how a photo is framed")
    if pipeline.vae.config.latents_mean is not None:
        problems.append("its latents are scaled channel by channel, as Playground 2.5's are")
    if problems:
        raise ModelError(
            f"{name} is not a text-to-image model of the SDXL family: {'; '.join(problems)}. Choose another base model."
        )


def _lora_layout(pipeline: Any) -> LoraLayout:
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
