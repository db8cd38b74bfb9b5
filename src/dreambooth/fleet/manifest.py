"""The subjects of a fleet: a TOML file (subjects/tables.py) in which each may have any setting of its own."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dreambooth.config import Config
from dreambooth.data.masks import masks_beside
from dreambooth.data.photos import content_of
from dreambooth.errors import ConfigError
from dreambooth.subject import Subject
from dreambooth.subjects.tables import built, read_tables, repeated
from dreambooth.support.files import key_of


@dataclass(frozen=True, kw_only=True)
class Member:
    """One subject of a fleet.

    folder: its run folder's name, which changes with its photos, their masks, noun and settings.
    """

    name: str
    subject: Subject
    config: Config
    folder: str

    @classmethod
    def of(cls, name: str, subject: Subject, config: Config) -> "Member":
        """With the folder that belongs to it: other content is another run, and equal content is the same one."""
        masks = masks_beside(subject.photos) if config.data.masked_loss else []
        shown = [*content_of(subject.photos).items(), *content_of(masks).items()]
        content = [config.flat(), subject.class_noun, shown]
        return cls(name=name, subject=subject, config=config, folder=f"{name}-{key_of(content, 5)}")


def read_manifest(file: Path, settings: Mapping[str, Any], here: bool = True) -> tuple[Member, ...]:
    """The subjects of a file, in its order; raises ConfigError with every problem, and its line, at once.

    settings: flat; they go before the file's.  here: whether it is this machine that must be able to carry them out.
    """
    shared, tables = read_tables(file)
    configs = [built({**shared, **table.settings, **settings}, here) for table in tables]
    found = [[*table.problems, *problems] for table, (_, problems) in zip(tables, configs, strict=True)]
    of_all = _problems_of_all(shared, settings, found)
    problems = [f"{file}: {problem}" for problem in of_all]
    for table, its in zip(tables, found, strict=True):
        problems += [f"{table.place}: {problem}" for problem in its if problem not in of_all]
    whole = [(table, config) for table, (config, _) in zip(tables, configs, strict=True) if table.subject and config]
    problems += repeated("name", [table.name for table, _ in whole], [table.place for table, _ in whole])
    if problems:
        raise ConfigError(problems)
    return tuple(Member.of(table.name, table.subject, config) for table, config in whole if table.subject)


def _problems_of_all(
    shared: Mapping[str, Any], settings: Mapping[str, Any], found: Sequence[Iterable[str]]
) -> list[str]:
    """What every subject has because the settings of all have it: it is told once."""
    try:
        Config.build({**shared, **settings})
    except ConfigError as error:
        return [problem for problem in error.problems if all(problem in its for its in found)]
    return []
