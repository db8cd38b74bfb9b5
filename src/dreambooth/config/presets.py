"""What else changes the paper's settings, in layers.

World | family | family in that world | method | method in that world, in that family, in both | fast | --memory.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from dreambooth.config.cards import card_of
from dreambooth.config.families import FamilyRow
from dreambooth.config.methods import FIXED_SETTINGS, OWN_SETTINGS, idle
from dreambooth.config.worlds import World

PresetName = Literal["paper", "fast"]
"""What --preset takes: no settings that suit a world, or its fewer steps."""

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


def preset_of(
    world: World,
    method: object,
    family: FamilyRow | None = None,
    memory: object = None,
    preset: object = None,
) -> dict[str, Any]:
    """The settings that these change of the paper's: the later layer is the stronger.

    method: None for the usual one.  family: None where the paper's suit it.  memory: of the card, a row of CARDS.
    preset: a `PresetName`; None for all layers but fast.
    """
    if preset == "paper":
        world = replace(world, preset={}, method_presets={}, pipeline_presets={}, pipeline_method_presets={})
    usual, card = (
        {**family.preset, **world.pipeline_presets.get(family.pipeline, {})} if family else {},
        card_of(memory),
    )
    name: Any = str(method or card.get("method") or usual.get("method") or "dreambooth")
    pairs = dict(world.method_presets.get(name, {}))
    if family:
        pairs |= family.method_presets.get(name, {})
        pairs |= world.pipeline_method_presets.get((family.pipeline, name), {})
    if preset == "fast":
        pairs |= {its: value for its, value in fast_of(world, family).items() if its not in idle(name)}
    suiting = {its: value for its, value in card.items() if name not in OWN_SETTINGS or its not in idle(name)}
    return {**world.preset, **usual, **METHODS.get(name, {}), **pairs, **suiting}


def fast_of(world: World, family: FamilyRow | None) -> Mapping[str, Any]:
    """What --preset fast changes; empty where it has nothing for such a model."""
    return {} if family and family.preset else world.fast
