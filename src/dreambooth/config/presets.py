"""What a world and a method change of the paper's settings, in layers: paper | world | method | the pair of both."""

from collections.abc import Mapping
from typing import Any, Literal

from dreambooth.config.worlds import World

MethodName = Literal["dreambooth", "lora", "textual_inversion", "pivotal", "prompt_only"]

_LORA = frozenset({"rank", "lora_alpha", "lora_type", "lora_target_modules"})
_WORD = frozenset({"embedding_lr", "num_vectors", "initializer_token"})
USED_BY: dict[MethodName, frozenset[str]] = {
    "dreambooth": frozenset(),
    "lora": _LORA,
    "textual_inversion": _WORD,
    "pivotal": _LORA | _WORD,
    "prompt_only": frozenset({"description"}),
}
"""The settings that belong to some methods only, by method."""

METHOD_ONLY = frozenset().union(*USED_BY.values())
"""All of them."""

_NO_PRIOR: Mapping[str, Any] = {"with_prior_preservation": False, "train_text_encoder": False}
"""Where no weight trains that the class prompt reaches, Eq. 2's second term is a constant."""

METHODS: Mapping[str, Mapping[str, Any]] = {
    # diffusers' examples/dreambooth: its README for LoRA
    "lora": {"learning_rate": 1e-4, "max_train_steps": 500},
    # diffusers' examples/textual_inversion: 5e-4 times the four batches of a step (--scale_lr)
    "textual_inversion": {
        **_NO_PRIOR,
        "learning_rate": 2e-3,
        "gradient_accumulation_steps": 4,
        "max_train_steps": 3000,
    },
    "pivotal": {"learning_rate": 1e-4, "embedding_lr": 5e-4, "max_train_steps": 1000},
    "prompt_only": {**_NO_PRIOR, "max_train_steps": 0},
}
"""By method, whatever the base model; the method of the paper changes nothing."""


def preset_of(world: World, method: object) -> dict[str, Any]:
    """The settings that a world and a method change of the paper's: the world's, then the method's, then the pair's."""
    name = str(method)
    return {**world.preset, **METHODS.get(name, {}), **world.method_presets.get(name, {})}
