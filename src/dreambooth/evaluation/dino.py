"""DINO and DINOv2 (https://arxiv.org/abs/2104.14294, https://arxiv.org/abs/2304.07193): does it show the subject?"""

from functools import partial
from typing import Any, Self, final

import torch
from torch import Tensor
from torch.nn import functional as F

from dreambooth.evaluation.base import PatchEmbedder, Pictures
from dreambooth.evaluation.vision import TRANSFORMERS, opened, pixel_values, try_out
from dreambooth.evaluation.weights import Found

ARCHITECTURES: dict[str, Any] = {
    "vit": partial(TRANSFORMERS.ViTModel.from_pretrained, add_pooling_layer=False),  # published DINOs have none
    "dinov2": TRANSFORMERS.Dinov2Model.from_pretrained,
    "dinov2_with_registers": TRANSFORMERS.Dinov2WithRegistersModel.from_pretrained,
}
"""How each `model_type` of a config.json is opened."""


@final
class Dino(PatchEmbedder):
    """A vision transformer of transformers; its embedding is the class token after the last layer norm."""

    def __init__(self, model: Any, processor: Any, name: str) -> None:
        self.model, self.processor, self.name = model, processor, name
        self._before_patches = 1 + getattr(model.config, "num_register_tokens", 0)

    @classmethod
    def open(cls, found: Found) -> Self:
        """Raises ModelError where it is no vision transformer, or damaged."""
        judge = cls(*opened(found, ARCHITECTURES, "DINO"), found.name)
        try_out(judge.name, judge.images)
        return judge

    @torch.no_grad()
    def images(self, pictures: Pictures) -> Tensor:
        batches = pixel_values(self.processor, pictures, self.model.device)
        return _unit(torch.cat([self.model(batch).last_hidden_state[:, 0] for batch in batches]))

    @torch.no_grad()
    def patches(self, pictures: Pictures) -> Tensor:
        found = []
        for batch in pixel_values(self.processor, pictures, self.model.device, uncut=True):
            _, *blocks = self.model(batch, output_hidden_states=True).hidden_states
            height, width = (side // self.model.config.patch_size for side in batch.shape[2:])
            tokens = torch.cat([_unit(block[:, self._before_patches :]) for block in blocks], -1) / len(blocks) ** 0.5
            found.append(tokens.unflatten(1, (height, width)))
        return torch.cat(found)


def _unit(embeddings: Tensor) -> Tensor:
    return F.normalize(embeddings.float(), dim=-1).cpu()
