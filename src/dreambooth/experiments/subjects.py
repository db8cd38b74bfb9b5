"""Whose photos an experiment trains on: examples that a world can show, or a folder of folders of photos."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dreambooth.config import World
from dreambooth.data.photos import photos_in
from dreambooth.errors import DreamBoothError, PhotoError

PHOTOS_OF_AN_EXAMPLE = 5
PHOTO_SIDE = 128
"""The embedded model's own: the photos then differ from its pictures by what they show, not by sharpness."""

CLASSES_FILES = ("classes.csv", "prompts_and_classes.txt")
"""Lines "folder,class[,description]" beside the subjects' folders; the second is the file of the paper's data set."""


@dataclass(frozen=True, kw_only=True)
class NamedSubject:
    """A subject as an experiment knows it, before it has an identifier.

    class_noun: the true one.  description: all that words can say of it, "striped red dog"; None where nobody wrote it.
    """

    name: str
    class_noun: str
    photos: tuple[Path, ...]
    description: str | None = None


def examples(world: World, seeds: Sequence[int], folder: Path) -> tuple[NamedSubject, ...]:
    """A world's subjects of these seeds, their photos taken to `folder` where they are not there yet.

    A seed's class is a function of the seed: seeds in a row show all classes. Raises ValueError where it has none.
    """
    if world.examples is None:
        raise ValueError(f"the world {world.name} has no examples")
    found = []
    for seed in dict.fromkeys(seeds):
        noun = world.classes[seed % len(world.classes)]
        home = folder / f"{noun}-{seed}"
        if not home.is_dir():
            world.examples.photos(noun, seed, PHOTOS_OF_AN_EXAMPLE, home, PHOTO_SIDE)
        words = world.examples.description(noun, seed)
        found.append(NamedSubject(name=home.name, class_noun=noun, photos=photos_in(home), description=words))
    return tuple(found)


def in_folder(folder: Path) -> tuple[NamedSubject, ...]:
    """A subject for each folder of photos in `folder`, such as the paper's 30.

    Its class is what classes.csv or the data set's own file says, else the folder's name without its number: "dog6" is
    a dog. Raises PhotoError with every problem at once.
    """
    if not folder.is_dir():
        raise PhotoError([f"{folder}: there is no such folder; give one that holds a folder of photos per subject"])
    homes = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not homes:
        raise PhotoError([f"{folder}: no folders in it; give one that holds a folder of photos per subject"])
    classes = _classes(folder)
    problems: list[str] = []
    found = []
    for home in homes:
        noun, words = classes.get(home.name, (re.sub(r"\d+$", "", home.name).replace("_", " ").strip(), None))
        try:
            found.append(NamedSubject(name=home.name, class_noun=noun, photos=photos_in(home), description=words))
        except PhotoError as error:
            problems += error.problems
        if not noun:
            problems.append(f"{home}: its name is no class noun; write {home.name},NOUN to {folder / CLASSES_FILES[0]}")
    if problems:
        raise PhotoError(problems)
    return tuple(found)


def _classes(folder: Path) -> dict[str, tuple[str, str | None]]:
    """Class noun and description by the name of the subject's folder."""
    found: dict[str, tuple[str, str | None]] = {}
    for file in filter(Path.is_file, (folder / name for name in CLASSES_FILES)):
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DreamBoothError(f"{file} cannot be read ({error}): save it as UTF-8 text.") from error
        for line in lines:
            name, noun, words = (part.strip() for part in f"{line},,".split(",", 3)[:3])
            if noun and (folder / name).is_dir():
                found.setdefault(name, (noun, words or None))
    return found
