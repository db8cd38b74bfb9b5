"""What the families share that are a diffusers pipeline of an autoencoder, a U-Net and CLIP text encoders.

A family adds its words (`condition`), what it asks of a photo itself (`with_row_conditioning`), and its `predict`.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dreambooth.models import clip, opening, pipelines, schedules, single_file
from dreambooth.models.base import DENOISER, Conditioning, DiffusionModel, LoraLayout, Sampling, Stage, joined
from dreambooth.models.weights import Weights


class LatentStage(Stage):
    """Denoising of an autoencoder's latents.

    pipeline: Any to the type checker, because diffusers sets its parts at run time.
    """

    name = "base"
    readers: ClassVar[Mapping[str, str]]
    """The tokenizer of every text encoder, by their names in the pipeline."""

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline
        self.process = schedules.process(pipeline.scheduler)
        self.resolution = pipeline.unet.config.sample_size * pipeline.vae_scale_factor
        self._cut: set[str] = set()

    @property
    def parts(self) -> Mapping[str, nn.Module]:
        return {DENOISER: self.pipeline.unet, **{part: getattr(self.pipeline, part) for part in self.readers}}

    @torch.no_grad()
    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return pipelines.posterior(self.pipeline.vae, images)

    def stack(self, rows: Sequence[Conditioning]) -> Conditioning:
        return joined(rows)


class LatentModel(DiffusionModel):
    """A diffusers pipeline, all of its weights frozen until an adapter asks for some.

    files: what its weights were read from.  Raises ModelError where the pipeline's parts do not fit the family.
    """

    kind: ClassVar[opening.Kind]
    published: ClassVar[single_file.Published]
    """The settings with which the published model's single files are read and written."""
    denoising: ClassVar[type[LatentStage]]

    def __init__(self, pipeline: Any, name: str, files: Sequence[Path] = ()) -> None:
        self.require_family(pipeline, name)
        self.name = name
        self.pipeline = pipeline
        self.stages = (self.denoising(pipeline),)
        self.tokenizers = {part: getattr(pipeline, reader) for part, reader in self.denoising.readers.items()}
        self.dtype = pipeline.unet.dtype
        self.lora_layout = self.layout_of(pipeline)
        self.weights = Weights({**self.stages[0].parts, "vae": pipeline.vae}, files)

    @staticmethod
    @abstractmethod
    def require_family(pipeline: Any, name: str) -> None:
        """Raise ModelError where the pipeline is not of this family."""

    @staticmethod
    @abstractmethod
    def layout_of(pipeline: Any) -> LoraLayout:
        """How a LoRA of this pipeline is shared."""

    @abstractmethod
    def drawing_options(self) -> Mapping[str, Any]:
        """What the pipeline was configured with beside its parts, to draw as it does."""

    @classmethod
    def open(cls, folder: Path, name: str, variant: str | None, dtype: torch.dtype) -> Self:
        """The pipeline in `folder`, in `dtype`; a safety checker is never loaded.

        variant: the infix of the weight files, such as "fp16".  Raises ModelError where a part is missing or damaged.
        """
        pipeline, files = opening.from_folder(cls.kind, folder, name, variant, dtype)
        return cls(pipeline, name, files)

    @classmethod
    def open_file(
        cls, file: Path, name: str, dtype: torch.dtype, published: single_file.Published | None = None
    ) -> Self:
        """The pipeline in one .safetensors file of the original layout; raises ModelError as `open` does."""
        return cls(single_file.from_file(cls.kind, published or cls.published, file, name, dtype), name, [file])

    @torch.no_grad()
    def generate(self, prompts: Sequence[str], seeds: Sequence[int], sampling: Sampling) -> NDArray[np.uint8]:
        parts = {**self.pipeline.components, "scheduler": schedules.sampler(self.pipeline.scheduler, sampling)}
        drawing = self.kind.pipeline(**parts, **self.kind.options, **self.drawing_options())
        with self.weights.together():
            return pipelines.draw(drawing, self.resolution, prompts, seeds, sampling)

    def save_lora(
        self, folder: Path, weights: Mapping[str, Mapping[str, Tensor]], configs: Mapping[str, Mapping[str, Any]]
    ) -> None:
        prefixes = {part: clip.text_model_prefix(getattr(self.pipeline, part), ".") for part in self.denoising.readers}
        pipelines.save_lora(self.kind.pipeline, folder, weights, configs, prefixes)

    def save(self, folder: Path) -> None:
        self.weights.require_finite(self.name)
        pipelines.save(self.pipeline, self.denoising.readers, folder, self.world)
        self.weights.are(opening.files_of(self.kind, folder, None))

    def save_single_file(self, file: Path, title: str, published: single_file.Published | None = None) -> None:
        metadata = single_file.model_spec(self.lora_layout.architecture, title, self.stages[0])
        single_file.to_file(self.kind, published or self.published, self.pipeline, file, self.name, metadata)
