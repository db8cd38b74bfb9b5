"""model_index.json, in which diffusers writes what a model's folder holds."""

import json
from pathlib import Path
from typing import Any

MODEL_INDEX = "model_index.json"


def read_model_index(file: Path) -> dict[str, Any]:
    """The table in a model_index.json; raises OSError or ValueError where it is missing or damaged."""
    try:
        index = json.loads(file.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError(f"{file} is nested too deeply") from error
    if not isinstance(index, dict):
        raise ValueError(f"{file} holds no table")
    return index
