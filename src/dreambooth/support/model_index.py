"""model_index.json, in which diffusers writes what a model's folder holds."""

import json
from pathlib import Path
from typing import Any

from dreambooth.support.picture_files import is_picture

MODEL_INDEX = "model_index.json"

SUPER_RESOLUTION = "_super_resolution"
"""Where that of a cascade keeps how its second pipeline draws."""

LATER_STAGE = "super_resolution"
"""The second stage of a cascade: its name, and that of its folder in a model and in a run."""


SIDE = "_resolution"
"""Where it names the side in pixels at which a model was tuned, and draws, that can draw at any."""


RUN_SETTINGS, RUN_MODEL = "config.toml", "model"
"""Two names in the folder of a run, which has a model of its own; run/contents.py has all of them."""


def no_model(place: Path) -> str:
    """Why what lies there is something else than a base model, and what to give; empty where it may be one."""
    try:
        if place.suffix.lower() != ".safetensors" and is_picture(place):
            return (
                f"{place} is a picture and no model: give a diffusers folder, a .safetensors file, a hub id owner/name "
                "or toybox; on the command line the folder of photos comes first, without a flag"
            )
        if (place / MODEL_INDEX).exists() or not (place / RUN_SETTINGS).is_file():
            return ""
        if (place / RUN_MODEL / MODEL_INDEX).exists():
            return f"{place} is the folder of a run: give the model that it made, {place / RUN_MODEL}"
        return f"{place} is the folder of a run that has no model yet: `dreambooth continue {place}` makes it"
    except (OSError, ValueError):  # reported by who opens it
        return ""


def add_to_model_index(folder: Path, name: str, value: object) -> None:
    """Name one thing more in the model_index.json of a folder; diffusers passes over what begins with "_"."""
    file = folder / MODEL_INDEX
    index = {**read_model_index(file), name: value}
    file.write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def read_model_index(file: Path) -> dict[str, Any]:
    """The table in a model_index.json; raises OSError or ValueError where it is missing or damaged."""
    try:
        index = json.loads(file.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError(f"{file} is nested too deeply") from error
    if not isinstance(index, dict):
        raise ValueError(f"{file} holds no table")
    return index
