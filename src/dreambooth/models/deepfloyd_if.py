"""DeepFloyd IF, the open form of Imagen (Saharia et al. 2022, arXiv:2205.11487): a cascade in pixels that T5 reads to.

Its base draws a small picture, super-resolution a large one beside it. The folder is that of diffusers' IFPipeline; in
it super_resolution/ is that of IFSuperResolutionPipeline. The T5 serves both and stays frozen, as it was for Imagen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self, final

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import IFPipeline, IFSuperResolutionPipeline, UNet2DConditionModel
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import T5EncoderModel

from dreambooth.config import Base
from dreambooth.data.batch import Batch
from dreambooth.errors import ModelError
from dreambooth.models import hub, opening, pipelines, prediction, schedules
from dreambooth.models.base import DENOISER, Conditioning, DiffusionModel, LoraLayout, Sampling, Stage, joined
from dreambooth.models.refining import Refining, refining_of
from dreambooth.models.t5 import Reader
from dreambooth.models.weights import Weights
from dreambooth.support.device import onto
from dreambooth.support.files import at_home, atomic_write
from dreambooth.support.model_index import LATER_STAGE, SUPER_RESOLUTION
from dreambooth.support.rng import normal

READERS = {"text_encoder": "tokenizer"}
_UNREAD = ("safety_checker", "feature_extractor", "watermarker")
KIND = opening.Kind(
    pipeline=IFPipeline,
    weights={"unet": UNet2DConditionModel, "text_encoder": T5EncoderModel},
    others=("tokenizer", "scheduler"),
    unread=_UNREAD,
    options={"requires_safety_checker": False},
    family="DeepFloyd IF",
)
LARGER = opening.Kind(
    pipeline=IFSuperResolutionPipeline,
    weights={"unet": UNet2DConditionModel},
    others=("scheduler", "image_noising_scheduler"),
    unread=(*_UNREAD, "tokenizer", "text_encoder"),  # those of the base serve both
    options={"requires_safety_checker": False},
    family="DeepFloyd IF super-resolution",
)


class PixelStage(Stage):
    """Denoising of pixels in [-1, 1]; of the U-Net's six channels the last three say a variance, which is not used."""

    text_trains = False

    def __init__(self, pipeline: Any, reader: Reader) -> None:
        self.unet, self.reader = pipeline.unet, reader
        self.process = schedules.process(pipeline.scheduler)
        self.resolution = self.unet.config.sample_size

    @property
    def parts(self) -> Mapping[str, nn.Module]:
        return {DENOISER: self.unet, "text_encoder": self.reader.encoder}

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return images, torch.zeros(len(images), 1, 1, 1)

    def condition(self, prompts: Sequence[str]) -> Conditioning:
        return Conditioning(embeds=self.reader(prompts, self.unread).to(self.device))

    def stack(self, rows: Sequence[Conditioning]) -> Conditioning:
        return joined(rows)

    def _denoise(self, pixels: Tensor, t: Tensor, embeds: Tensor, level: Tensor | None = None) -> Tensor:
        dtype = next(self.unet.parameters()).dtype
        told: Tensor = self.unet(pixels.to(dtype), t.to(pixels.device), embeds.to(dtype), class_labels=level).sample
        return told[:, :3].float()


@final
class BaseDenoising(PixelStage):
    """The first stage: small pictures from words."""

    name = "base"

    def with_row_conditioning(self, conditioning: Conditioning, batch: Batch, *place: int) -> Conditioning:
        return conditioning

    def predict(self, x_t: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        return self._denoise(x_t, t, conditioning.embeds)


@final
class SuperResolution(PixelStage):
    """The second stage: large pictures from words and the small picture, which has noise of its own on it.

    The small picture is that of the row, a photo or class image, and never what x_t was made from: its noise is drawn
    apart, so nothing of x_t's can be read off it.
    """

    name = LATER_STAGE

    def __init__(self, pipeline: Any, reader: Reader, refining: Refining, low_res: int) -> None:
        super().__init__(pipeline, reader)
        self.refining, self.low_res, self.unread = refining, low_res, refining.unread
        self.noising = schedules.process(pipeline.image_noising_scheduler)

    def looks(self, sampling: Sampling) -> int:
        return super().looks(self.refining.sampling(sampling))

    def with_row_conditioning(self, conditioning: Conditioning, batch: Batch, *place: int) -> Conditioning:
        assert batch.low_res is not None, "a dataset for this stage has its photos at `low_res` too"
        large = F.interpolate(batch.low_res, size=batch.mean.shape[2:], mode="bilinear", align_corners=True)
        level = torch.full((len(large),), self.refining.noise_level)
        noisy = self.noising.add_noise(large, normal(large.shape, "low_res noise", *place, rows=batch.numbers), level)
        extras = {"low_res": onto(noisy, self.device), "noise_level": onto(level, self.device)}
        return replace(conditioning, extras=extras)

    def predict(self, x_t: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        beside, level = (conditioning.extras[name] for name in ("low_res", "noise_level"))
        return self._denoise(torch.cat([x_t, beside.to(x_t)], 1), t, conditioning.embeds, level)


@final
class DeepFloydIF(DiffusionModel):
    """An IFPipeline and, where there is one, the IFSuperResolutionPipeline that draws after it."""

    kind, second = KIND, LARGER
    samplers = ("ddpm", "ddim", "dpmsolver++")

    def __init__(
        self,
        pipeline: Any,
        name: str,
        larger: Any = None,
        refining: Refining | None = None,
        files: Sequence[Path] = (),
    ) -> None:
        _require_family(pipeline, larger, name)
        self.name, self.pipeline, self.larger = name, pipeline, larger and _without_reader(larger)
        for one in (pipeline, self.larger) if larger else (pipeline,):
            # the loss teaches the mean alone, while the variance's channels drift with what they share: they go unread
            one.scheduler.register_to_config(variance_type="fixed_small")
        reader = Reader(pipeline)
        base = BaseDenoising(pipeline, reader)
        self.stages = (base,)
        parts = {DENOISER: base.unet, "text_encoder": reader.encoder}
        if larger:
            refiner = SuperResolution(self.larger, reader, refining or Refining(), base.resolution)
            self.stages = (base, refiner)
            parts[LATER_STAGE] = refiner.unet
        self.tokenizers = {"text_encoder": reader.tokenizer}
        self.dtype = base.unet.dtype
        layers = (*pipelines.ATTENTION, "add_k_proj", "add_v_proj")  # text enters by the last two
        # no program but diffusers reads a LoRA of IF
        self.lora_layout = LoraLayout(targets={DENOISER: layers}, kohya_prefixes={}, architecture="deepfloyd-if")
        self.weights = Weights(parts, files)

    @classmethod
    def open(cls, folder: Path, name: str, base: Base, dtype: torch.dtype) -> Self:
        """The cascade in `folder`, its second stage from base.super_resolution where that is given.

        Raises ModelError where a part is missing or damaged.
        """
        pipeline, files = opening.from_folder(KIND, folder, name, base.variant, dtype)
        second, larger = _second_folder(folder, base), None
        if second is not None:
            larger, more = opening.from_folder(LARGER, second, str(second), base.variant, dtype)
            files += more
        for one in (pipeline, larger) if larger else (pipeline,):
            prediction.settle(one.scheduler, base.prediction_type, name)
        asked = {
            "noise_level": base.noise_level,
            "guidance_scale": base.super_resolution_guidance_scale,
            "num_inference_steps": base.super_resolution_inference_steps,
        }
        return cls(pipeline, name, larger, refining_of(folder, asked), files)

    @property
    def refining(self) -> Refining:
        """How super-resolution draws now."""
        last = self.stages[-1]
        return replace(last.refining, unread=last.unread) if isinstance(last, SuperResolution) else Refining()

    @torch.no_grad()
    def generate_with_x0(
        self, prompts: Sequence[str], seeds: Sequence[int], sampling: Sampling
    ) -> tuple[NDArray[np.uint8], None]:
        reader = Reader(self.pipeline)
        base = _drawing(KIND, self.pipeline, reader, sampling)

        def drawn(prompts: Sequence[str], generators: list[torch.Generator]) -> NDArray[np.float32]:
            images = base(prompt=reader.spelled(prompts), generator=generators, **_how(sampling)).images
            if self.larger:  # after the base, from where it left each generator
                images = self.enlarged(images, prompts, generators, sampling)
            pictures: Tensor = (images / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
            return pictures.float().cpu().numpy()

        with self.weights.together():
            modules = list(self.weights.parts.values())
            return pipelines.in_batches(modules, self.resolution, prompts, seeds, drawn), None

    @torch.no_grad()
    def enlarged(
        self, small: Tensor, prompts: Sequence[str], generators: list[torch.Generator], sampling: Sampling
    ) -> Tensor:
        """What super-resolution makes of small pictures (N, 3, h, w), in [-1, 1] like them; sampling: the base's."""
        reader, refining = Reader(self.pipeline), self.refining
        larger = _drawing(LARGER, self.larger, reader, sampling)
        words = reader.spelled(prompts, refining.unread)
        how = {"noise_level": refining.noise_level, **_how(refining.sampling(sampling))}
        images: Tensor = larger(prompt=words, image=small, generator=generators, **how).images
        return images

    def add_tokens(self, tokens: Sequence[str]) -> Mapping[str, tuple[nn.Embedding, list[int]]]:
        raise NotImplementedError("the T5 learns no words here: Stage.text_trains")

    def save_lora(
        self, folder: Path, weights: Mapping[str, Mapping[str, Tensor]], configs: Mapping[str, Mapping[str, Any]]
    ) -> None:
        layers = {part: pipelines.lora_layers(part, state, "") for part, state in weights.items()}
        pipelines.save_lora(IFPipeline, folder, layers, configs, {DENOISER: "unet"})

    def save_embeddings(self, folder: Path, token: str, rows: Mapping[str, Tensor]) -> None:
        raise NotImplementedError("the T5 learns no words here: Stage.text_trains")

    def fingerprint(self) -> str:
        its = [pipelines.description(self.pipeline, "unet", self.tokenizers.values())]
        if self.larger:
            noising = schedules.schedule(self.larger.image_noising_scheduler)
            its += [asdict(self.refining), noising, pipelines.description(self.larger, "unet", ())]
        return self.weights.fingerprint(its)

    def save(self, folder: Path | str) -> None:
        folder = at_home(folder)
        self.weights.require_finite(self.name)
        marks = {SUPER_RESOLUTION: asdict(self.refining)} if self.larger else {}
        with atomic_write(folder) as aside:
            pipelines.write(self.pipeline, READERS, aside, self.world, marks)
            if self.larger:
                pipelines.write(self.larger, {}, aside / LATER_STAGE, self.world)
        files = opening.files_of(KIND, folder, None)
        self.weights.are(files + (opening.files_of(LARGER, folder / LATER_STAGE, None) if self.larger else []))

    def save_single_file(self, file: Path | str, title: str) -> None:
        raise ModelError(f"{self.name} is a DeepFloyd IF, which no program reads from one file: export a folder.")


def _second_folder(folder: Path, base: Base) -> Path | None:
    if base.super_resolution is None:
        return folder / LATER_STAGE if (folder / LATER_STAGE).is_dir() else None
    local = at_home(base.super_resolution)
    if local.exists():
        return local
    return hub.downloaded(hub.second_of(base), LARGER)


def _without_reader(larger: Any) -> Any:
    """The pipeline without a text encoder of its own, as one may have 10 GB."""
    parts = {**larger.components, "tokenizer": None, "text_encoder": None}
    return IFSuperResolutionPipeline(**parts, **LARGER.options)


def _drawing(kind: opening.Kind, pipeline: Any, reader: Reader, sampling: Sampling) -> Any:
    """A pipeline that nothing else uses, with its sampler and the reader of the base."""
    parts = {**pipeline.components, "tokenizer": reader.tokenizer, "text_encoder": reader.encoder}
    drawing = kind.pipeline(**parts | {"scheduler": schedules.sampler(pipeline.scheduler, sampling)}, **kind.options)
    drawing.set_progress_bar_config(disable=True)
    return drawing


def _how(sampling: Sampling) -> dict[str, Any]:
    """The arguments of a pipeline's call."""
    its = {"num_inference_steps": sampling.num_inference_steps, "guidance_scale": sampling.guidance_scale}
    return {**its, "output_type": "pt", "clean_caption": False}


def _require_family(base: Any, larger: Any, name: str) -> None:
    problems = schedules.problems(base.scheduler, DeepFloydIF.samplers)
    for called, pipeline, channels in (("base", base, 3), ("super-resolution stage", larger, 6)):
        config = pipeline.unet.config if pipeline else None
        if config and (config.in_channels, config.out_channels) != (channels, 6):
            problems.append(
                f"the U-Net of its {called} has {config.in_channels} channels in and {config.out_channels} out, not "
                f"{channels} and 6"
            )
    if larger and larger.unet.config.class_embed_type != "timestep":
        problems.append("its super-resolution stage is not told how noisy the small picture is")
    if problems:
        raise ModelError(f"{name} is no DeepFloyd IF: {'; '.join(problems)}. Choose another base model.")
