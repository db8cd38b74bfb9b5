"""The families of text-to-image models, as one table: a new one adds its row."""

from importlib import import_module
from typing import Any

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
    module, name = FAMILIES[class_name]
    return getattr(import_module(f"dreambooth.models.{module}"), name)
