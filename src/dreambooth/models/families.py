"""The code of a family of text-to-image models, found by the table in config/families.py."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from dreambooth.config import Base
from dreambooth.config.families import BY_PIPELINE
from dreambooth.config.families import FAMILIES as ROWS
from dreambooth.errors import ConfigError, ModelError

FAMILIES = {row.pipeline: row.code for row in ROWS.values()}
"""Module of this package and class in it, by the `_class_name` in a folder's model_index.json."""


def family(class_name: str) -> Any:
    """The class of a family, imported only now: all of them would take seconds.

    Raises ModelError
    where the installed libraries do not know it, KeyError for an unknown one.
    """
    module, name = FAMILIES[class_name]
    try:
        return getattr(import_module(f"dreambooth.models.{module}"), name)
    except ImportError as error:
        raise ModelError(
            f"a {class_name} needs newer libraries than are installed ({error}): pip install -U diffusers transformers."
        ) from error


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


def require_settings(base: Base, class_name: str) -> None:
    """Raise ConfigError where the settings are those of another family than a model's `_class_name`, or not for it.

    Nobody knew it before the model_index.json of a hub id was there; a folder's is read with the settings.
    """
    mine = BY_PIPELINE[class_name]
    unknown = base.family is None and ROWS[mine].preset and not Path(base.model).exists()
    if unknown or base.family not in (None, mine):
        problem = f"family: {base.model} is of the family {mine}, and its settings suit {base.family or 'another'}"
        raise ConfigError([f"{problem}: give --family {mine}"])
    require_blocks(base, class_name)


def require_blocks(base: Base, class_name: str) -> None:
    """Raise ConfigError where blocks are to be kept in the CPU's memory, and the denoiser is a U-Net."""
    if base.group_offload and not ROWS[BY_PIPELINE[class_name]].in_blocks:
        problem = f"group_offload: {base.model} is a U-Net, whose blocks cannot be copied one by one"
        raise ConfigError([f"{problem}: leave it out, or give --base-bits 8 in its place"])
