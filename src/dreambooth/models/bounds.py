"""What a stranger's configuration may ask for, looked at before anything is built of it.

A part is built before its weights are read, so a file of a few hundred bytes can ask for a million layers or for a
schedule of 10^9 times. What is real is bounded by the weights themselves: no part has more layers than its files have
tensors.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from dreambooth.errors import ModelError

TIMES = 100_000
"""More steps of noise than any model was trained on."""
SIDE = 16_384
"""Pixels, or cells, of a picture's side."""
POSITIONS = 2**20
"""Tokens that a text encoder may place, or know by number."""
PIXELS = 4096
"""The same of what a judge looks at."""
BYTES = 1 << 24
"""Of a configuration; the largest real one is a thousandth of it."""

WIDTH = 2**16
"""A width, or a number that no weight shows; more only where a weight is as wide, as a vocabulary is."""
TENSORS = 10_000
"""Of weights that cannot be read, which their reader is to tell."""
LARGE = 1e10
"""What is no whole number, such as a scale, or the base of a rotation, which is 1e9 in FLUX.2 [dev]'s Mistral."""


def require_part_in_bounds(called: str, config: Path, weights: Sequence[Path]) -> None:
    """Raise ModelError where a config.json asks for more than its weights can be, or for no number.

    called: the model, as the user did.  weights: the part's files.  What is missing or damaged is left to its reader.
    """
    _require(called, config, _most(*_measures(weights)))


def require_small(called: str, config: Path, most: int) -> None:
    """The same of settings that no weight shows, such as those of a schedule: no number is beyond `most`."""
    _require(called, config, lambda setting, value: most)


def _require(called: str, file: Path, most_of: Callable[[str, float], float]) -> None:
    for setting, value in _numbers(_settings(file)):
        if setting == "lambda_min_clipped" and value == -math.inf:  # nothing is clipped: diffusers' own default
            continue
        if not abs(value) <= (most := most_of(setting, value)):
            raise ModelError(
                f"{called} cannot be what {file} says: {setting} is {value:g}, and at most {most:g} could be. "
                "Copy or download it again, or choose another."
            )


def _most(tensors: int, widest: int) -> Callable[[str, float], float]:
    """The most that a setting can be, by its name and value, of so many tensors with no longer side than this."""

    def most(setting: str, value: float) -> float:
        last = setting.rpartition(".")[2]
        counted = any(word in last for word in ("layers", "blocks", "depths"))
        if (counted and not last.startswith("max_")) or last.endswith("[]"):  # a "max" makes no layer
            return tensors
        if "size" in last and ("sample" in last or "image" in last):
            return SIDE
        if isinstance(value, float) or "theta" in last:
            return LARGE
        return POSITIONS if "position" in last or last.endswith("token_id") else max(WIDTH, widest)

    return most


def _numbers(value: Any, setting: str = "") -> Iterator[tuple[str, float]]:
    """Every number of a configuration by the names that lead to it; a list's length as "name[]"."""
    if isinstance(value, bool):
        return
    if isinstance(value, int | float):
        yield setting, value if isinstance(value, float) or abs(value) < 10**30 else math.inf
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _numbers(inner, f"{setting}.{key}" if setting else str(key))
    elif isinstance(value, list):
        yield f"{setting}[]", len(value)
        for inner in value:
            yield from _numbers(inner, setting)


def _settings(file: Path) -> Any:
    try:
        if file.stat().st_size > BYTES:
            raise ModelError(f"{file} has {file.stat().st_size / 1e6:.0f} MB, too much for a model's settings.")
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def _measures(files: Sequence[Path]) -> tuple[int, int]:
    """How many tensors the files hold, and the longest side of one; TENSORS of files that are damaged or not there."""
    count, widest = 0, 0
    for file in files:
        with suppress(SafetensorError, OSError), safe_open(file, "pt") as opened:
            shapes = [opened.get_slice(name).get_shape() for name in opened.keys()]  # noqa: SIM118
            count, widest = count + len(shapes), max([widest, *(side for shape in shapes for side in shape)])
    return count or TENSORS, widest
