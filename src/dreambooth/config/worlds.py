"""What belongs to a base model beside its weights, and to every model that is tuned from it: its World."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from dreambooth.subject import Prompt
from dreambooth.support.model_index import MODEL_INDEX, add_to_model_index, read_model_index

WorldName = Literal["photographs", "toybox"]

WORLDS: Mapping[str, tuple[str, str]] = {
    "photographs": ("dreambooth.generation.photographs", "PHOTOGRAPHS"),
    "toybox": ("dreambooth.toybox.home", "TOYBOX"),
}
"""Module of each world and its name there; it is imported when it is first asked for."""

DEFAULT_WORLD: WorldName = "photographs"
"""The world of every base model that names no other."""

EMBEDDED: WorldName = "toybox"
"""What comes with the package: a base model, its world and its judges are called so."""

EMBEDDED_MODELS: Mapping[str, tuple[WorldName, str]] = {
    EMBEDDED: (EMBEDDED, "weights"),
    "toybox-cascade": (EMBEDDED, "cascade"),
}
"""Base models that come with the package, as --model takes them: their world, and their folder in it."""

RECORD = "_world"
"""Where model_index.json names the world; diffusers passes over what begins with "_", and its downloads bring it."""


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What is in a world that is small enough to be written down.

    scenes: ends of sentences, "in the snow".  sentences: one for all that it can show, "a dog in the snow".
    likeness: the least that its own photos have to the nearest of them, a cosine by its own CLIP.  foreign: what to
    tell of photos that have less, with {likeness} and {limit}.
    """

    scenes: tuple[str, ...]
    sentences: tuple[str, ...]
    likeness: float
    foreign: str


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Subjects that a world can show, one for each class noun and seed.

    photos: takes photos (class noun, seed, how many, new folder, side in pixels).  description: the subject in words,
    without an article (class noun, seed).
    """

    photos: Callable[[str, int, int, Path, int], object]
    description: Callable[[str, int], str]


@dataclass(frozen=True, kw_only=True, eq=False)
class World:
    """What a base model was trained on says what to ask of it, who can judge it, and which settings suit it."""

    name: WorldName
    prompts: Callable[[str], tuple[Prompt, ...]]
    """For a class noun about ten prompts of every kind that fits it, in words that the model knows, its class last."""
    probe_prompts: tuple[Prompt, ...]
    """The subject alone and in five places, far apart: few, because they are drawn again and again."""
    scored_prompts: Callable[[str, bool], tuple[Prompt, ...]]
    """What an experiment draws and scores of a class noun: all of a long list, or without the flag a part of it."""
    classes: tuple[str, ...]
    """Class nouns that an experiment takes a wrong one from."""
    nouns: tuple[str, ...]
    """Class nouns that photos are told apart by; where `contents` says what is in the world, all that it knows."""
    judges: Mapping[str, str]
    """The usual "dino" and "clip": a world's name for its embedded ones, or a hub id."""
    resolution: int = 512
    """Side in pixels that most of its models draw, and that photos are wanted to have."""
    preset: Mapping[str, Any] = field(default_factory=dict)
    """Settings that suit its models, over the paper's."""
    method_presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By method, the settings that suit the pair of both."""
    pipeline_presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By the pipeline of a family, the settings that suit its models in this world."""
    pipeline_method_presets: Mapping[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    """By the pipeline of a family and the method, the settings that suit both in this world."""
    fast: Mapping[str, Any] = field(default_factory=dict)
    """What --preset fast changes, for models of a family that has no settings of its own; empty: it is refused."""
    embedded: Path | None = None
    """Folder with its base models, and its judges in judges/, where they come with the package."""
    contents: Contents | None = None
    examples: Examples | None = None
    cell_seconds: Mapping[str, float] = field(default_factory=dict)
    """About how long a cell of each kind takes on one core with an experiment's small protocol; none where unknown."""


def named(name: str) -> World:
    """The `World` of a name: its own, or that of an embedded model, else the default one.

    name: of a world, or what the user calls a base model. So a hub id or a folder is of the world of photographs here;
    what its folder records is in `recorded`.
    """
    own, _ = EMBEDDED_MODELS.get(name, (name, ""))
    module, constant = WORLDS.get(own, WORLDS[DEFAULT_WORLD])
    world: World = getattr(import_module(module), constant)
    return world


def embedded_folder(model: str) -> Path | None:
    """The folder of a base model that comes with the package; None for any other name."""
    if model not in EMBEDDED_MODELS:
        return None
    world, inner = EMBEDDED_MODELS[model]
    home = named(world).embedded
    return home and home / inner


def record(folder: Path, world: str) -> None:
    """Name the world in a saved model; a model of photographs stays as diffusers wrote it."""
    if world != DEFAULT_WORLD:
        add_to_model_index(folder, RECORD, world)


def recorded(model: str) -> str | None:
    """The world that a base model's folder names; None for an embedded one, where there is no folder, or no name."""
    if model in EMBEDDED_MODELS:
        return None
    try:
        return read_model_index(Path(model) / MODEL_INDEX).get(RECORD)
    except (OSError, ValueError):  # reported by who opens it
        return None
