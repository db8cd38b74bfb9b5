"""Several subjects in one model: the run is the first one's, and keeps a folder for each of the others."""

import re
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dreambooth.config import Config, Naming
from dreambooth.errors import ConfigError, PhotoError, RunError
from dreambooth.identifier import require_free
from dreambooth.run.contents import LOCK, SUBJECTS
from dreambooth.run.folder import Run
from dreambooth.run.lock import locked
from dreambooth.run.records import BASE, SUBJECT
from dreambooth.run.same import refused
from dreambooth.subject import Subject, require_one_word
from dreambooth.support.progress import log

_NUMBER = re.compile(r"([0-9]+)-")
"""How the folder of a further subject begins."""


@dataclass(frozen=True)
class Companion(Run):
    """A further subject of a run: its photos, name, samples and scores; settings, model and steps are the run's."""

    @property
    def of(self) -> Run:
        """The run."""
        assert self.whole is not None
        return self.whole

    @cached_property
    def config(self) -> Config:
        """The settings of the run."""
        return self.of.config

    @property
    def model(self) -> Path:
        """The model that all subjects share."""
        return self.of.model

    @property
    def adapter(self) -> Path:
        """The adapter that all subjects share."""
        return self.of.adapter

    @property
    def is_personalised(self) -> bool:
        """Whether the run is."""
        return self.of.is_personalised

    @property
    def _keeper(self) -> Run:
        return self

    def begin(self, subject: Subject) -> None:
        """Take a subject, or compare it with the one that is there; raises RunError for another one."""
        if (self.root / SUBJECT.name).exists() and (self.of.root / BASE.name).exists():
            if changes := self.changes_to(subject, self.config):
                raise refused(self.of.root, changes, self.config)
            self.take_moved(subject)
        else:
            self.root.mkdir(parents=True, exist_ok=True)
            self.save_subject(subject)
            self.save_photos(subject)


def companions(run: Run) -> list[Companion]:
    """The further subjects of a run, in the order in which they were given."""
    folders = {file.parent: _NUMBER.match(file.parent.name) for file in (run.root / SUBJECTS).glob(f"*/{SUBJECT.name}")}
    numbers = {folder: int(number[1]) for folder, number in folders.items() if number}  # else somebody else's
    return [Companion(folder, run) for folder in sorted(numbers, key=numbers.__getitem__)]


def each(run: Run) -> list[Run]:
    """A run and its further subjects; of a later stage, what that writes of each of them."""
    if run.whole and not isinstance(run, Companion):
        return [run, *(companion.stage(run.root.name) for companion in companions(run.whole))]
    return [run, *companions(run)]


def naming_of(run: Run) -> tuple[Naming, set[str]]:
    """How a subject is to be named: a given --identifier is the first one's; and what the others are called."""
    naming, others = run.config.naming, [its for its in each(run.whole or run) if its.root != run.root]
    naming = naming.model_copy(update={"identifier": None}) if isinstance(run, Companion) else naming
    return naming, {its.subject.identifier for its in others} - {None}  # type: ignore[return-value]


def require_turns(config: Config, subjects: Sequence[Subject]) -> None:
    """Say how several subjects share the steps; raise ConfigError for what suits one alone, PhotoError where two have
    a photo in common."""
    if len(subjects) == 1:
        return
    photos = Counter(photo.resolve() for its in subjects for photo in its.photos)
    if twice := [photo for photo, count in photos.items() if count > 1]:
        raise PhotoError([f"{twice[0]}: is given for two subjects: give each photos of its own"])
    if config.method.method not in ("dreambooth", "lora"):
        raise ConfigError([f"method: {config.method.method} learns one subject: give dreambooth or lora for several"])
    words = [its.identifier for its in subjects if its.identifier is not None]
    for at, word in enumerate(words):
        require_one_word(word)
        require_free(word, words[at + 1 :])
    if config.naming.identifier is not None and any(its.identifier is None for its in subjects):
        raise ConfigError(
            [
                f"identifier: {config.naming.identifier!r} can name one subject, and {len(subjects)} are given: leave "
                "it out and give each its own, by --identifier once for each folder, in their order, or by "
                "Subject(identifier=...)"
            ]
        )
    if not config.naming.super_resolution_identifier:
        raise ConfigError(
            ["super_resolution_identifier: must be on for several subjects: it takes away one name alone"]
        )
    steps = config.training.max_train_steps
    log.info(
        "%d subjects take turns: %d steps for each of them; for as many as one alone has, --max-train-steps %d",
        *(len(subjects), steps // len(subjects), steps * len(subjects)),
    )


def create(root: Path, subjects: Sequence[Subject], config: Config) -> Run:
    """As `Run.create`, of one subject or of several; raises RunError where the folder holds a run of other ones."""
    run = Run.create(root, subjects[0], config)
    there, others = companions(run), subjects[1:]
    if len(there) != len(others):
        with locked(run.root / LOCK):  # unless a process is opening the base model of these subjects now
            if (root / BASE.name).exists():
                raise RunError(
                    f"{root} holds a run of {1 + len(there)} subjects, and {len(subjects)} are given: give the ones "
                    "it was begun with, or choose another --output-dir."
                )
            for old in there:  # and nothing else: a folder of photos may be called so, too
                shutil.rmtree(old.root, ignore_errors=True)
        there = [Companion(_folder(root, number, its), run) for number, its in enumerate(others, 2)]
    for companion, its in zip(there, others, strict=True):
        companion.begin(its)
    return run


def _folder(root: Path, number: int, subject: Subject) -> Path:
    """Called after the folder of the photos."""
    name = re.sub(r"[^\w-]+", "-", subject.photos[0].absolute().parent.name)
    return root / SUBJECTS / f"{number}-{name}"
