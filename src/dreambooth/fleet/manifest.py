"""The subjects of a fleet, from a TOML file: settings for all of them, then a table [[subject]] for each.

max_train_steps = 400

[[subject]]
photos = "photos/rex"        # seen from the file; the subject is called rex
class_noun = "dog"

[[subject]]
name = "blue-mug"
photos = "photos/mug"
class_noun = "mug"
learning_rate = 1e-5         # any setting, for this subject alone
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dreambooth.config import Config
from dreambooth.config.flags import flat_settings
from dreambooth.config.machine import check_machine, check_reach
from dreambooth.config.settings import parsed_toml
from dreambooth.data.photos import content_of, photos_in
from dreambooth.errors import ConfigError, DreamBoothError, PhotoError
from dreambooth.subject import Subject, require_class_noun
from dreambooth.support.files import key_of

TABLE = "subject"
OWN = ("name", "photos", "class_noun")
"""What a subject has beside settings."""

_HEADER = re.compile(r"^[ \t]*\[\[[ \t]*subject[ \t]*\]\]", re.MULTILINE)
_NAME = re.compile(r"\w[\w.-]{0,99}")


@dataclass(frozen=True, kw_only=True)
class Member:
    """One subject of a fleet. folder: its run folder's name, which changes with its photos, noun and settings."""

    name: str
    subject: Subject
    config: Config
    folder: str

    @classmethod
    def of(cls, name: str, subject: Subject, config: Config) -> "Member":
        """With the folder that belongs to it: other content is another run, and equal content is the same one."""
        content = [config.flat(), subject.class_noun, list(content_of(subject.photos).items())]
        return cls(name=name, subject=subject, config=config, folder=f"{name}-{key_of(content, 5)}")


def read_manifest(file: Path, settings: Mapping[str, Any], here: bool = True) -> tuple[Member, ...]:
    """The subjects of a file, in its order; raises ConfigError with every problem, and its line, at once.

    settings: flat; they go before the file's.  here: whether it is this machine that must be able to carry them out.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"{file} cannot be read: {getattr(error, 'strerror', None) or error}"]) from error
    content = parsed_toml(text, str(file))
    tables = content.pop(TABLE, [])
    if not (isinstance(tables, list) and tables and all(isinstance(table, dict) for table in tables)):
        raise ConfigError([f"{file} has no subjects: write a table [[subject]] with photos and class_noun for each"])
    shared = flat_settings(content, str(file))
    places = _places(file, text, len(tables))
    read = [_read(table, file.parent, shared, settings, here) for table in tables]
    of_all = _problems_of_all(shared, settings, [problems for _, problems in read])
    problems = [f"{file}: {problem}" for problem in of_all]
    for place, (_, its) in zip(places, read, strict=True):
        problems += [f"{place}: {problem}" for problem in its if problem not in of_all]
    members = [member for member, _ in read if member is not None]
    problems += _same_names(members, [place for place, (member, _) in zip(places, read, strict=True) if member])
    if problems:
        raise ConfigError(problems)
    return tuple(members)


def _read(
    table: Mapping[str, Any], root: Path, shared: Mapping[str, Any], settings: Mapping[str, Any], here: bool
) -> tuple[Member | None, list[str]]:
    """A subject, or all that is wrong with it."""
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
        problems.append(f'name: {name!r} must be letters, digits, "-", "_" and ".": it becomes the name of a folder')
    photos: tuple[Path, ...] = ()
    config = None
    try:
        photos = photos_in(root / Path(own["photos"]).expanduser(), quietly=True) if "photos" in own else ()
    except PhotoError as error:
        problems += [f"photos: {problem}" for problem in error.problems]
    try:
        require_class_noun(own.get("class_noun", "thing"))
    except DreamBoothError as error:
        problems.append(f"class_noun: {error}")
    try:
        mine = flat_settings({name: value for name, value in table.items() if name not in OWN}, f"[[{TABLE}]]")
        config = Config.build({**shared, **mine, **settings})
        if here:
            check_machine(config)
            check_reach(config)
    except ConfigError as error:
        problems += error.problems
    except DreamBoothError as error:  # a model that is not here, without a network
        problems.append(str(error))
    if problems or config is None:
        return None, problems
    return Member.of(name, Subject(photos=photos, class_noun=own["class_noun"].strip()), config), []


def _problems_of_all(
    shared: Mapping[str, Any], settings: Mapping[str, Any], found: Sequence[Iterable[str]]
) -> list[str]:
    """What every subject has because the settings of all have it: it is told once."""
    try:
        Config.build({**shared, **settings})
    except ConfigError as error:
        return [problem for problem in error.problems if all(problem in its for its in found)]
    return []


def _same_names(members: Sequence[Member], places: Sequence[str]) -> Iterator[str]:
    seen: dict[str, str] = {}
    for member, place in zip(members, places, strict=True):
        first = seen.setdefault(member.name.casefold(), place)
        if first != place:
            yield f'{place}: name: "{member.name}" is the name of the subject at {first} too: give each its own'


def _places(file: Path, text: str, count: int) -> list[str]:
    """Where each subject begins, "subjects.toml, line 12"; without lines where they cannot be told apart."""
    lines = [text.count("\n", 0, header.start()) + 1 for header in _HEADER.finditer(text)]
    if len(lines) != count:  # such as one inside of a text
        return [f"{file}, subject {number}" for number in range(1, count + 1)]
    return [f"{file}, line {line}" for line in lines]
