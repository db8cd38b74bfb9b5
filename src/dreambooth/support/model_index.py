"""model_index.json, in which diffusers writes what a model's folder holds."""

import json
from pathlib import Path
from typing import Any

MODEL_INDEX = "model_index.json"

SUPER_RESOLUTION = "_super_resolution"
"""Where that of a cascade keeps how its second pipeline draws."""


SIDE = "_resolution"
"""Where it names the side in pixels at which a model was tuned, and draws, that can draw at any."""


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
