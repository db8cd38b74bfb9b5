"""Fine-tuning as the paper does it: every weight of the denoiser, and of the text encoders (section 3.2)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from torch import Tensor, nn

from dreambooth.adapters.base import Adapter, chosen, copy_state, rate
from dreambooth.config import Training
from dreambooth.models.base import Stage


@final
class Full(Adapter):
    """All weights of the stage's parts that the settings choose; everything else stays frozen."""

    def __init__(self, stage: Stage, training: Training) -> None:
        self._training, self._modules = training, chosen(stage, training)
        for part, module in stage.parts.items():
            module.requires_grad_(part in self._modules)
        for module in self._modules.values():
            module.float()

    def modules(self) -> Mapping[str, nn.Module]:
        return self._modules

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [
            {"params": list(module.parameters()), "lr": rate(part, self._training)}
            for part, module in self._modules.items()
        ]

    def state(self) -> dict[str, Tensor]:
        return {
            f"{part}.{key}": parameter.detach()
            for part, module in self._modules.items()
            for key, parameter in module.named_parameters()
        }

    def load(self, state: Mapping[str, Tensor]) -> None:
        copy_state(self.state(), state)

    def export(self, folder: Path) -> None:
        pass  # the model is what is shared

    def merge(self) -> None:
        pass  # these are the model's own weights
