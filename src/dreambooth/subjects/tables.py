"""A TOML file of subjects: settings for all of them, then a table [[subject]] for each.

max_train_steps = 400

[[subject]]
photos = "photos/rex"        # seen from the file; the subject is called rex
class_noun = "dog"

[[subject]]
name = "blue-mug"
photos = "photos/mug"
class_noun = "mug"
identifier = "sks"           # a setting, for this subject alone
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dreambooth.config import Config
from dreambooth.config.flags import flat_settings
from dreambooth.config.machine import check_machine, check_reach
from dreambooth.config.settings import parsed_toml
from dreambooth.data.photos import photos_in
from dreambooth.errors import ConfigError, DreamBoothError, PhotoError
from dreambooth.subject import Subject, require_class_noun
from dreambooth.support.files import at_home

TABLE = "subject"
OWN = ("name", "photos", "class_noun")
"""What a subject has beside settings."""

_HEADER = re.compile(r"^[ \t]*\[\[[ \t]*subject[ \t]*\]\]", re.MULTILINE)
_NAME = re.compile(r"\w[\w.-]{0,99}")


@dataclass(frozen=True, kw_only=True)
class Table:
    """A [[subject]]: where it begins ("subjects.toml, line 12"), what it makes, and all that is wrong with it.

    subject: None where there are problems.  settings: its own, as they stand there.
    """

    place: str
    name: str
    subject: Subject | None
    settings: Mapping[str, Any]
    problems: Sequence[str]


def read_tables(file: Path) -> tuple[dict[str, Any], list[Table]]:
    """The settings of all subjects, flat, and the subjects in the file's order.

    Raises ConfigError for a file that is none; what is wrong with a subject is in its table.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"{file} cannot be read: {getattr(error, 'strerror', None) or error}"]) from error
    content = parsed_toml(text, str(file))
    tables = content.pop(TABLE, [])
    if not (isinstance(tables, list) and tables and all(isinstance(table, dict) for table in tables)):
        raise ConfigError([f"{file} has no subjects: write a table [[subject]] with photos and class_noun for each"])
    places = _places(file, text, len(tables))
    return flat_settings(content, str(file), file.parent), [
        _read(table, file.parent, place) for table, place in zip(tables, places, strict=True)
    ]


def built(settings: Mapping[str, Any], here: bool = True) -> tuple[Config | None, list[str]]:
    """The settings by name as a config, or all that is wrong with them.

    here: whether it is this machine that must be able to carry them out.
    """
    try:
        config = Config.build(settings)
        if here:
            check_machine(config)
            check_reach(config)
    except ConfigError as error:
        return None, list(error.problems)
    except DreamBoothError as error:  # a model that is not here, without a network
        return None, [str(error)]
    return config, []


def repeated(what: str, words: Sequence[str | None], places: Sequence[str]) -> Iterator[str]:
    """A problem for each of the words that another subject has already; None: it has none."""
    seen: dict[str, str] = {}
    for word, place in zip(words, places, strict=True):
        first = seen.setdefault(word.casefold(), place) if word else place
        if first != place:
            yield f'{place}: {what}: "{word}" is the {what} of the subject at {first} too: give each its own'


def _read(table: Mapping[str, Any], root: Path, place: str) -> Table:
    problems = [
        f"{name}: must be words in quotes, got {table[name]!r}"
        for name in OWN
        if name in table and not isinstance(table[name], str)
    ]
    own = {name: value for name, value in table.items() if name in OWN and isinstance(value, str)}
    expected = {"photos": "the folder with its photos", "class_noun": 'what kind of thing it is, such as "dog"'}
    problems += [f"{name} is missing: give {what}" for name, what in expected.items() if name not in table]
    name = own.get("name") or Path(own.get("photos", "")).name
    if not _NAME.fullmatch(name) and (own.keys() & {"name", "photos"}):
        given = "name" if "name" in own else 'the folder of its photos, which names it: give name = "..."'
        problems.append(f'{given}: {name!r} must be letters, digits, "-", "_" and ".": it becomes the name of a folder')
    photos: tuple[Path, ...] = ()
    try:
        photos = photos_in(root / at_home(own["photos"]), quietly=True) if "photos" in own else ()
    except PhotoError as error:
        problems += [f"photos: {problem}" for problem in error.problems]
    try:
        require_class_noun(own.get("class_noun", "thing"))
    except DreamBoothError as error:
        problems.append(f"class_noun: {error}")
    settings: Mapping[str, Any] = {}
    try:
        settings = flat_settings({key: value for key, value in table.items() if key not in OWN}, f"[[{TABLE}]]", root)
    except ConfigError as error:
        problems += error.problems
    subject = None if problems else Subject(photos=photos, class_noun=own["class_noun"].strip())
    return Table(place=place, name=name, subject=subject, settings=settings, problems=problems)


def _places(file: Path, text: str, count: int) -> list[str]:
    """Where each subject begins; without lines where they cannot be told apart."""
    lines = [text.count("\n", 0, header.start()) + 1 for header in _HEADER.finditer(text)]
    if len(lines) != count:  # such as one inside of a text
        return [f"{file}, subject {number}" for number in range(1, count + 1)]
    return [f"{file}, line {line}" for line in lines]
