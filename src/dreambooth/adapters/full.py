"""Fine-tuning as the paper does it: every weight of the denoiser, and of the text encoder (section 3.2)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from torch import Tensor, nn

from dreambooth.adapters.base import Adapter, copy_state, rates
from dreambooth.config import Training
from dreambooth.models.base import DiffusionModel


@final
class Full(Adapter):
    """All weights of the model's trainable parts; everything else stays frozen."""

    def __init__(self, model: DiffusionModel, training: Training) -> None:
        parts = model.trainable()
        chosen = ("denoiser", "text_encoder") if training.train_text_encoder else ("denoiser",)
        self._modules = {name: parts[name] for name in chosen}
        self._rates = rates(training)
        for name, module in parts.items():
            module.requires_grad_(name in chosen)

    @property
    def trains_text_encoder(self) -> bool:
        return "text_encoder" in self._modules

    def modules(self) -> Mapping[str, nn.Module]:
        return self._modules

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [
            {"params": list(module.parameters()), "lr": self._rates[name]} for name, module in self._modules.items()
        ]

    def state(self) -> dict[str, Tensor]:
        return {
            f"{name}.{key}": parameter.detach()
            for name, module in self._modules.items()
            for key, parameter in module.named_parameters()
        }

    def load(self, state: Mapping[str, Tensor]) -> None:
        copy_state(self.state(), state)

    def export(self, folder: Path) -> None:
        pass  # the model is what is shared

    def merge(self) -> None:
        pass  # these are the model's own weights
