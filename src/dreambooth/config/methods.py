"""Which settings a method of learning a subject has of its own, and which mean nothing to it.

The values that suit it are in presets.py; what it trains is in adapters/.
"""

from collections.abc import Mapping
from typing import Any, Literal

MethodName = Literal["dreambooth", "lora", "textual_inversion", "pivotal", "prompt_only"]

_LORA = frozenset({"rank", "lora_alpha", "lora_type", "lora_target_modules", "base_bits"})
_WORD = frozenset({"embedding_lr", "num_vectors", "initializer_token"})

OWN_SETTINGS: Mapping[MethodName, frozenset[str]] = {
    "dreambooth": frozenset({"l2_to_base"}),
    "lora": _LORA | {"group_offload", "dco_beta"},
    "textual_inversion": _WORD,
    "pivotal": _LORA | _WORD,
    "prompt_only": frozenset({"description"}),
}
"""By method, the settings that only some methods read, and that this one does."""

_NEW_WORD: Mapping[str, Any] = {"identifier_tokens": 1}
"""No rare token is chosen."""
_NO_WEIGHTS: Mapping[str, Any] = {"with_prior_preservation": False, "train_text_encoder": False}
"""Where no weight trains that the class prompt reaches, Eq. 2's second term is a constant."""

FIXED_SETTINGS: Mapping[MethodName, Mapping[str, Any]] = {
    "dreambooth": {},
    "lora": {},
    "textual_inversion": {**_NEW_WORD, **_NO_WEIGHTS},
    "pivotal": _NEW_WORD,
    "prompt_only": {**_NEW_WORD, **_NO_WEIGHTS, "identifier": None, "max_train_steps": 0},
}
"""By method, the settings that others may choose and that have one possible value with this one."""


def idle(method: MethodName) -> frozenset[str]:
    """The settings that change nothing with this method, so that giving them is an error.

    They belong to other methods (OWN_SETTINGS), or can have one value only (FIXED_SETTINGS).
    """
    return frozenset().union(*OWN_SETTINGS.values()) - OWN_SETTINGS[method] | FIXED_SETTINGS[method].keys()
