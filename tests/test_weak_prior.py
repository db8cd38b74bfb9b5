"""The weak prior of section 3.2: which identifier says least to the untuned model."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from dreambooth.evaluation.base import ImageEmbedder, Pictures
from dreambooth.models.base import Sampling
from dreambooth.weak_prior import weak_priors
from tiny import tiny_model


class Brightness(ImageEmbedder):
    """A judge that sees how red, green and blue a picture is."""

    name = "brightness"

    def images(self, pictures: Pictures) -> Tensor:
        means = torch.tensor([np.asarray(picture, np.float32).mean((0, 1)).tolist() for picture in pictures])
        return torch.nn.functional.normalize(means, dim=1)


def test_a_word_that_says_nothing_has_the_weakest_prior() -> None:
    """A token whose embedding is that of the article says less than one that says dog again, louder."""
    model = tiny_model(size=16)
    tokenizer, table = model.pipeline.tokenizer, model.pipeline.text_encoder.get_input_embeddings().weight
    (article,), (loud,), (silent,) = (
        tokenizer(f" {w}", add_special_tokens=False).input_ids for w in ("a", "zwx", "xjy")
    )
    with torch.no_grad():
        table[silent] = table[article]
        table[loud] = 30 * table[loud]
    weak, strong = weak_priors(model, "dog", ["zwx", "xjy"])
    assert (weak.identifier, strong.identifier) == ("xjy", "zwx")
    assert 0 <= weak.words < strong.words and weak.pictures is strong.pictures is None


def test_pictures_go_before_words_where_a_judge_sees_them() -> None:
    model = tiny_model(size=16)
    sampling = Sampling(sampler="ddim", num_inference_steps=2, guidance_scale=3.0)
    found = weak_priors(model, "dog", ["zwx", "xjy", "qvu"], Brightness(), sampling)
    pictures = [prior.pictures for prior in found]
    assert pictures == sorted(pictures) and all(value is not None and value >= -1e-6 for value in pictures)  # type: ignore[type-var]
    drawn = model.generate(["a dog", "a zwx dog", "a dog", "a zwx dog"], [0, 0, 1, 1], sampling)
    seen = Brightness().images([Image.fromarray(picture) for picture in drawn])
    expected = 1 - (seen[::2] * seen[1::2]).sum(1).mean().item()
    assert next(p.pictures for p in found if p.identifier == "zwx") == pytest.approx(expected, abs=1e-5)
