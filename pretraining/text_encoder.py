"""The tokenizer, and a text encoder that knows what a caption says before the denoiser first hears it.

The tokenizer is a CLIP byte-pair encoding whose merges make each word of the world's captions one token, most used
first, then RARE strings that name nothing. The encoder learns to tell each attribute of the world from the caption
(class, colour, scene, a famous toy's name, ... or that it is not said), which takes minutes; the denoiser then trains
it further.
"""

import argparse
import itertools
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from dreambooth.support.files import atomic_write
from dreambooth.toybox import captions, world
from dreambooth.toybox.colours import COLOURS
from dreambooth.toybox.famous import famous_toys
from pretraining import renders
from pretraining.sizes import Size
from pretraining.state import Trained, arguments, log, prepare

RARE = (
    "sks", "zwx", "ohx", "vbq", "xjt", "qzr", "wug", "pqv", "kjx", "olz", "zpf", "ghv", "ucx", "hqd", "mvw", "jyk",
    "bzn", "xqu", "ftz", "rvj", "dwq", "nxo", "lqk", "cgy", "ezv", "ywb", "skj", "tzh", "ixp", "gqa", "vlx", "uzk",
)  # fmt: skip
"""Rare tokens with a weak prior, as real vocabularies have: names of nobody that stay one token each."""

NOBODY = 0.015  # of captions call their toy by one of them


def merges_for(words: list[str], end: str = "</w>") -> list[tuple[str, str]]:
    """Byte-pair merges that build each word left to right, in the order of the words, without repeats."""
    merges: dict[tuple[str, str], None] = {}
    for word in words:
        letters = [*word[:-1], word[-1] + end]
        while len(letters) > 1:  # apply what earlier words merged already, in rank order, then add what is missing
            known = [pair for pair in itertools.pairwise(letters) if pair in merges]
            pair = min(known, key=list(merges).index) if known else (letters[0], letters[1])
            merges.setdefault(pair)
            letters = merged(letters, pair)
    return list(merges)


def merged(letters: list[str], pair: tuple[str, str]) -> list[str]:
    """The letters with every neighbouring `pair` joined."""
    result: list[str] = []
    for letter in letters:
        if result and (result[-1], letter) == pair:
            result[-1] += letter
        else:
            result.append(letter)
    return result


def build_tokenizer(size: Size) -> CLIPTokenizer:
    """The tokenizer: every byte, the words of the world, the rare strings, the two ends."""
    symbols = sorted(ByteLevel.alphabet())
    merges = merges_for([*captions.words(), *RARE])
    tokens = [*symbols, *(s + "</w>" for s in symbols), *("".join(pair) for pair in merges)]
    vocab = {token: i for i, token in enumerate(dict.fromkeys([*tokens, "<|startoftext|>", "<|endoftext|>"]))}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=size.text_positions, pad_token="<|endoftext|>")


def build(size: Size, tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """A fresh text encoder of this size."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=size.text_width,
        intermediate_size=4 * size.text_width,
        num_hidden_layers=size.text_layers,
        num_attention_heads=4,
        max_position_embeddings=size.text_positions,
        projection_dim=size.text_width,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)


def token_ids(tokenizer: Any, texts: list[str]) -> Tensor:
    """(N, L) ids, padded and cut to the model's positions."""
    ids: Tensor = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
    return ids


def spoken(truth: renders.Truth, rng: random.Random) -> str:
    """A caption as the text encoder and the judge hear it; a few call a toy that nobody knows by a rare string."""
    if not truth.name and rng.random() < NOBODY:
        truth = replace(truth, name=rng.choice(RARE))
    return truth.caption(rng)


ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "class_noun": world.CLASSES,
    "colour": tuple(COLOURS),
    "pattern": world.PATTERNS,
    "material": ("matte", "shiny"),
    "scene": world.SCENES,
    "accessory": world.ACCESSORIES,
    "view": world.VIEWS,
    "style": world.STYLES,
}


NAMES = ("", *famous_toys())


def said(truth: renders.Truth, text: str) -> list[int]:
    """The index of each attribute's value, or its count where the caption does not tell it; then that of the name."""
    labels = []
    padded = f" {text} "
    for name, values in ATTRIBUTES.items():
        value = truth.attribute(name)
        phrase = value.split(" of")[0] if name == "style" else value
        labels.append(values.index(value) if phrase and f" {phrase} " in padded else len(values))
    return [*labels, NAMES.index(truth.name)]


class Reader(nn.Module):
    """A linear reading of every attribute, and of the name, from the last token's state."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(width, len(values) + 1) for values in (*ATTRIBUTES.values(), NAMES))

    def forward(self, last: Tensor) -> list[Tensor]:
        """Logits (B, values + 1) of each attribute."""
        return [head(last) for head in self.heads]


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Write the tokenizer's folder."""
    with atomic_write(folder) as aside:
        tokenizer.save_pretrained(aside)


def reading_arguments(description: str | None) -> argparse.ArgumentParser:
    """The flags of a training that reads captions."""
    parser = arguments(description)
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--batch", type=int, default=64)
    return parser


def learn_to_read(
    options: argparse.Namespace, encoder: nn.Module, reader: Reader, last_states: Callable[[list[str]], Tensor]
) -> None:
    """Train until --steps, or go on, an encoder whose `last_states` (B, D) have seen the whole of each caption."""
    trained = Trained({"text_encoder": encoder, "reader": reader}, 1e-3, decay=0.99)
    path = options.state / "text_encoder.safetensors"
    if path.exists():
        trained.load(path)
    while trained.step < options.steps:
        rng = random.Random(f"text/{trained.step}")
        truths = renders.truths_of(rng.randrange(10**6), options.batch)
        texts = [spoken(truth, rng) for truth in truths]
        labels = torch.tensor([said(truth, text) for truth, text in zip(truths, texts, strict=True)])
        logits = reader(last_states(texts))
        loss = sum((F.cross_entropy(x, y.to(x.device)) for x, y in zip(logits, labels.T, strict=True)), torch.zeros(()))
        trained.update(loss, min(1, (options.steps - trained.step) / (0.3 * options.steps)))
        if trained.step % 100 == 0:
            right = [(x.argmax(1).cpu() == y).float().mean() for x, y in zip(logits, labels.T, strict=True)]
            worst, name = torch.stack(right[:-1]).min(), right[-1]
            told = f"attributes {worst:.3f} right at least, names {name:.3f}"
            log(options.state, f"text_encoder: step {trained.step} loss {loss.item():.4f} {told}")
    trained.save(path)


def main() -> None:
    """Train, or go on."""
    options = reading_arguments(__doc__).parse_args()
    size = prepare(options)
    torch.manual_seed(0)
    tokenizer = build_tokenizer(size)
    if not (options.state / "tokenizer").exists():
        save_tokenizer(tokenizer, options.state / "tokenizer")
    encoder, reader = build(size, tokenizer).to(options.device), Reader(size.text_width).to(options.device)

    def last_states(texts: list[str]) -> Tensor:
        states: Tensor = encoder(token_ids(tokenizer, texts).to(options.device)).last_hidden_state
        return states[:, -1]  # a padded position: it has seen the whole caption

    learn_to_read(options, encoder, reader, last_states)


if __name__ == "__main__":
    main()
