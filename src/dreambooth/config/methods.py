"""Which settings a method of learning a subject has of its own, and which mean nothing to it.

The values that suit it are in presets.py; what it trains is in adapters/.
"""

from collections.abc import Mapping
from typing import Any, Literal

MethodName = Literal["dreambooth", "lora", "textual_inversion", "pivotal", "prompt_only"]

_LORA = frozenset({"rank", "lora_alpha", "lora_type", "lora_target_modules"})
_WORD = frozenset({"embedding_lr", "num_vectors", "initializer_token"})

OWN: Mapping[MethodName, frozenset[str]] = {
    "dreambooth": frozenset(),
    "lora": _LORA,
    "textual_inversion": _WORD,
    "pivotal": _LORA | _WORD,
    "prompt_only": frozenset({"description"}),
}
"""The settings that belong to some methods only, by method."""

_NEW_WORD: Mapping[str, Any] = {"identifier_tokens": 1}
"""No rare token is chosen."""
_NO_WEIGHTS: Mapping[str, Any] = {"with_prior_preservation": False, "train_text_encoder": False}
"""Where no weight trains that the class prompt reaches, Eq. 2's second term is a constant."""

FIXED: Mapping[MethodName, Mapping[str, Any]] = {
    "dreambooth": {},
    "lora": {},
    "textual_inversion": {**_NEW_WORD, **_NO_WEIGHTS},
    "pivotal": _NEW_WORD,
    "prompt_only": {**_NEW_WORD, **_NO_WEIGHTS, "identifier": None, "max_train_steps": 0},
}
"""The settings that every method has, and that can have one value only with these."""


def idle(method: MethodName) -> frozenset[str]:
    """The settings that mean nothing to a method."""
    return frozenset().union(*OWN.values()) - OWN[method] | FIXED[method].keys()
