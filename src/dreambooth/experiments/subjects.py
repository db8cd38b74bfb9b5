"""Whose photos an experiment trains on: examples that a world can show, or a folder of folders of photos."""

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dreambooth.config import World
from dreambooth.data.photos import photos_in
from dreambooth.errors import DreamBoothError, PhotoError, PromptError
from dreambooth.subject import require_class_noun

PHOTOS_OF_AN_EXAMPLE = 5
PHOTO_SIDE = 128
"""The embedded model's own: the photos then differ from its pictures by what they show, not by sharpness."""

CLASSES_FILES = ("classes.csv", "prompts_and_classes.txt")
"""Lines "folder,class[,description]" beside the subjects' folders; the second is the file of the paper's data set."""
HEADERS = ("class", "class_noun")
"""What the first line may call the second column."""


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

    Its class is what classes.csv or the data set's own file says, else the folder's name without its number: "dog6" and
    "dog-6" are dogs. Raises PhotoError with every problem at once.
    """
    if not folder.is_dir():
        raise PhotoError([f"{folder}: there is no such folder; give one that holds a folder of photos per subject"])
    homes = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not homes:
        raise PhotoError([f"{folder}: no folders in it; give one that holds a folder of photos per subject"])
    problems: list[str] = []
    classes = _classes(folder, problems)
    found = []
    for home in homes:
        noun, words = classes.get(home.name, (re.sub(r"[-_ ]*\d+$", "", home.name).replace("_", " ").strip(), None))
        try:
            found.append(NamedSubject(name=home.name, class_noun=noun, photos=photos_in(home), description=words))
        except PhotoError as error:
            problems += error.problems
        try:
            require_class_noun(noun)
        except PromptError:
            problems.append(f"{home}: its name is no class noun; write {home.name},NOUN to {folder / CLASSES_FILES[0]}")
    if problems:
        raise PhotoError(problems)
    return tuple(found)


def _classes(folder: Path, problems: list[str]) -> dict[str, tuple[str, str | None]]:
    """Class noun and description by the name of the subject's folder; adds what is wrong with the lines to `problems`.

    The data set's own file has other lines too, prompts in Python: of it, only those that name a folder are read.
    """
    found: dict[str, tuple[str, str | None]] = {}
    for file in filter(Path.is_file, (folder / name for name in CLASSES_FILES)):
        try:
            text = file.read_text(encoding="utf-8-sig")  # spreadsheets begin a file with a mark
        except (OSError, UnicodeDecodeError) as error:
            raise DreamBoothError(f"{file} cannot be read ({error}): save it as UTF-8 text.") from error
        ours = file.name == CLASSES_FILES[0]
        for number, (name, noun, words) in _rows(text, ours):
            place = f"{file}, line {number}"
            if name and (folder / name).is_dir():
                try:
                    require_class_noun(noun)
                    found.setdefault(name, (noun, words or None))
                except PromptError as error:
                    problems.append(f"{place}: {error}")
            elif ours and not (number == 1 and noun in HEADERS):
                problems.append(f"{place}: there is no folder {folder / name}: write lines folder,class[,description]")
    return found


def _rows(text: str, ours: bool) -> Iterator[tuple[int, list[str]]]:
    """Each line's number and first three fields; spreadsheets of some countries put a semicolon between them."""
    lines = text.splitlines()
    between = ";" if ours and lines and ";" in lines[0] and "," not in lines[0] else ","
    for number, line in enumerate(lines, 1):
        fields = [part.strip() for part in next(csv.reader([line], delimiter=between, skipinitialspace=True), [])]
        if any(fields) and not fields[0].startswith("#"):
            yield number, [*fields, "", ""][:3]
