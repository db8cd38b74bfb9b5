"""Pivotal tuning (Roich et al. 2021, arXiv:2106.05744) as the field has it: a new word, and LoRA around it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from torch import Tensor, nn

from dreambooth.adapters.base import Adapter
from dreambooth.config import Config
from dreambooth.errors import PromptError
from dreambooth.identifier import choose_identifier
from dreambooth.models.base import DiffusionModel
from dreambooth.subject import Subject


def rare_start(model: DiffusionModel, subject: Subject, config: Config) -> str:
    """What the new word starts from: what DreamBooth would have for an identifier (section 3.2), a rare token.

    From the class noun "a [word] dog" would begin as "a dog dog", and the class images would keep it there (measured on
    the embedded model: docs/log.md). The class noun is used only where the tokenizer has no rare token.
    """
    try:
        return choose_identifier(list(model.tokenizers.values()), 1, config.seed)
    except PromptError:
        return subject.class_noun


@final
class Pivotal(Adapter):
    """Two adapters of one model that train together; the names of their weights differ."""

    def __init__(self, lora: Adapter, word: Adapter) -> None:
        self._both = (lora, word)

    def modules(self) -> Mapping[str, nn.Module]:
        lora, word = self._both
        return {**word.modules(), **lora.modules()}

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [group for adapter in self._both for group in adapter.parameter_groups()]

    def state(self) -> dict[str, Tensor]:
        return {name: tensor for adapter in self._both for name, tensor in adapter.state().items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        lora, word = self._both
        mine = word.state().keys()
        word.load({name: tensor for name, tensor in state.items() if name in mine})
        lora.load({name: tensor for name, tensor in state.items() if name not in mine})

    def export(self, folder: Path) -> None:
        for adapter in self._both:
            adapter.export(folder)

    def merge(self) -> None:
        for adapter in self._both:
            adapter.merge()
