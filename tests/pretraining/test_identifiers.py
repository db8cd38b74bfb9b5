"""What the packaged model hears in an identifier before any training."""

import torch
from torch.nn.functional import cosine_similarity

from dreambooth import models
from dreambooth.config import Base
from dreambooth.identifier import rare_tokens
from dreambooth.models.stable_diffusion import StableDiffusion
from dreambooth.toybox.famous import FIRST_NAMES, words
from pretraining.identifiers import as_names


def test_every_rare_token_is_heard_as_a_name_that_nobody_has() -> None:
    model = models.load(Base(model="toybox"))
    assert isinstance(model, StableDiffusion)
    tokenizer, rows = model.pipeline.tokenizer, model.pipeline.text_encoder.get_input_embeddings().weight.detach()
    torch.testing.assert_close(as_names(rows, tokenizer), rows, rtol=0, atol=2e-3)  # packed in fp16

    rare = rows[[*rare_tokens(tokenizer), tokenizer.convert_tokens_to_ids("sks</w>")]]
    first = rows[tokenizer.convert_tokens_to_ids([f"{name}</w>" for name in FIRST_NAMES])]
    known = rows[tokenizer.convert_tokens_to_ids([f"{word}</w>" for word in words()])]
    assert cosine_similarity(rare, first.mean(0, keepdim=True)).min() > 0.94
    between = cosine_similarity(rare[:, None], rare[None], dim=2).fill_diagonal_(0)
    assert between.max() < 0.96  # two subjects of one model can be told apart
    assert cosine_similarity(rare[:, None], known[None], dim=2).max() < 0.7  # and none is a famous toy
