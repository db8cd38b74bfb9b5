"""What the packaged models hear in an identifier before any training."""

from typing import Any

import pytest
import torch
from torch.nn.functional import cosine_similarity

from dreambooth import Config, models
from dreambooth.config.worlds import EMBEDDED_MODELS
from dreambooth.identifier import rare_tokens
from dreambooth.toybox.famous import FIRST_NAMES, words
from pretraining import heard
from pretraining.identifiers import as_names, ids_of


@pytest.mark.parametrize("name", EMBEDDED_MODELS)
def test_every_rare_token_is_heard_as_a_name_that_nobody_has(name: str) -> None:
    model: Any = models.load(Config.build(model=name).base)
    tokenizer, rows = model.pipeline.tokenizer, model.pipeline.text_encoder.get_input_embeddings().weight.detach()
    torch.testing.assert_close(as_names(rows, tokenizer), rows, rtol=1e-3, atol=2e-3)  # packed in fp16

    rare = rows[[*rare_tokens(tokenizer), *ids_of(tokenizer, ["sks"])]]
    first, known = (rows[ids_of(tokenizer, its)] for its in (FIRST_NAMES, words()))
    assert cosine_similarity(rare, first.mean(0, keepdim=True)).min() > 0.94
    between = cosine_similarity(rare[:, None], rare[None], dim=2).fill_diagonal_(0)
    assert between.max() < 0.97  # two subjects of one model can be told apart
    # and none is a famous toy: it is less like any of their words than like any other rare token
    assert (
        cosine_similarity(rare[:, None], known[None], dim=2).max() < 0.75 < between.masked_fill(between == 0, 1).min()
    )


def test_a_rare_token_is_heard_and_an_empty_name_is_not() -> None:
    (stage,) = models.load(Config.build(model="toybox").base).stages
    assert heard.change(stage, "", "dog") == [0, 0, 0, 0]
    assert min(heard.change(stage, "sks", "dog")) > 0.1
