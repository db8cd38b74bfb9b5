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


@final
class Clip(TextImageEmbedder):
    """A CLIPModel of transformers; its embeddings are the projected ones, which pictures and texts share."""

    def __init__(self, model: Any, processor: Any, tokenizer: Any, name: str) -> None:
        self.model, self.processor, self.tokenizer, self.name = model, processor, tokenizer, name
        self.scale = float(model.logit_scale.detach().exp())

    @classmethod
    def open(cls, found: Found) -> Self:
        """Raises ModelError where it is no CLIP, or damaged."""
        model, processor = opened(found, {"clip": TRANSFORMERS.CLIPModel.from_pretrained}, "CLIP-I and CLIP-T")
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
