"""Which settings suit a card of so much memory: one row a size, each with what the smaller ones do without.

What a row makes of a given model is told by --plan, by arithmetic (docs/memory.md); no row was measured on a card yet.
"""

from collections.abc import Mapping
from typing import Any, Literal

CardSize = Literal["8", "12", "16", "24", "48"]
"""GB of the card's memory."""

_RECOMPUTED: Mapping[str, Any] = {"mixed_precision": "bf16", "gradient_checkpointing": True}
_ADDED: Mapping[str, Any] = {**_RECOMPUTED, "method": "lora", "dtype": "bfloat16", "sample_batch_size": 2}
_DENOISER: Mapping[str, Any] = {**_ADDED, "train_text_encoder": False, "train_batch_size": 1, "sample_batch_size": 1}

CARDS: Mapping[str, Mapping[str, Any]] = {
    "48": {**_RECOMPUTED, "use_8bit_adam": True, "sample_batch_size": 1},
    "24": _ADDED,
    "16": {**_ADDED, "train_batch_size": 1, "sample_batch_size": 1},
    "12": _DENOISER,
    "8": {**_DENOISER, "use_ema": False, "base_bits": "8"},
}
"""From all weights in bf16 arithmetic, to a LoRA of the denoiser alone on frozen weights of 8 bits.

Two rows need the extra [bnb], so that SDXL fits: that of 48 GB for all its weights (moments of 32 bits alone take 25
GiB), that of 8 GB for its LoRA.
"""


def card_of(size: object) -> Mapping[str, Any]:
    """The settings of a row; none for no size, or one that there is not, which the setting's own type refuses."""
    return CARDS.get(str(size), {}) if size is not None else {}
