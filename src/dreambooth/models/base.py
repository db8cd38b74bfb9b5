"""The contract of a text-to-image model: what the method needs to know of it, and nothing else.

Shapes: B rows, C channels, H W pixels, h w latent cells, L tokens, D width, N images.
A family is one file with one final class; it sees this module and `diffusion`, never another family.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dreambooth.diffusion import ForwardProcess


class Conditioning(NamedTuple):
    """What the text became."""

    prompt_embeds: Tensor
    """(B, L, D)"""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How images are drawn. sampler: a name of SAMPLERS.  guidance_scale: 1 is no guidance."""

    sampler: str
    num_inference_steps: int
    guidance_scale: float


SAMPLERS = ("ddpm", "ddim", "dpmsolver++")
"""ddpm: the paper's ancestral sampler; ddim and dpmsolver++: deterministic given the seed."""


class LoraLayout(NamedTuple):
    """How the field shares a LoRA of this family; the keys are those of `DiffusionModel.trainable`."""

    targets: Mapping[str, tuple[str, ...]]
    """Ends of the names of the layers a LoRA is usually added to."""
    kohya_prefixes: Mapping[str, str]
    """What stands before a layer's name in the file that ComfyUI and A1111 read."""
    architecture: str
    """The model's name in https://github.com/Stability-AI/ModelSpec."""


class DiffusionModel(ABC):
    """One base-model family. Every subclass is final; nothing concrete is overridden."""

    name: str
    """What the user called it: "toybox", a folder or a hub id."""
    process: ForwardProcess
    resolution: int
    """Side of the square images it was trained on, in pixels."""
    tokenizer: Any
    """A transformers tokenizer."""
    lora_layout: LoraLayout

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where the weights are."""

    @abstractmethod
    def to(self, device: torch.device) -> None:
        """Move all weights."""

    @abstractmethod
    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (B, C, h, w) of x0 for images (B, 3, H, W) in [-1, 1]."""

    @abstractmethod
    def condition(self, prompts: Sequence[str]) -> Conditioning:
        """The conditioning of B prompts; gradients reach the text encoder where it trains."""

    @abstractmethod
    def predict(self, x_t: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        """The network's output (B, C, h, w) for x_t (B, C, h, w) at times t (B,)."""

    @abstractmethod
    def generate(self, prompts: Sequence[str], seeds: Sequence[int], sampling: Sampling) -> NDArray[np.uint8]:
        """One image (N, H, W, 3) for each prompt and seed; the same seed gives the same image in any batch."""

    @abstractmethod
    def trainable(self) -> Mapping[str, nn.Module]:
        """The parts a fine-tuning may train: "denoiser" and "text_encoder". The image decoder is never one of them."""

    @abstractmethod
    def add_tokens(self, tokens: Sequence[str]) -> tuple[nn.Embedding, list[int]]:
        """Teach the tokenizer new words; returns the embedding (V, D) with a row of zeros for each, and their numbers.

        A prompt with tokens[0] reads all of them, where the others are called "<tokens[0]>_1", "<tokens[0]>_2" and so
        on, as in diffusers. Raises ValueError for a token that the tokenizer has.
        """

    @abstractmethod
    def save_lora(
        self, folder: Path, weights: Mapping[str, Mapping[str, Tensor]], configs: Mapping[str, Mapping[str, Any]]
    ) -> None:
        """Write pytorch_lora_weights.safetensors for diffusers' `load_lora_weights`.

        weights: for each of `trainable` peft's state of its LoRA.  configs: likewise the peft config as a dict.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """A hash of all weights and of the schedule: equal exactly where the images drawn are equal."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the model as a folder that `diffusers.DiffusionPipeline.from_pretrained` opens."""
