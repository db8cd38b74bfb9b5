"""The contract of an adapter: which weights train, how they are saved and put back, and what is shared of them."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from dreambooth.config import Training
from dreambooth.models.base import DENOISER, Stage


class Adapter(ABC):
    """Some weights of a model, made trainable. Every subclass is final."""

    @property
    @final
    def trains_text(self) -> bool:
        """Whether a prompt's conditioning changes as training goes on; where it does not, it may be computed once."""
        return any(part != DENOISER for part in self.modules())

    @abstractmethod
    def modules(self) -> Mapping[str, nn.Module]:
        """What holds trained weights, by the part of the stage that it belongs to."""

    @abstractmethod
    def parameter_groups(self) -> list[dict[str, Any]]:
        """The trained parameters as torch optimizers take them, each group with its base rate "lr"."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """The trained weights by name: the live tensors, not copies."""

    @abstractmethod
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Copy a `state()` into the model; raises ValueError where the names differ."""

    @abstractmethod
    def export(self, folder: Path) -> None:
        """Write to `folder` what the field shares of such a training, before `merge`; nothing where that is the model.

        Raises DiskError where it cannot be written.
        """

    def set_aside(self) -> AbstractContextManager[None]:
        """Inside, the stage computes as its base model does; only of weights that lie beside the model's own."""
        raise NotImplementedError("the base model's weights are not kept beside those that train")

    @abstractmethod
    def merge(self) -> None:
        """Work what was trained into the model's own weights, for good: it is a plain one again, and can be saved."""


def chosen(stage: Stage, training: Training) -> dict[str, nn.Module]:
    """The parts of a stage that may train and that the settings let train."""
    text = training.train_text_encoder and stage.text_trains
    return {part: module for part, module in stage.parts.items() if part == DENOISER or text}


def rate(part: str, training: Training) -> float:
    """The learning rate of a part."""
    return training.learning_rate if part == DENOISER else training.text_encoder_lr or training.learning_rate


@torch.no_grad()
def copy_state(mine: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    """Copy `state` into the live tensors `mine`; raises ValueError where the names differ."""
    if mine.keys() != state.keys():
        differing = sorted(mine.keys() ^ state.keys())
        raise ValueError(f"these weights are not this model's: {len(differing)} names differ, e.g. {differing[0]}")
    for name, tensor in state.items():
        mine[name].copy_(tensor)


def modules_named(module: nn.Module, endings: Sequence[str]) -> list[str]:
    """Names of the modules inside that end so: "to_q" fits "down.0.to_q" and not "down.0.add_to_q"."""
    names = (name for name, _ in module.named_modules())
    return [name for name in names if any(f".{name}".endswith(f".{ending}") for ending in endings)]


def layers_named(module: nn.Module, endings: Sequence[str]) -> list[str]:
    """Those of `modules_named` that are linear or convolution layers."""
    return [
        name for name in modules_named(module, endings) if isinstance(module.get_submodule(name), nn.Linear | nn.Conv2d)
    ]
