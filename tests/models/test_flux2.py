"""What FLUX.2 has beside other families: the depths that it reads, its statistics, and its published widths."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import Flux2Pipeline, Flux2Transformer2DModel
from diffusers.pipelines.flux2.pipeline_flux2 import format_input
from transformers import ProcessorMixin

from dreambooth import models
from dreambooth.config import Base
from dreambooth.errors import ModelError
from dreambooth.models.base import Sampling
from dreambooth.models.flux2 import Flux2Klein
from families import FAMILIES
from tiny_flux2 import klein_pipeline

KLEIN, DEV = FAMILIES["flux2 klein"], FAMILIES["flux2"]


@pytest.mark.parametrize(("name", "layers"), [("flux2 klein", (9, 18, 27)), ("flux2", (10, 20, 30))])
def test_training_reads_the_layers_that_drawing_reads(name: str, layers: tuple[int, ...]) -> None:
    """diffusers' script of klein trains on those of [dev]."""
    model = FAMILIES[name].model()
    states: list[Any] = []
    model.pipeline.text_encoder.register_forward_hook(lambda module, args, output: states.append(output.hidden_states))
    words = model.stages[0].condition(["a dog"])
    expected = torch.cat([states[0][layer] for layer in layers], dim=-1)
    assert words.embeds.shape == (1, 512, 48) and torch.equal(words.embeds, expected)


class Reader(ProcessorMixin):  # type: ignore[misc]
    """What PixtralProcessor does with words; itself it cannot be made without torchvision."""

    def __init__(self, tokenizer: Any) -> None:
        super().__init__(tokenizer, chat_template=tokenizer.chat_template)

    def __call__(self, text: Any, **how: Any) -> Any:
        return self.tokenizer(text, **{name: value for name, value in how.items() if name != "images"})


def test_a_processor_of_words_and_pictures_is_read_by_its_tokenizer(tmp_path: Path) -> None:
    """As the published [dev] has one, which needs torchvision."""
    model = DEV.model()
    model.save(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    index["tokenizer"] = ["transformers", "PixtralProcessor"]
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    (tmp_path / "tokenizer" / "processor_config.json").write_text('{"processor_class": "PixtralProcessor"}')
    opened: Any = models.load(Base(model=str(tmp_path)))
    prompts = ["a sks dog", "a dog in the snow"]
    told = [model.stages[0].condition(prompts).embeds for model in (model, opened)]
    assert torch.equal(*told)
    opened.save(tmp_path / "again")
    theirs: Any = Flux2Pipeline.from_pretrained(tmp_path / "again")
    assert torch.equal(theirs.encode_prompt(prompts)[0], told[0])

    messages: Any = format_input(prompts)
    how: Any = {"add_generation_prompt": False, "tokenize": True, "return_dict": True, "return_tensors": "pt"}
    how |= {"padding": "max_length", "truncation": True, "max_length": 512}
    tokenizer = opened.pipeline.tokenizer
    read = [its.apply_chat_template(messages, **how) for its in (tokenizer, Reader(tokenizer))]
    assert torch.equal(read[0]["input_ids"], read[1]["input_ids"])
    assert torch.equal(read[0]["attention_mask"], read[1]["attention_mask"])


def test_klein_is_guided_by_an_empty_prompt_and_dev_is_told() -> None:
    for family, told, rows in ((KLEIN, None, 2), (DEV, 3.0, 1)):
        model, calls = family.model(), list[Any]()
        model.pipeline.transformer.register_forward_pre_hook(
            lambda module, args, kwargs, calls=calls: calls.append(kwargs["guidance"]), with_kwargs=True
        )
        model.generate(["a dog"], [0], Sampling(sampler="euler", num_inference_steps=2, guidance_scale=3.0))
        assert len(calls) == 2 * rows
        assert all(guidance is None if told is None else guidance.tolist() == [told] for guidance in calls)
        (stage,) = model.stages
        stage.predict(family.noisy(2), family.times(2), stage.condition(["a dog", "a cat"]))
        assert calls[-1] is None if told is None else calls[-1].tolist() == [1.0, 1.0]


def test_photos_are_normalised_by_the_autoencoders_statistics_and_never_by_their_own() -> None:
    """In training mode, too, where to call its batch norm would take the batch's statistics and keep them."""
    vae, images = KLEIN.model().pipeline.vae, torch.rand(2, 3, 16, 16)
    before = {name: tensor.clone() for name, tensor in vae.state_dict().items()}
    expected, _ = KLEIN.latents(vae.eval(), images)
    model = KLEIN.model()
    model.pipeline.vae.train()
    found, _ = model.stages[0].posterior(images)
    torch.testing.assert_close(found, expected)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.pipeline.vae.state_dict().items())


def test_changed_statistics_change_the_latents() -> None:
    model, images = KLEIN.model(), torch.rand(1, 3, 16, 16)
    before, std = model.stages[0].posterior(images)
    assert not std.any()
    model.pipeline.vae.bn.running_mean += 1
    after, _ = model.stages[0].posterior(images)
    assert (after - before).abs().min() > 0.1


def test_distilled_and_editing_models_are_refused() -> None:
    with pytest.raises(ModelError, match="distilled to a few steps"):
        Flux2Klein(klein_pipeline(is_distilled=True), "klein")
    editing = klein_pipeline()
    editing.transformer.register_to_config(in_channels=16)
    with pytest.raises(ModelError, match="reads 16 channels"):
        Flux2Klein(editing, "editing")


@pytest.mark.parametrize(
    ("config", "billions"),
    [
        ({}, 32.223),
        ({"num_layers": 5, "num_single_layers": 20, "num_attention_heads": 24, "joint_attention_dim": 7680}, 3.876),
        ({"num_layers": 8, "num_single_layers": 24, "num_attention_heads": 32, "joint_attention_dim": 12288}, 9.079),
    ],
    ids=["dev", "klein base 4B", "klein base 9B"],
)
def test_the_published_widths_have_the_published_numbers_of_weights(config: dict[str, Any], billions: float) -> None:
    with torch.device("meta"):
        transformer = Flux2Transformer2DModel(**config, guidance_embeds=not config)
    assert sum(p.numel() for p in transformer.parameters()) / 1e9 == pytest.approx(billions, abs=5e-4)
