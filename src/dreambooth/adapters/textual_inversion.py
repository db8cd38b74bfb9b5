"""Textual Inversion: a new word is learned, and the model stays as it is (Gal et al. 2022, arXiv:2208.01618)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from dreambooth.adapters.base import Adapter, copy_state
from dreambooth.config import Config
from dreambooth.models.base import DiffusionModel
from dreambooth.subject import Subject


@final
class TextualInversion(Adapter):
    """The embedding rows of the subject's identifier, a word new to the tokenizers, in every text encoder.

    They stand apart from the other rows, so that neither a gradient nor the weight decay can reach those. The first
    rows are those of the words `start`: a single one is the mean of its tokens, several take them in turn.
    """

    def __init__(self, model: DiffusionModel, subject: Subject, config: Config, start: str) -> None:
        if subject.identifier is None:
            raise ValueError("the subject has no identifier yet")
        method = config.method
        self._model, self._token = model, subject.identifier
        self._rate = method.embedding_lr or config.training.learning_rate
        ids_of = {
            part: tokenizer(start, add_special_tokens=False)["input_ids"]
            for part, tokenizer in model.tokenizers.items()
        }
        tokens = [self._token, *(f"{self._token}_{number}" for number in range(1, method.num_vectors))]
        self._embeddings: dict[str, nn.Embedding] = {}
        self._rows: dict[str, _Rows] = {}
        for part, (embedding, ids) in model.add_tokens(tokens).items():
            rows = _Rows(_first_rows(embedding.weight.detach()[ids_of[part]].float(), len(ids)), ids)
            parametrize.register_parametrization(embedding, "weight", rows)
            self._embeddings[part], self._rows[part] = embedding, rows

    def modules(self) -> Mapping[str, nn.Module]:
        return self._embeddings

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"params": [rows.rows for rows in self._rows.values()], "lr": self._rate}]

    def state(self) -> dict[str, Tensor]:
        return {f"{part}.{self._token}": rows.rows.detach() for part, rows in self._rows.items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        copy_state(self.state(), state)

    def export(self, folder: Path) -> None:
        """learned_embeds.safetensors, as diffusers' `load_textual_inversion`, A1111 and ComfyUI read it."""
        self._model.save_embeddings(folder, self._token, {part: its.rows.detach() for part, its in self._rows.items()})

    def merge(self) -> None:
        for embedding in self._embeddings.values():
            parametrize.remove_parametrizations(embedding, "weight", leave_parametrized=True)
            embedding.requires_grad_(False)


@final
class _Rows(nn.Module):
    """An embedding's weight (V, D) with K of its rows replaced by ones that train; ids: their numbers."""

    ids: Tensor

    def __init__(self, rows: Tensor, ids: list[int]) -> None:
        super().__init__()
        self.rows = nn.Parameter(rows)  # (K, D)
        self.register_buffer("ids", torch.tensor(ids, device=rows.device))  # (K,)

    def forward(self, weight: Tensor) -> Tensor:
        return weight.index_copy(0, self.ids, self.rows.to(weight))


def _first_rows(start: Tensor, count: int) -> Tensor:
    """(count, D) from the rows (N, D) of the words to start from."""
    return start.mean(0, keepdim=True) if count == 1 else start[torch.arange(count) % len(start)].clone()
