"""The contract of an adapter: which weights train, and how they are saved and put back."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


class Adapter(ABC):
    """Some weights of a model, made trainable. Every subclass is final."""

    @property
    @abstractmethod
    def trains_text_encoder(self) -> bool:
        """Whether a prompt's conditioning changes as training goes on; where it does not, it may be computed once."""

    @abstractmethod
    def modules(self) -> Mapping[str, nn.Module]:
        """The model's parts that hold trained weights: "denoiser" and perhaps "text_encoder"."""

    @abstractmethod
    def parameter_groups(self) -> list[dict[str, Any]]:
        """The trained parameters as torch optimizers take them, each group with its base rate "lr"."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """The trained weights by name: the live tensors, not copies."""

    @abstractmethod
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Copy a `state()` into the model; raises ValueError where the names differ."""
