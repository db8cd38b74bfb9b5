"""Pipelines of diffusers from the files that hold them: safetensors alone, whole, and no code of the model's."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoTokenizer

from dreambooth.errors import ModelError
from dreambooth.models.bounds import TIMES, require_part_in_bounds, require_small
from dreambooth.support.model_index import MODEL_INDEX, read_model_index
from dreambooth.support.tensor_files import require_finite
from dreambooth.support.variants import chosen_variant, variant_of


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of pipeline, and what is in its folder.

    pipeline: its class.  weights: the classes of its parts that have weights, by their name in the folder.
    others: names of what else it needs.  unread: of what it may have and is never loaded.  options: for its class.
    family: what people call it.
    """

    pipeline: Any
    weights: Mapping[str, Any]
    others: tuple[str, ...]
    unread: tuple[str, ...]
    options: Mapping[str, Any]
    family: str


def from_folder(kind: Kind, folder: Path, name: str, variant: str | None, dtype: torch.dtype) -> tuple[Any, list[Path]]:
    """The pipeline in a diffusers folder, and the files of its weights.

    variant: the infix of the weight files, such as "fp16"; None: the plain ones, or the only ones.  Raises ModelError
    where a part is missing, damaged, or none that this package knows.
    """
    index = read_model_index(folder / MODEL_INDEX)
    require_known_parts(kind, index, name)
    _require_schedules(kind, folder, name)
    paths = [path.relative_to(folder).as_posix() for part in kind.weights for path in (folder / part).glob("*")]
    variant = chosen_variant(name, kind.weights, paths, variant)
    weights = files_of(kind, folder, variant)
    for part in kind.weights:
        require_part_in_bounds(name, folder / part / "config.json", files_of(kind, folder, variant, part))
    _require_shapes(kind, folder, name)
    require_finite(name, weights)
    reading = {"dtype": dtype, "variant": variant, "use_safetensors": True, "local_files_only": True}
    parts, lacking = {}, []
    try:
        for part, type_ in kind.weights.items():
            parts[part], said = type_.from_pretrained(folder, subfolder=part, output_loading_info=True, **reading)
            lacking += [f"{part}.{weight}" for weight in said["missing_keys"]]
        words = _tokenizers_of_processors(kind, folder, index)
        absent = dict.fromkeys((*kind.unread, *words))
        pipeline = kind.pipeline.from_pretrained(
            folder, trust_remote_code=False, **absent, **kind.options, **parts, **reading
        )
        pipeline.register_modules(**words)
    except Exception as error:  # three libraries raise a dozen kinds for a missing or damaged file
        raise damaged(name, folder, error) from error
    require_all(name, lacking)
    unmap(parts)
    return pipeline, weights


def _tokenizers_of_processors(kind: Kind, folder: Path, index: Mapping[str, Any]) -> dict[str, Any]:
    """The tokenizers, by part, where a folder has a processor of words and pictures, which needs torchvision.

    Prompts are words alone, and a processor reads these by its tokenizer (FLUX.2 [dev] has such a one).
    """
    return {
        part: AutoTokenizer.from_pretrained(folder / part, trust_remote_code=False, local_files_only=True)
        for part in kind.others
        if str(index[part][1]).endswith("Processor")
    }


def files_of(kind: Kind, folder: Path, variant: str | None, *parts: str) -> list[Path]:
    """The safetensors that are read for a variant, part by part or of these parts, whole or in shards."""
    found = (file for part in parts or kind.weights for file in sorted((folder / part).glob("*.safetensors")))
    return [file for file in found if variant_of(file.name) == (variant or "")]


def damaged(name: str, place: Path, error: Exception) -> ModelError:
    """What to say of whatever a library said about a file."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if "ignore_mismatched_sizes" in reason:  # an option of transformers, which nobody here can set
        reason = "a config.json in it does not fit its weights."
    return ModelError(
        f"{name} could not be opened from {place}: {reason} "
        "Its weights must be complete .safetensors files: copy or download the model again."
    )


def require_all(name: str, lacking: list[str]) -> None:
    """Raise ModelError where weights are lacking: the libraries would fill them with random numbers."""
    if lacking:
        raise ModelError(
            f"{name} lacks {len(lacking)} of its weights, {lacking[0]} for one: copy or download the model again."
        )


def unmap(parts: Mapping[str, nn.Module]) -> None:
    """Copy the weights to memory of their own."""
    for module in parts.values():
        for parameter in module.parameters():  # a mapped file's alignment changes the last bits of what SIMD computes
            parameter.data = parameter.data.clone()


def require_known_parts(kind: Kind, index: Mapping[str, Any], name: str) -> None:
    """Raise ModelError where a model_index.json names parts that are not this kind's, or that bring their own code."""
    for part in (*kind.weights, *kind.others):
        library, class_name = (*index[part], "", "")[:2] if isinstance(index.get(part), list) else ("", "")
        asks = library == "transformers" and str(class_name).startswith("Auto")  # whether to run code in the folder
        if library not in ("diffusers", "transformers") or asks:
            raise ModelError(
                f"{name} names {index.get(part)!r} as its {part}, which is no class of diffusers or transformers, and "
                f"no code of a model is ever run. Choose a {kind.family} checkpoint as diffusers writes it."
            )
    filled = {
        part for part, source in index.items() if isinstance(source, list) and isinstance((source or [0])[0], str)
    }
    if others := sorted(filled - {*kind.weights, *kind.others, *kind.unread}):
        raise ModelError(
            f"{name} has parts that this package cannot train with: {', '.join(others)}. "
            f"Choose a text-to-image {kind.family} checkpoint."
        )


def _require_shapes(kind: Kind, folder: Path, name: str) -> None:
    for part in kind.weights:  # transformers would build its own default, of a hundred million weights, without a word
        if not _settings(folder / part / "config.json", name):
            raise ModelError(
                f"{name} does not say in {folder / part / 'config.json'} what its {part} is made of: "
                "copy or download the model again."
            )


def _require_schedules(kind: Kind, folder: Path, name: str) -> None:
    for part in kind.others:
        if not part.startswith("scheduler"):
            continue
        require_small(name, folder / part / "scheduler_config.json", TIMES)
        if "num_train_timesteps" not in _settings(folder / part / "scheduler_config.json", name):
            raise ModelError(
                f"{name} has no noise schedule in {folder / part / 'scheduler_config.json'}, and others would be "
                "taken without a word: copy or download the model again."
            )


def _settings(file: Path, name: str) -> Mapping[str, Any]:
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(name, file.parent, error) from error
    return settings if isinstance(settings, dict) else {}
