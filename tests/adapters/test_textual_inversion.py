"""Textual Inversion: where the new rows begin, and that no other row moves."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from dreambooth.adapters import Adapter
from dreambooth.config import Config
from dreambooth.identifier import rare_tokens
from dreambooth.models.base import DiffusionModel
from dreambooth.subject import Subject
from tiny import attached, tiny_model

SUBJECT = Subject(photos=(), class_noun="toy car", identifier="<car>", with_class_noun=False)


def word(model: DiffusionModel, **settings: object) -> Adapter:
    """The adapter of a new word."""
    given: dict[str, Any] = {"model": "tiny", "method": "textual_inversion", **settings}
    return attached(model, SUBJECT, Config.build(given))


def row(model: Any, text: str) -> torch.Tensor:
    """The embedding of a one-token text."""
    (number,) = model.pipeline.tokenizer(text, add_special_tokens=False)["input_ids"]
    rows: torch.Tensor = model.pipeline.text_encoder.get_input_embeddings().weight
    return rows[number].detach().clone()


def test_a_single_vector_begins_as_the_mean_of_the_class_nouns_tokens() -> None:
    model = tiny_model()
    toy, car = row(model, "toy"), row(model, "car")
    word(model)
    assert torch.equal(row(model, "<car>"), torch.stack([toy, car]).mean(0))


def test_several_vectors_take_the_tokens_in_turn_and_are_read_as_one_word() -> None:
    model = tiny_model()
    toy, car = row(model, "toy"), row(model, "car")
    (vectors,) = word(model, num_vectors=3).state().values()
    assert torch.equal(vectors, torch.stack([toy, car, toy]))
    read = model.stages[0].condition(["a <car> in the snow"]).embeds
    assert torch.equal(read, tiny_model().stages[0].condition(["a toy car toy in the snow"]).embeds)


def test_in_pivotal_tuning_it_begins_as_a_rare_token() -> None:
    model = tiny_model()
    rare = rare_tokens(model.tokenizers["text_encoder"])
    table = model.pipeline.text_encoder.get_input_embeddings().weight.detach().clone()
    config = Config.build({"model": "tiny", "method": "pivotal"})
    attached(model, Subject(photos=(), class_noun="toy car", identifier="<car>"), config)
    assert rare and any(torch.equal(row(model, "<car>"), table[number]) for number in rare)


def test_in_pivotal_tuning_it_begins_as_the_class_noun_where_no_token_is_rare(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    noun = row(model, "mug")
    monkeypatch.setattr("dreambooth.identifier.rare_tokens", lambda _: [])
    config = Config.build({"model": "tiny", "method": "pivotal"})
    attached(model, Subject(photos=(), class_noun="mug", identifier="<car>"), config)
    assert torch.equal(row(model, "<car>"), noun)


def test_it_can_begin_from_other_words() -> None:
    model = tiny_model()
    mug = row(model, "mug")
    word(model, initializer_token="mug")
    assert torch.equal(row(model, "<car>"), mug)


def test_neither_a_gradient_nor_the_weight_decay_reaches_another_row() -> None:
    model = tiny_model()
    before = model.pipeline.text_encoder.get_input_embeddings().weight.detach().clone()
    adapter = word(model, learning_rate=0.1, embedding_lr=0.5)
    (group,) = adapter.parameter_groups()
    assert group["lr"] == 0.5
    optimizer = torch.optim.AdamW([group], weight_decay=0.5)
    model.stages[0].condition(["a <car> in the snow with a toy"]).embeds.square().sum().backward()
    optimizer.step()
    adapter.merge()
    after = model.pipeline.text_encoder.get_input_embeddings().weight
    assert torch.equal(after[: len(before)], before)
    assert len(after) == len(before) + 1 and not after.requires_grad


def test_the_new_word_leaves_others_alone() -> None:
    model = tiny_model()
    before = model.pipeline.tokenizer("a <cart> and azwxb car")["input_ids"]
    model.add_tokens(["zwx", "<car>", "<car>_1"])
    assert model.pipeline.tokenizer("a <cart> and azwxb car")["input_ids"] == before
    assert len(model.pipeline.tokenizer("a <car> and zwx", add_special_tokens=False)["input_ids"]) == 4
    with pytest.raises(ValueError, match="has 1 already"):
        model.add_tokens(["<car>"])


def test_the_file_is_the_one_that_the_field_reads(tmp_path: Path) -> None:
    adapter = word(tiny_model(), num_vectors=2)
    adapter.export(tmp_path / "adapter")
    ((name, vectors),) = load_file(tmp_path / "adapter" / "learned_embeds.safetensors").items()
    assert name == "<car>" and vectors.shape == (2, 32)
