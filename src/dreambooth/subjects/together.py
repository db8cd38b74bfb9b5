"""Several subjects for one model: folders of photos, or the file of a fleet (tables.py), in which settings are of all.

One model has one training, so a subject of the file has an identifier of its own and no other setting.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dreambooth.config import Config, World, settings_reference
from dreambooth.data.photos import photos_in
from dreambooth.errors import ConfigError, DreamBoothError
from dreambooth.run.contents import CONFIG
from dreambooth.subject import Subject
from dreambooth.subjects.tables import Table, built, read_tables, repeated
from dreambooth.support.spelling import shown, suggestion

IDENTIFIER = "identifier"


def subjects_of(
    folders: Sequence[Path],
    nouns: Sequence[str],
    world: World,
    identifiers: Sequence[str | None] = (),
    may_download: bool = True,
) -> list[Subject]:
    """A subject for each folder of photos; nouns: one for each, or none at all, where CLIP reads them off the photos.

    identifiers: likewise one for each of several subjects, None where a token shall be chosen; of a single one it is a
    setting.  may_download: whether CLIP may be downloaded for it. Raises DreamBoothError.
    """
    if runs := [folder for folder in folders if (folder / CONFIG).is_file()]:
        raise DreamBoothError(f"{runs[0]} is a run folder and holds no photos: resume it with `dreambooth continue`.")
    for flag, given in (("--class-noun", nouns), ("--identifier", identifiers)):
        if given and len(given) != len(folders):
            there = f"{len(folders)} folders" if len(folders) > 1 else "one folder"
            raise DreamBoothError(
                f"{flag}: {len(given)} for {there} of photos. Give it once for each folder, in their order."
            )
    photos = [photos_in(folder) for folder in folders]
    if not nouns:
        from dreambooth.class_noun import suggested  # with torch, which takes seconds

        nouns = [suggested(paths, world, may_download) for paths in photos]
    words = identifiers if len(folders) > 1 and identifiers else [None] * len(folders)
    return [
        Subject(photos=paths, class_noun=noun.strip(), identifier=word)
        for paths, noun, word in zip(photos, nouns, words, strict=True)
    ]


def read_together(
    file: Path, settings: Mapping[str, Any], folders: Sequence[Path] = (), nouns: Sequence[str] = ()
) -> tuple[list[str], list[Subject], Config]:
    """Names, subjects and the settings of one model of all subjects of a file; raises ConfigError with every problem.

    settings: flat; they go before the file's, an identifier before that of a single subject.  folders, nouns: what the
    command line says beside the file: nothing.
    """
    shared, tables = read_tables(file)
    config, of_all = built({**shared, **settings})
    of_all += [f"{folder} stands beside it: write a [[subject]] for it" for folder in folders]
    if nouns:
        of_all.append("it has the class nouns: leave out --class-noun")
    if config and config.naming.identifier is not None and len(tables) > 1:
        of_all.append(f"{IDENTIFIER}: each subject has its own: write it into its [[subject]]")
    problems = [f"{file}: {problem}" for problem in of_all]
    for table in tables:
        problems += [f"{table.place}: {problem}" for problem in (*table.problems, *_not_its_own(table))]
    words = [str(table.settings.get(IDENTIFIER, "")).strip() or None for table in tables]
    if len(tables) == 1 and settings.get(IDENTIFIER) is not None:
        words = [None]  # it has the one of the settings
    for what, its in (("name", [table.name for table in tables]), (IDENTIFIER, words)):
        problems += repeated(what, its, [table.place for table in tables])
    if problems or config is None:
        raise ConfigError(problems)
    subjects = [
        replace(table.subject, identifier=word)
        for table, word in zip(tables, words, strict=True)
        if table.subject is not None
    ]
    return [table.name for table in tables], subjects, config


def _not_its_own(table: Table) -> list[str]:
    """Settings that a subject cannot have where all are in one model, and an identifier that is none."""
    known = [name for _, name, _ in settings_reference()]
    word = table.settings.get(IDENTIFIER, "sks")
    problems = (
        [] if isinstance(word, str) and word.strip() else [f"{IDENTIFIER}: must be words in quotes, got {word!r}"]
    )
    for name in table.settings:
        if name == IDENTIFIER:
            continue
        if name in known:
            problems.append(
                f"{name}: one model has one training: write it before the first [[subject]], or make a model of each "
                "subject by `dreambooth fleet`"
            )
        else:
            problems.append(f"{shown(name)}: there is no such setting. {suggestion(name, known)}".rstrip())
    return problems
