"""What a world and a method change of the paper's settings, in layers: paper | world | method | the pair of both."""

from collections.abc import Mapping
from typing import Any

from dreambooth.config.methods import FIXED_SETTINGS
from dreambooth.config.worlds import World

METHODS: Mapping[str, Mapping[str, Any]] = {
    # diffusers' examples/dreambooth: its README for LoRA
    "lora": {"learning_rate": 1e-4, "max_train_steps": 500},
    # diffusers' examples/textual_inversion: 5e-4 times the four batches of a step (--scale_lr)
    "textual_inversion": {
        **FIXED_SETTINGS["textual_inversion"],
        "learning_rate": 2e-3,
        "gradient_accumulation_steps": 4,
        "max_train_steps": 3000,
    },
    "pivotal": {"learning_rate": 1e-4, "embedding_lr": 5e-4, "max_train_steps": 1000},
    "prompt_only": FIXED_SETTINGS["prompt_only"],
}
"""By method, whatever the base model; the method of the paper changes nothing."""


def preset_of(world: World, method: object) -> dict[str, Any]:
    """The settings that a world and a method change of the paper's: the world's, then the method's, then the pair's."""
    name = str(method)
    return {**world.preset, **METHODS.get(name, {}), **world.method_presets.get(name, {})}
