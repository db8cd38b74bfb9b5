"""CLIP (https://arxiv.org/abs/2103.00020): does it show the subject, and does it show what was asked?"""

from collections.abc import Sequence
from typing import Any, Self, final

import torch
from torch import Tensor
from torch.nn import functional as F

from dreambooth.errors import ModelError
from dreambooth.evaluation.base import Pictures, TextImageEmbedder
from dreambooth.evaluation.vision import FROM_DISK, TOGETHER, TRANSFORMERS, opened, pixel_values, try_out
from dreambooth.evaluation.weights import Found

TOKENIZER_FILES = ("tokenizer.json", "vocab.json")
"""One of them must be there: without any, transformers makes up an empty tokenizer."""

TWO_TOWERS = "vision-text-dual-encoder"
TOWERS = {"vision_config": "levit", "text_config": "clip_text_model"}
"""What a model of two towers may consist of: the toybox's judge is one, and no other was tried."""
LEVIT_SIDE = 256
"""A LeViT makes tables of (side / patch)^4 numbers when it is opened."""


@final
class Clip(TextImageEmbedder):
    """A CLIP of transformers; its embeddings are the projected ones, which pictures and texts share."""

    def __init__(self, model: Any, processor: Any, tokenizer: Any, name: str) -> None:
        self.model, self.processor, self.tokenizer, self.name = model, processor, tokenizer, name
        self.scale = float(model.logit_scale.detach().exp())

    @classmethod
    def open(cls, found: Found) -> Self:
        """Raises ModelError where it is no CLIP, or damaged."""
        architectures = {
            "clip": TRANSFORMERS.CLIPModel.from_pretrained,
            TWO_TOWERS: TRANSFORMERS.VisionTextDualEncoderModel.from_pretrained,
        }
        if found.config.get("model_type") == TWO_TOWERS:
            _require_known_towers(found)
        model, processor = opened(found, architectures, "CLIP-I and CLIP-T")
        judge = cls(model, processor, _tokenizer(found), found.name)
        try_out(judge.name, judge.images)
        return judge

    @torch.no_grad()
    def images(self, pictures: Pictures) -> Tensor:
        batches = pixel_values(self.processor, pictures, self.model.device)
        return _unit([self.model.get_image_features(batch).pooler_output for batch in batches])

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> Tensor:
        limit = self.model.config.text_config.max_position_embeddings
        found = []
        for at in range(0, len(texts), TOGETHER):
            tokens = self.tokenizer(
                list(texts[at : at + TOGETHER]), padding=True, truncation=True, max_length=limit, return_tensors="pt"
            )
            found.append(self.model.get_text_features(**tokens.to(self.model.device)).pooler_output)
        return _unit(found)


def _require_known_towers(found: Found) -> None:
    parts = [found.config.get(part) for part in TOWERS]
    towers: list[dict[str, Any]] = [part if isinstance(part, dict) else {} for part in parts]
    kinds = [str(tower.get("model_type")) for tower in towers]
    if kinds != [*TOWERS.values()]:
        raise ModelError(
            f"the judge {found.name} is of two towers, {' and '.join(kinds)}: only {' and '.join(TOWERS.values())} "
            "are taken. Choose another."
        )
    side = towers[0].get("image_size")
    if not (isinstance(side, int) and 0 < side <= LEVIT_SIDE):
        raise ModelError(
            f"the judge {found.name} takes pictures of {side} pixels; of a LeViT at most {LEVIT_SIDE} are taken. Copy "
            "or download it again, or choose another."
        )


def _tokenizer(found: Found) -> Any:
    if not any((found.folder / file).exists() for file in TOKENIZER_FILES):
        raise ModelError(f"the judge {found.name} has no tokenizer in {found.folder}: copy or download it again.")
    try:
        tokenizer = TRANSFORMERS.AutoTokenizer.from_pretrained(found.folder, **FROM_DISK)
        tokenizer(["a dog"], padding=True)
    except Exception as error:  # three libraries raise a dozen kinds for a damaged file
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ModelError(
            f"the tokenizer of the judge {found.name} could not be opened: {reason} Copy or download it again."
        ) from error
    return tokenizer


def _unit(embeddings: Sequence[Tensor]) -> Tensor:
    return F.normalize(torch.cat(list(embeddings)).float(), dim=-1).cpu()
