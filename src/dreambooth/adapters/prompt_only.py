"""Nothing trains: the subject is described in words, the comparison of section 4 that needs no photo."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from torch import Tensor, nn

from dreambooth.adapters.base import Adapter, copy_state


@final
class PromptOnly(Adapter):
    """No weights at all: the model stays the base model, bit for bit."""

    def modules(self) -> Mapping[str, nn.Module]:
        return {}

    def parameter_groups(self) -> list[dict[str, Any]]:
        return []

    def state(self) -> dict[str, Tensor]:
        return {}

    def load(self, state: Mapping[str, Tensor]) -> None:
        copy_state({}, state)

    def export(self, folder: Path) -> None:
        pass  # the words are in the settings

    def merge(self) -> None:
        pass  # there is nothing to work in
