"""The families of text-to-image models, as one table: a new one adds its row."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from dreambooth.errors import ModelError

FAMILIES = {
    "StableDiffusionPipeline": ("stable_diffusion", "StableDiffusion"),
    "StableDiffusionXLPipeline": ("stable_diffusion_xl", "StableDiffusionXL"),
}
"""Module of this package and class in it, by the `_class_name` in a folder's model_index.json."""

FILES = {
    "cond_stage_model.transformer.text_model.final_layer_norm.weight": "StableDiffusionPipeline",
    "conditioner.embedders.1.model.ln_final.weight": "StableDiffusionXLPipeline",
}
"""The same by the name of a weight that a single file of the original layout has for one of them alone."""


def family(class_name: str) -> Any:
    """The class of a family, imported only now: all of them would take seconds. Raises KeyError for an unknown one."""
    return getattr(_module(class_name), FAMILIES[class_name][1])


def kind(class_name: str) -> Any:
    """What is in a folder of this family, an `opening.Kind`; raises KeyError for an unknown one."""
    return _module(class_name).KIND


def _module(class_name: str) -> Any:
    return import_module(f"dreambooth.models.{FAMILIES[class_name][0]}")


def require_known(index: Mapping[str, Any], name: str) -> str:
    """The `_class_name` in a model_index.json; raises ModelError where it is none of FAMILIES.

    name: what the user called the model.
    """
    called = index.get("_class_name")
    if not isinstance(called, str) or called not in FAMILIES:
        raise ModelError(
            f"{name} is a {called!r}; this package trains {', '.join(FAMILIES)}. Choose another base model."
        )
    return called
