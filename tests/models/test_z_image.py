"""What Z-Image has beside other families: templates once, words of any length, guidance by another name, its width."""

import pytest
import torch
from diffusers import ZImageTransformer2DModel

from dreambooth.config.families import FAMILIES as ROWS
from dreambooth.errors import ModelError
from dreambooth.models.base import Sampling
from dreambooth.models.z_image import ZImage
from families import FAMILIES
from tiny_z_image import z_image_pipeline

FAMILY = FAMILIES["z-image"]


def test_a_prompt_is_put_into_its_template_once() -> None:
    """The pipeline writes it into the list that it is given; a second call would do so again."""
    model = FAMILY.model()
    (stage,) = model.stages
    prompts = ["a dog"]
    first = stage.condition(prompts)
    assert prompts == ["a dog"] and torch.equal(stage.condition(prompts).embeds, first.embeds)
    tokenizer = model.pipeline.tokenizer
    talk = tokenizer.apply_chat_template(
        [{"role": "user", "content": "a dog"}], tokenize=False, add_generation_prompt=True, enable_thinking=True
    )
    assert first.embeds.shape[1] == len(tokenizer(talk)["input_ids"])
    assert "<think>" not in talk


def test_rows_of_a_batch_have_the_words_of_their_own_prompts() -> None:
    """diffusers' script repeats the list of prompts by the batch in every step, and joins lists as tensors."""
    (stage,) = FAMILY.model().stages
    calls: list[list[int]] = []
    stage.pipeline.transformer.register_forward_pre_hook(
        lambda module, args: calls.append([len(words) for words in args[2]])
    )
    rows = [stage.condition([prompt]) for prompt in ("a sks dog", "a dog", "a sks dog")]
    for _ in range(2):
        stage.predict(FAMILY.noisy(3), FAMILY.times(3), stage.stack(rows))
    lengths = [row.embeds.shape[1] for row in rows]
    assert calls == [lengths, lengths] and lengths[0] == lengths[2] > lengths[1]


@pytest.mark.parametrize(("scale", "calls"), [(1.0, 1), (1.5, 2)])
def test_a_guidance_of_1_is_none(scale: float, calls: int) -> None:
    """The pipeline adds its scale times the difference to what it has: its 0 is our 1."""
    model = FAMILY.model()
    rows: list[int] = []
    model.pipeline.transformer.register_forward_pre_hook(lambda module, args: rows.append(len(args[0])))
    model.generate(["a dog"], [0], Sampling(sampler="euler", num_inference_steps=2, guidance_scale=scale))
    assert rows == [calls, calls]
    assert ROWS["z-image"].guidance(scale) == {"guidance_scale": scale - 1}


def test_an_editing_model_is_refused() -> None:
    pipeline = z_image_pipeline()
    pipeline.transformer.register_to_config(siglip_feat_dim=8)
    with pytest.raises(ModelError, match="more than noise and words"):
        ZImage(pipeline, "omni")


def test_the_published_width_has_the_published_number_of_weights() -> None:
    with torch.device("meta"):
        transformer = ZImageTransformer2DModel()
    assert sum(p.numel() for p in transformer.parameters()) / 1e9 == pytest.approx(6.155, abs=5e-4)
