"""What families with CLIP's text encoders share: the tokens of a prompt, and new words."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AddedToken, CLIPTextModel, CLIPTextModelWithProjection

from dreambooth.support.files import write_json
from dreambooth.support.progress import log
from dreambooth.support.tensor_files import make_canonical

ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")
"""Ends of the names of the layers that a LoRA is usually added to."""


def problems(pipeline: Any, readers: Mapping[str, str]) -> list[str]:
    """Why its words cannot be read, a clause each; readers: the tokenizer of every text encoder, by their names."""
    found = []
    for part, reader in readers.items():
        limit, room = getattr(pipeline, reader).model_max_length, getattr(pipeline, part).config.max_position_embeddings
        if not (isinstance(limit, int) and 2 < limit <= room):  # a prompt is filled up to it, whatever it is
            found.append(f"its {reader} makes {limit!r} tokens of a prompt, its {part} reads 3 to {room}")
    return found


def token_ids(pipeline: Any, tokenizer: Any, prompts: Sequence[str], cut: set[str]) -> Tensor:
    """(B, L) numbers of the prompts' tokens, as long as the tokenizer says; a new word of several vectors is several.

    cut: the prompts whose end was cut off so far; each is logged once.
    """
    converted = pipeline.maybe_convert_prompt(list(prompts), tokenizer)
    limit = tokenizer.model_max_length
    for prompt in set(converted) - cut:
        pieces = tokenizer(prompt, truncation=True, max_length=limit, return_overflowing_tokens=True)
        if len(pieces.input_ids) > 1:
            cut.add(prompt)
            log.warning("the model reads %d tokens of a prompt: the end of %r is cut off", limit - 2, prompt)
    tokens = tokenizer(converted, padding="max_length", max_length=limit, truncation=True, return_tensors="pt")
    ids: Tensor = tokens.input_ids
    return ids


def add_words(tokenizer: Any, encoder: Any, words: Sequence[str]) -> tuple[nn.Embedding, list[int]]:
    """Teach a tokenizer new words; the encoder's embedding with a row of zeros for each, and their numbers.

    Raises ValueError for a word that it has.
    """
    # a whole word: where "zwx" is learned, "azwxb" stays what it was
    added = tokenizer.add_tokens([AddedToken(word, single_word=True) for word in words])
    if added != len(words):
        raise ValueError(f"of the tokens {list(words)} the tokenizer has {len(words) - added} already")
    rows = max(encoder.get_input_embeddings().num_embeddings, len(tokenizer))
    embedding: nn.Embedding = encoder.resize_token_embeddings(rows, mean_resizing=False)
    embedding.requires_grad_(False)
    ids: list[int] = tokenizer.convert_tokens_to_ids(list(words))
    with torch.no_grad():
        embedding.weight[ids] = 0  # transformers draws them from the global generator
    return embedding, ids


def pool_at_the_end(encoder: Any, tokenizer: Any) -> None:
    """Have the pooled words read where a prompt ends.

    Encoders of old configs (eos_token_id 2) read them at the highest number, which would be that of a new word.
    """
    encoder.config.eos_token_id = encoder.text_model.eos_token_id = tokenizer.eos_token_id


def text_model_prefix(encoder: Any, joint: str) -> str:
    """What a LoRA file has before a layer's name that this transformers leaves out of it."""
    return "" if hasattr(encoder, "text_model") else f"text_model{joint}"


def for_every_version(encoder: Any, tokenizer: Any, folder: Path, words: Path) -> None:
    """Have transformers 4 and 5 read the same of a text encoder that was saved to `folder`, its tokenizer to `words`.

    Under names without "text_model." transformers 4 finds nothing of CLIP and begins with random weights; 5 takes both.
    Its tokenizers are looked for in vocab.json and merges.txt. And of an encoder stored in half precision 5 makes one
    in half precision, beside a denoiser that diffusers makes in float32: nothing can be drawn by the two. So the
    settings say float32, whatever is stored.
    """
    if isinstance(encoder, CLIPTextModel | CLIPTextModelWithProjection):
        tokenizer.backend_tokenizer.model.save(str(words))
        prefix = text_model_prefix(encoder, ".")
        for file in sorted(folder.glob("*.safetensors")):
            make_canonical(file, lambda name: name if name.startswith(prefix) else prefix + name)
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    write_json(folder / "config.json", {**settings, "dtype": "float32"})
