"""The judges' numbers are those of a direct computation with transformers, on random models of the real sizes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from dreambooth.evaluation import metrics
from dreambooth.evaluation.clip import Clip
from dreambooth.evaluation.dino import Dino
from small_judges import MEAN, STD, clip_parts, dino_parts, pictures

TEXTS = ["a dog in the snow", "a red car"]
GENERATED, REAL = pictures(2, side=96), pictures(2, side=80, seed=1)


def pixels(images: Sequence[Image.Image], resample: int, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Square pictures as a judge of 224 pixels takes them, by Pillow and arithmetic alone."""
    small = [np.asarray(image.resize((224, 224), resample)) / 255 for image in images]
    return torch.tensor(np.stack([(image - mean) / std for image in small])).permute(0, 3, 1, 2).float()


def mean_cosine(first: Tensor, second: Tensor) -> float:
    pairs = [torch.cosine_similarity(a, b, dim=0).item() for a in first for b in second]
    return sum(pairs) / len(pairs)


@pytest.fixture(scope="session")
def vit_s16() -> tuple[Any, Any]:
    return dino_parts(full_size=True)


@pytest.fixture(scope="session")
def vit_b32() -> tuple[Any, Any, Any]:
    return clip_parts(full_size=True)


@torch.no_grad()
def test_dino(vit_s16: tuple[Any, Any]) -> None:
    model, _ = vit_s16
    judge = Dino(*vit_s16, "ViT-S/16")
    seen, real = (
        model(pixels(images, Image.Resampling.BILINEAR, MEAN, STD), output_hidden_states=True)
        for images in (GENERATED, REAL)
    )
    ours = metrics.dino(judge.images(GENERATED), judge.images(REAL))
    theirs = mean_cosine(seen.last_hidden_state[:, 0], real.last_hidden_state[:, 0])
    assert ours == pytest.approx(theirs, abs=1e-5)
    patches = judge.patches(GENERATED)
    for at, block in enumerate(seen.hidden_states[1:]):
        ours_there = patches[..., at * 384 : (at + 1) * 384] * 12**0.5
        assert torch.allclose(ours_there.flatten(1, 2), torch.nn.functional.normalize(block[:, 1:], dim=-1), atol=1e-5)


@torch.no_grad()
def test_clip(vit_b32: tuple[Any, Any, Any]) -> None:
    model, processor, tokenizer = vit_b32
    judge = Clip(*vit_b32, "ViT-B/32")
    tokens = tokenizer(TEXTS, padding=True, return_tensors="pt")
    of = [
        pixels(images, Image.Resampling.BICUBIC, processor.image_mean, processor.image_std)
        for images in (GENERATED, REAL)
    ]
    seen, real = (model(**tokens, pixel_values=values) for values in of)
    ours = metrics.clip_i(judge.images(GENERATED), judge.images(REAL))
    assert ours == pytest.approx(mean_cosine(seen.image_embeds, real.image_embeds), abs=1e-5)
    ours = metrics.clip_t(judge.images(GENERATED), judge.texts(TEXTS))
    theirs = (seen.logits_per_image / model.logit_scale.exp()).diagonal().mean().item()
    assert ours == pytest.approx(theirs, abs=1e-5)
    assert torch.allclose(judge.texts(TEXTS), seen.text_embeds, atol=1e-5)
