"""The contract of a text-to-image model: what the method needs to know of it, and nothing else.

Shapes: B rows, C channels, H W pixels, h w latent cells, L tokens, D width, N images.
A family is one file with a final model and its final stages; families share functions and never see each other.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dreambooth.config.worlds import DEFAULT_WORLD
from dreambooth.data.batch import Batch
from dreambooth.diffusion import ForwardProcess
from dreambooth.models.weights import Weights

DENOISER = "denoiser"
"""The part that denoises; all other parts of a stage read text: "text_encoder", "text_encoder_2" and so on."""


@dataclass(frozen=True, kw_only=True)
class Conditioning:
    """What the words became: B rows, or one that is kept by its prompt. A family fills what it has.

    extras: the family's own, also by row: what it needs beside the words, such as where the photo was cut.
    """

    embeds: Tensor
    """(B, L, D), or (B, L, layers, D)"""
    pooled: Tensor | None = None
    """(B, P)"""
    mask: Tensor | None = None
    """(B, L), true where there is a token; on the CPU, where asking waits for nothing"""
    extras: Mapping[str, Tensor] = field(default_factory=dict)

    def row(self, at: int) -> "Conditioning":
        """One row of it, as `Stage.stack` takes it."""
        one = slice(at, at + 1)
        return Conditioning(
            embeds=self.embeds[one],
            pooled=None if self.pooled is None else self.pooled[one],
            mask=None if self.mask is None else self.mask[one],
            extras={name: tensor[one] for name, tensor in self.extras.items()},
        )


def joined(rows: Sequence[Conditioning]) -> Conditioning:
    """The rows one below the other, for a family whose prompts all have the same length."""

    def column(name: str) -> Tensor | None:
        tensors = [getattr(row, name) for row in rows]
        return None if tensors[0] is None else torch.cat(tensors)

    return Conditioning(
        embeds=torch.cat([row.embeds for row in rows]),
        pooled=column("pooled"),
        mask=column("mask"),
        extras={name: torch.cat([row.extras[name] for row in rows]) for name in rows[0].extras},
    )


def padded(rows: Sequence[Conditioning]) -> Conditioning:
    """The rows one below the other where prompts have their own lengths: zeros after the shorter, masked."""
    longest = max(row.embeds.shape[1] for row in rows)

    def filled(tensor: Tensor) -> Tensor:
        """(B, longest, ...)"""
        missing = tensor.new_zeros(len(tensor), longest - tensor.shape[1], *tensor.shape[2:])
        return torch.cat([tensor, missing], dim=1)

    masks = [torch.ones(row.embeds.shape[:2], dtype=torch.bool) if row.mask is None else row.mask for row in rows]
    return joined(
        [
            replace(row, embeds=filled(row.embeds), mask=filled(mask.bool().cpu()))
            for row, mask in zip(rows, masks, strict=True)
        ]
    )


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How images are drawn. sampler: one of the model's `samplers`.  guidance_scale: 1 is no guidance.

    Raises ValueError for numbers that draw nothing.
    """

    sampler: str
    num_inference_steps: int
    guidance_scale: float

    def __post_init__(self) -> None:
        steps, scale = self.num_inference_steps, self.guidance_scale
        if not isinstance(steps, int | np.integer) or steps < 1:
            raise ValueError(f"num_inference_steps is a whole number from 1 on, not {steps!r}: 20 to 50 are usual")
        if not isinstance(scale, int | float | np.number) or not (math.isfinite(scale) and scale >= 1):
            raise ValueError(f"guidance_scale is a number from 1 on, not {scale!r}: 1 is no guidance, 7.5 is usual")


class LoraLayout(NamedTuple):
    """How the field shares a LoRA of this family; the keys are those of `Stage.parts`."""

    targets: Mapping[str, tuple[str, ...]]
    """Ends of the names of the layers a LoRA is usually added to."""
    kohya_prefixes: Mapping[str, str]
    """What stands before a layer's name in kohya's file; empty where no program needs that beside diffusers' own."""
    architecture: str
    """The model's name in https://github.com/Stability-AI/ModelSpec."""


class Stage(ABC):
    """What one fine-tuning needs: most models have one stage, a cascade has several. Every subclass is final."""

    name: str
    process: ForwardProcess
    resolution: int
    """Side of the square images it was trained on, in pixels."""
    sides: int | None = None
    """It trains and draws at every side that is a multiple of this, in pixels; None: it draws at its own alone."""
    low_res: int | None = None
    """Of a super-resolution stage, the side of the pictures that it starts from; a batch then has them."""
    unread: str = ""
    """A word that is left out of every prompt, where a stage is not told the subject's name."""
    text_trains: bool = True
    """Whether its text encoders may train, and learn words; large language models stay as they are."""

    @property
    @abstractmethod
    def parts(self) -> Mapping[str, nn.Module]:
        """What may train: DENOISER, then every text encoder. The image decoder is never one of them."""

    @property
    @final
    def text_parts(self) -> tuple[str, ...]:
        """The names of the text encoders."""
        return tuple(part for part in self.parts if part != DENOISER)

    @property
    @final
    def device(self) -> torch.device:
        """Where the denoiser is."""
        return next(self.parts[DENOISER].parameters()).device

    def looks(self, sampling: Sampling) -> int:
        """Forward passes of the denoiser for a picture that is drawn by `sampling`: with guidance two a step."""
        return sampling.num_inference_steps * (2 if sampling.guidance_scale > 1 else 1)

    @abstractmethod
    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (B, C, h, w) of x0 for images (B, 3, H, W) in [-1, 1].

        The deviation may be (B, 1, 1, 1), where it is the same everywhere.
        """

    @abstractmethod
    def condition(self, prompts: Sequence[str]) -> Conditioning:
        """The conditioning of B prompts; gradients reach the text encoders where they train."""

    @abstractmethod
    def stack(self, rows: Sequence[Conditioning]) -> Conditioning:
        """One conditioning of prompts that were conditioned apart, as if they had been conditioned together."""

    @abstractmethod
    def with_row_conditioning(self, conditioning: Conditioning, batch: Batch, *place: int) -> Conditioning:
        """The text conditioning of a batch with the family's per-row conditioning added, such as the crop in SDXL.

        place: the seed and the number of the batch; whatever is random here is drawn from a generator that they give.
        Returns `conditioning` itself where the family is conditioned by text alone.
        """

    @abstractmethod
    def predict(self, x_t: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        """What `process.target` is compared with, float32 (B, C, h, w), for x_t (B, C, h, w) at times t (B,)."""


class DiffusionModel(ABC):
    """One base-model family. Every subclass is final; nothing concrete is overridden."""

    name: str
    """What the user called it: the embedded model's name, a folder, a file or a hub id."""
    world: str = DEFAULT_WORLD
    """The name of its World, which `save` records."""
    stages: tuple[Stage, ...]
    """In the order in which they draw; all are on one device, where `Weights.to` puts them."""
    tokenizers: Mapping[str, Any]
    """The transformers tokenizer of every text encoder, by its part."""
    second: Any = None
    """The kind (`opening.Kind`) of its second stage, where that may be another model of the hub."""
    samplers: tuple[str, ...]
    """The samplers that `generate` knows; the last is the one for few steps. ddpm is the paper's ancestral one."""
    dtype: torch.dtype
    """Of the weights that do not train; those that do are float32."""
    lora_layout: LoraLayout
    weights: Weights
    """All of its weights, those of the image decoder too."""

    @property
    @final
    def resolution(self) -> int:
        """Side of the images it draws, in pixels."""
        return self.stages[-1].resolution

    @final
    def to(self, device: torch.device) -> None:
        """Move all weights, as `Weights.to` does."""
        self.weights.to(device)

    @final
    def offload(self, parts: Collection[str]) -> None:
        """Keep these parts in the CPU's memory until `to`; `generate` borrows them back for as long as it draws."""
        self.weights.offload(parts)

    @final
    def let_go(self) -> None:
        """Free the memory of all weights; nothing can be computed with the model afterwards."""
        self.weights.let_go()

    @property
    def least_steps(self) -> int:
        """Sampler steps that a picture needs at least."""
        return 1

    @final
    def generate(self, prompts: Sequence[str], seeds: Sequence[int], sampling: Sampling) -> NDArray[np.uint8]:
        """One image (N, H, W, 3) for each prompt and seed.

        The same call gives the same images; one's last bits may depend on the others of its call, see drawing.py.
        Raises ModelError where they are not finite.
        """
        return self.generate_with_x0(prompts, seeds, sampling)[0]

    @abstractmethod
    def generate_with_x0(
        self, prompts: Sequence[str], seeds: Sequence[int], sampling: Sampling
    ) -> tuple[NDArray[np.uint8], Tensor | None]:
        """`generate`, and what the sampler ended on before it became the images: x0 as `Stage.posterior` has it.

        (N, C, h, w) float32 on the CPU; None where that is the images themselves, or of several stages.
        """

    @abstractmethod
    def add_tokens(self, tokens: Sequence[str]) -> Mapping[str, tuple[nn.Embedding, list[int]]]:
        """Teach every tokenizer new words; asked only of a model whose text trains.

        Returns for each text encoder its embedding (V, D) with a row of zeros for each word, and their numbers. A
        prompt with tokens[0] reads all of them, where the others are called "<tokens[0]>_1", "<tokens[0]>_2" and so
        on, as in diffusers. Raises ValueError for a token that a tokenizer has.
        """

    @abstractmethod
    def save_lora(
        self, folder: Path, weights: Mapping[str, Mapping[str, Tensor]], configs: Mapping[str, Mapping[str, Any]]
    ) -> None:
        """Write pytorch_lora_weights.safetensors for diffusers' `load_lora_weights`.

        weights: for each part peft's state of its LoRA.  configs: likewise the peft config as a dict.
        """

    @abstractmethod
    def save_embeddings(self, folder: Path, token: str, rows: Mapping[str, Tensor]) -> None:
        """Write learned_embeds.safetensors in the layout that the field reads of this family.

        rows: for each text encoder the embeddings (K, D) that `token` stands for.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """A hash of all weights and of the schedule: where two are equal, the images drawn are equal.

        It is taken of the files that were read for weights that are as they were read, and of the weights for others.
        """

    @abstractmethod
    def save(self, folder: Path | str) -> None:
        """Write the model, and the name of its world, as a folder that `DiffusionPipeline.from_pretrained` opens.

        Raises ModelError where a weight is not finite.
        """

    @abstractmethod
    def save_single_file(self, file: Path | str, title: str) -> None:
        """Write all weights as one .safetensors file of the original layout, as ComfyUI and A1111 open it.

        title: what the file calls itself.  Raises ModelError where that layout has no place for this model.
        """
