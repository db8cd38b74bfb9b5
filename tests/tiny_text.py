"""Small tokenizers and text encoders of the kinds that flow transformers read, built from nothing."""

from functools import cache
from typing import Any

from transformers.convert_slow_tokenizer import bytes_to_unicode

from tiny import TRANSFORMERS, WORDS

RARE = 8
"""How many of WORDS are rare: the last ones."""


def t5_tokenizer() -> Any:
    """Unigrams: letters, words with the mark of a beginning, the rare ones where identifiers are sought."""
    letters = [letter for word in "abcdefghijklmnopqrstuvwxyz" for letter in (word, f"\u2581{word}")]
    words = [f"\u2581{word}" for word in WORDS if len(word) > 1]
    common, rare = words[:-RARE], words[-RARE:]
    pieces = ["<pad>", "</s>", "<unk>", "\u2581", *letters[:12], *rare, *letters[12:], *common]
    scores = [0.0 if piece.startswith("<") else -10.0 if len(piece) < 3 else -2.0 for piece in pieces]
    return TRANSFORMERS.T5Tokenizer(vocab=list(zip(pieces, scores, strict=True)), extra_ids=0)


def t5_encoder(tokenizer: Any, width: int) -> Any:
    """Two layers."""
    return TRANSFORMERS.T5EncoderModel(
        TRANSFORMERS.T5Config(
            vocab_size=len(tokenizer),
            d_model=width,
            d_kv=8,
            d_ff=24,
            num_layers=2,
            num_heads=2,
            feed_forward_proj="gated-gelu",
        )
    )


CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}"
    "{% else %}{% for part in message.content %}{{ part.text }}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
"""Qwen's way of talking: thinking or not, it writes other tokens."""


@cache
def _byte_pairs() -> tuple[dict[str, int], list[tuple[str, str]]]:
    vocab, merges = list(bytes_to_unicode().values()), []
    for word in WORDS:
        left = "\u0120"  # a space
        for letter in word:
            if (left, letter) not in merges:
                merges.append((left, letter))
                vocab.append(left + letter)
            left += letter
    return {token: number for number, token in enumerate(vocab)}, merges


def qwen_tokenizer() -> Any:
    """A byte-level BPE whose words begin with a space."""
    vocab, merges = _byte_pairs()
    special = {"<|endoftext|>": len(vocab)}
    tokenizer = TRANSFORMERS.Qwen2Tokenizer(
        vocab={**vocab, **special}, merges=merges, extra_special_tokens=["<|im_start|>", "<|im_end|>"]
    )
    tokenizer.chat_template = CHAT
    return tokenizer


def qwen3(type_: Any, tokenizer: Any, layers: int) -> Any:
    """Qwen3 of width 16; type_: with a head for words, or without."""
    return type_(
        TRANSFORMERS.Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=8,
            num_hidden_layers=layers,
            num_attention_heads=1,
            num_key_value_heads=1,
            head_dim=8,
            max_position_embeddings=1024,
        )
    )


def mistral(tokenizer: Any, layers: int) -> Any:
    """Mistral with eyes that nobody uses."""
    return TRANSFORMERS.Mistral3ForConditionalGeneration(
        TRANSFORMERS.Mistral3Config(
            text_config=TRANSFORMERS.MistralConfig(
                vocab_size=len(tokenizer),
                hidden_size=16,
                intermediate_size=8,
                num_hidden_layers=layers,
                num_attention_heads=1,
                num_key_value_heads=1,
                head_dim=8,
                max_position_embeddings=1024,
            ),
            vision_config=TRANSFORMERS.PixtralVisionConfig(
                hidden_size=8,
                intermediate_size=8,
                num_hidden_layers=1,
                num_attention_heads=1,
                image_size=16,
                patch_size=8,
            ),
            image_token_index=0,
        )
    )
