"""What the families share that are a transformer along a rectified flow, with language models that read the prompts.

A family adds its words (`condition`, `stack`), its latents (`posterior`) and its `predict`.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dreambooth.config.families import BY_PIPELINE, FAMILIES
from dreambooth.data.batch import Batch
from dreambooth.errors import ModelError
from dreambooth.models import pipelines, schedules
from dreambooth.models.base import DENOISER, Conditioning, LoraLayout, Sampling
from dreambooth.models.latent import LatentModel, LatentStage


class FlowStage(LatentStage):
    """A flow transformer, which trains and draws at many sides; its language models stay as they are."""

    network = "transformer"
    text_trains = False
    patch: ClassVar[int] = 2
    """Cells of a latent along the side of a token."""

    def __init__(self, pipeline: Any) -> None:
        super().__init__(pipeline)
        self.process = schedules.flow(pipeline.scheduler, self.patch)
        self.sides = pipeline.vae_scale_factor * 2

    @property
    def usual_resolution(self) -> int:
        said = self.pipeline.transformer.config.get("sample_size") or 128  # in the calls of pipelines where it is not
        return int(said) * int(self.pipeline.vae_scale_factor)

    @property
    def dtype(self) -> torch.dtype:
        """In which the transformer computes: that of its first frozen weight, as a LoRA's are float32 on any base.

        Where all of it trains, that of its first weight. Weights of few bits are buffers, and are passed over.
        """

        def floating() -> Iterator[Tensor]:  # as far as it is asked: transformer.dtype goes through all modules
            return (weight for weight in self.pipeline.transformer.parameters() if weight.is_floating_point())

        return next((weight for weight in floating() if not weight.requires_grad), next(floating())).dtype

    def looks(self, sampling: Sampling) -> int:
        """One pass a step where the transformer reads the guidance as a number."""
        distilled = self.pipeline.transformer.config.get("guidance_embeds", False)
        return sampling.num_inference_steps if distilled else super().looks(sampling)

    @torch.no_grad()
    def encoded(self, prompts: Sequence[str], **more: Any) -> Any:
        """What the pipeline makes of prompts when it is called with nothing but them.

        Lengths, layers and templates are the defaults of its call, not those of its encode_prompt: where the two
        differ, training would see words that no picture is drawn with.
        """
        encode, call = (signature(function).parameters for function in (self.pipeline.encode_prompt, self._call))
        usual = {name: its.default for name, its in call.items() if name in encode and name != "prompt"}
        device = getattr(self.pipeline, next(iter(self.readers))).device
        # a list of its own: one pipeline writes its template into the caller's
        return self.pipeline.encode_prompt(prompt=list(prompts), **{**usual, **more, "device": device})

    @property
    def _call(self) -> Any:
        return type(self.pipeline).__call__

    def with_row_conditioning(self, conditioning: Conditioning, batch: Batch, *place: int) -> Conditioning:
        return conditioning


class FlowModel(LatentModel):
    """A pipeline of a flow transformer. Its LoRA is one file for diffusers and ComfyUI."""

    samplers: tuple[str, ...] = ("euler",)

    @classmethod
    def require_family(cls, pipeline: Any, name: str) -> None:
        if problems := schedules.flow_problems(pipeline.scheduler) + cls.problems(pipeline):
            raise ModelError(
                f"{name} is no text-to-image model of the {cls.kind.family} family that can be trained: "
                f"{'; '.join(problems)}. Choose another base model."
            )

    @staticmethod
    @abstractmethod
    def problems(pipeline: Any) -> list[str]:
        """What speaks against training it, a clause each."""

    def drawing_options(self) -> Mapping[str, Any]:
        pipeline = self.pipeline
        return {k: v for k, v in pipeline.config.items() if k[0] != "_" and k not in pipeline.components}

    def sampler(self, sampling: Sampling) -> Any:
        return schedules.flow_sampler(self.pipeline.scheduler, self._row.schedulers[sampling.sampler])

    def guidance(self, scale: float, count: int) -> Mapping[str, Any]:
        told = self._row.guidance(scale)
        return {name: [value] * count if isinstance(value, str) else value for name, value in told.items()}

    @property
    def least_steps(self) -> int:
        """Two where the scheduler stretches the noise levels from the first to the last: of one that is 0 / 0."""
        return 2 if self.pipeline.scheduler.config.get("shift_terminal") else 1

    @property
    def _row(self) -> Any:
        return FAMILIES[BY_PIPELINE[self.kind.pipeline.__name__]]

    def add_tokens(self, tokens: Sequence[str]) -> Mapping[str, tuple[nn.Embedding, list[int]]]:
        raise NotImplementedError("a large language model learns no words here: Stage.text_trains")

    def save_embeddings(self, folder: Path, token: str, rows: Mapping[str, Tensor]) -> None:
        raise NotImplementedError("a large language model learns no words here: Stage.text_trains")

    def save_lora(
        self, folder: Path, weights: Mapping[str, Mapping[str, Tensor]], configs: Mapping[str, Mapping[str, Any]]
    ) -> None:
        """The scale alpha / rank is multiplied into the second half, and alpha written as the rank.

        ComfyUI takes a file without alpha at scale 1, and diffusers refuses one with alphas beside these names.
        """
        (state,), (config,) = weights.values(), configs.values()
        scale = config["lora_alpha"] / config["r"]
        layers = {name: tensor * scale if ".lora_B." in name else tensor for name, tensor in state.items()}
        whole = {**config, "lora_alpha": config["r"]}
        pipelines.save_lora(
            self.kind.pipeline, folder, {DENOISER: layers}, {DENOISER: whole}, {DENOISER: self.denoising.network}
        )

    def save_single_file(self, file: Path | str, title: str) -> None:
        raise ModelError(
            f"{self.name} cannot be one file: a {self.kind.family} model is shared as a diffusers folder, or as its "
            "LoRA in adapter/, which ComfyUI opens on the base model."
        )

    def fingerprint(self) -> str:
        readers = [getattr(self.pipeline, reader) for reader in self.denoising.readers.values()]
        also = [[getattr(reader, "chat_template", None) for reader in readers], self.drawing_options()]
        words = pipelines.description(self.pipeline, self.denoising.network, self.tokenizers.values())
        return self.weights.fingerprint([also, words])


def one_file(targets: tuple[str, ...], architecture: str) -> LoraLayout:
    """How a LoRA of the transformer is shared; targets: ends of the names of the layers it is usually added to."""
    return LoraLayout(targets={DENOISER: targets}, kohya_prefixes={}, architecture=architecture)


def packed(latents: Tensor) -> Tensor:
    """Tokens (B, h/2 w/2, 4 C) of latents (B, C, h, w): squares of two by two cells, row after row."""
    return F.pixel_unshuffle(latents, 2).flatten(2).transpose(1, 2)


def unpacked(tokens: Tensor, height: int, width: int) -> Tensor:
    """Latents (B, C, h, w) of `packed` tokens."""
    return F.pixel_shuffle(tokens.transpose(1, 2).unflatten(2, (height // 2, width // 2)), 2)


def places(height: int, width: int, device: torch.device, axes: int = 3) -> Tensor:
    """(height width, axes) where each token is: its row at 1, its column at 2, else zeros."""
    found = torch.zeros(height, width, axes, device=device)
    found[..., 1] = torch.arange(height, device=device)[:, None]
    found[..., 2] = torch.arange(width, device=device)
    return found.flatten(0, 1)
