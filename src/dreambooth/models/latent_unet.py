"""What the families share that are a latent U-Net with CLIP text encoders, trained by discrete diffusion.

A family adds its words (`condition`), what it asks of a photo itself (`with_row_conditioning`), and its `predict`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from dreambooth.config import Base
from dreambooth.config.families import usual_guidance
from dreambooth.models import clip, pipelines, schedules, single_file
from dreambooth.models.base import DENOISER, Conditioning, Sampling, joined
from dreambooth.models.latent import LatentModel, LatentStage
from dreambooth.support.files import at_home


class UNetStage(LatentStage):
    """Denoising by a U-Net, which draws at the side that it was trained on."""

    network = "unet"

    def __init__(self, pipeline: Any) -> None:
        super().__init__(pipeline)
        self.process = schedules.process(pipeline.scheduler)

    @property
    def usual_resolution(self) -> int:
        side: int = self.pipeline.unet.config.sample_size * self.pipeline.vae_scale_factor
        return side

    @torch.no_grad()
    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return pipelines.posterior(self.pipeline.vae, images)

    def stack(self, rows: Sequence[Conditioning]) -> Conditioning:
        return joined(rows)


class UNetModel(LatentModel):
    """A pipeline of the original Stable Diffusion kind, which also comes in one file."""

    published: ClassVar[single_file.Published]
    """The settings with which the published model's single files are read and written."""

    @classmethod
    def open_file(
        cls, file: Path, base: Base, dtype: torch.dtype, published: single_file.Published | None = None
    ) -> Self:
        """The pipeline in one .safetensors file of the original layout; raises ModelError as `open` does."""
        return cls(single_file.from_file(cls.kind, published or cls.published, file, base, dtype), base.model, [file])

    @classmethod
    def without_values(cls, name: str, dtype: torch.dtype) -> Self:
        """The model as it is published, for arithmetic: on torch's "meta" device, and nothing is read."""
        return cls(single_file.without_values(cls.kind, cls.published, dtype), name)

    def sampler(self, sampling: Sampling) -> Any:
        return schedules.sampler(self.pipeline.scheduler, sampling)

    def guidance(self, scale: float, count: int) -> Mapping[str, Any]:
        return usual_guidance(scale)

    def save_lora(
        self, folder: Path, weights: Mapping[str, Mapping[str, Tensor]], configs: Mapping[str, Mapping[str, Any]]
    ) -> None:
        prefixes = {part: clip.text_model_prefix(getattr(self.pipeline, part), ".") for part in self.denoising.readers}
        state = {part: pipelines.lora_layers(part, layers, prefixes.get(part, "")) for part, layers in weights.items()}
        names = {part: "unet" if part == DENOISER else part for part in weights}
        pipelines.save_lora(self.kind.pipeline, folder, state, configs, names)

    def save_single_file(self, file: Path | str, title: str, published: single_file.Published | None = None) -> None:
        metadata = single_file.model_spec(self.lora_layout.architecture, title, self.stages[0])
        single_file.to_file(self.kind, published or self.published, self.pipeline, at_home(file), self.name, metadata)
