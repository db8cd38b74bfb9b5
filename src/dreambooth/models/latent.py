"""What the families share that are a diffusers pipeline of an autoencoder, a denoiser and text encoders."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dreambooth.config import Base
from dreambooth.models import opening, pipelines, prediction
from dreambooth.models.base import DENOISER, DiffusionModel, LoraLayout, Sampling, Stage
from dreambooth.models.weights import Weights
from dreambooth.support.files import at_home
from dreambooth.support.model_index import SIDE


class LatentStage(Stage):
    """Denoising of an autoencoder's latents.

    pipeline: Any to the type checker, because diffusers sets its parts at run time.
    """

    name = "base"
    network: ClassVar[str]
    """The denoiser's name in the pipeline."""
    readers: ClassVar[Mapping[str, str]]
    """The tokenizer of every text encoder, by their names in the pipeline."""

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline
        self.resolution = self.usual_resolution
        self._cut: set[str] = set()

    @property
    @abstractmethod
    def usual_resolution(self) -> int:
        """Side at which the pipeline draws where it is not told another, in pixels."""

    @property
    def parts(self) -> Mapping[str, nn.Module]:
        texts = {part: getattr(self.pipeline, part) for part in self.readers}
        return {DENOISER: getattr(self.pipeline, self.network), **texts}


class LatentModel(DiffusionModel):
    """A diffusers pipeline, all of its weights frozen until an adapter asks for some.

    files: what its weights were read from.  Raises ModelError where the pipeline's parts do not fit the family.
    """

    kind: ClassVar[opening.Kind]
    denoising: ClassVar[type[LatentStage]]

    def __init__(self, pipeline: Any, name: str, files: Sequence[Path] = ()) -> None:
        self.require_family(pipeline, name)
        self.name = name
        self.pipeline = pipeline
        self.stages = (self.denoising(pipeline),)
        self.tokenizers = {
            part: pipelines.tokenizer(getattr(pipeline, reader)) for part, reader in self.denoising.readers.items()
        }
        self.dtype = getattr(pipeline, self.denoising.network).dtype
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

    @abstractmethod
    def sampler(self, sampling: Sampling) -> Any:
        """The scheduler of diffusers that draws by `sampling`."""

    @abstractmethod
    def guidance(self, scale: float, count: int) -> Mapping[str, Any]:
        """What the pipeline's call is told to draw `count` images with guidance of strength `scale`; 1 is none."""

    @classmethod
    def open(cls, folder: Path, name: str, base: Base, dtype: torch.dtype) -> Self:
        """The pipeline in `folder`, in `dtype`; a safety checker is never loaded.

        base: what was asked for, of which the variant of the weight files and the prediction type count.  Raises
        ModelError where a part is missing or damaged, ConfigError for a prediction type of a rectified flow.
        """
        pipeline, files = opening.from_folder(cls.kind, folder, name, base.variant, dtype)
        prediction.settle(pipeline.scheduler, base.prediction_type, name)
        return cls(pipeline, name, files)

    @torch.no_grad()
    def generate_with_x0(
        self, prompts: Sequence[str], seeds: Sequence[int], sampling: Sampling
    ) -> tuple[NDArray[np.uint8], Tensor | None]:
        parts = {**self.pipeline.components, "scheduler": self.sampler(sampling)}
        drawing = self.kind.pipeline(**parts, **self.kind.options, **self.drawing_options())
        with self.weights.together():
            return pipelines.draw(drawing, self.resolution, prompts, seeds, sampling, self.guidance)

    def save(self, folder: Path | str) -> None:
        folder = at_home(folder)
        self.weights.require_finite(self.name)
        usual = self.denoising(self.pipeline).resolution
        marks = {} if self.resolution == usual else {SIDE: self.resolution}
        pipelines.save(self.pipeline, self.denoising.readers, folder, self.world, marks)
        self.weights.are(opening.files_of(self.kind, folder, None))
