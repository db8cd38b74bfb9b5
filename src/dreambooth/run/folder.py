"""What remains of a run: a folder with fixed names that every stage reads and writes.

config.toml      all settings, sealed   subject.json    photos, identifier, class noun; photos.json   their SHA-256
base.json        which weights it began with            judges.json   and which judges measure it
prior.json       the class images       losses.jsonl    a line per step
scores.jsonl     a line per probe       recommendation.json, diagnosis.json   what the probes say together
samples.json     the same numbers of the finished pictures
world_fit.json   how well the photos fit the embedded model's world
checkpoints/     state to resume from   samples/        pictures, with prompt, seed and model inside each
model/           weights to use, with their SHA-256 in model.json   report.html     everything, in one file
adapter/         the LoRA or learned word alone, where the method made one
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import TypeAdapter, ValidationError

from dreambooth.config import Config
from dreambooth.data.photos import content_of
from dreambooth.errors import DiskError, RunError, in_words
from dreambooth.run.lock import locked
from dreambooth.subject import Subject
from dreambooth.support.files import sealed, sweep, unsealed, write_json, write_text
from dreambooth.support.progress import log

LARGEST = 1e30
"""No number of a run comes near it, and what does breaks what is drawn of it."""

R = TypeVar("R")


@dataclass(frozen=True)
class Run:
    """A run folder."""

    root: Path

    @property
    def checkpoints(self) -> Path:
        """Folder of `checkpoint-<step>` folders."""
        return self.root / "checkpoints"

    @property
    def samples(self) -> Path:
        """Folder of pictures: `before/`, `step-<n>/`, `after/`."""
        return self.root / "samples"

    @property
    def model(self) -> Path:
        """The personalised model, as diffusers opens it."""
        return self.root / "model"

    @property
    def adapter(self) -> Path:
        """What the field shares of a method that trains less than the model: LoRA, learned embeddings."""
        return self.root / "adapter"

    @property
    def report(self) -> Path:
        """The one-file report."""
        return self.root / "report.html"

    @property
    def losses(self) -> Path:
        """A JSON line per step."""
        return self.root / "losses.jsonl"

    @property
    def scores(self) -> Path:
        """A JSON line per probe: the photos' own ("step": "real"), the untuned model (0), then the steps measured."""
        return self.root / "scores.jsonl"

    def stage(self, name: str) -> Self:
        """The folder of one stage of the model: the run's own for "base", else one in it of that name."""
        return self if name == "base" else type(self)(self.root / name)

    @classmethod
    def create(cls, root: Path, subject: Subject, config: Config) -> Self:
        """Make the folder, or go on with the one that the same command made before.

        Raises RunError where the folder holds something else, or a run with other photos or settings.
        """
        run = cls(root)
        if (root / "config.toml").exists():
            run._require_same(subject, config)
            return run
        if root.exists() and not _is_empty(root):
            raise RunError(f"{root} exists and is not a run folder: choose another folder with --output-dir.")
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DiskError(f"the run folder cannot be made: {in_words(error)}") from error
        run.save_subject(subject)
        run.save_photos(subject)
        write_text(root / "config.toml", sealed(config.to_toml()))
        return run

    @classmethod
    def open(cls, root: Path) -> Self:
        """An existing run folder; raises RunError where it is none."""
        if not (root / "config.toml").is_file():
            raise RunError(
                f"{root} is not a run folder (it has no config.toml): make one with `dreambooth run PHOTOS_DIR`."
            )
        return cls(root)

    @property
    def config(self) -> Config:
        """The settings the run was made with; raises RunError where they are not as they were written."""
        file = self.root / "config.toml"
        try:
            text = unsealed(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            text = None
        if text is None:
            raise RunError(
                f"{file} is damaged or was changed by hand, and a run has the settings that it began with: put the "
                "file back as it was, or start anew in another --output-dir."
            )
        return Config.from_toml_text(text, file)

    @property
    def subject(self) -> Subject:
        """The subject, with its identifier once that stage has run."""
        return self.read_record("subject.json", Subject)

    def save_subject(self, subject: Subject) -> None:
        """Write subject.json."""
        photos = [str(photo.absolute()) for photo in subject.photos]
        write_json(
            self.root / "subject.json",
            {
                "photos": photos,
                "class_noun": subject.class_noun,
                "identifier": subject.identifier,
                "with_class_noun": subject.with_class_noun,
            },
        )

    def save_photos(self, subject: Subject) -> None:
        """Write photos.json: the content of each photo, which a later process must find again."""
        write_json(self.root / "photos.json", content_of(subject.photos))

    def read_json(self, name: str) -> Any:
        """The content of one of the folder's JSON files; raises RunError where it is missing or damaged."""
        try:
            return json.loads((self.root / name).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise RunError(
                f"{self.root / name} is missing: the stage that writes it has not run in this folder."
            ) from error
        except (ValueError, RecursionError) as error:
            raise RunError(f"{self.root / name} is damaged ({error}): delete it and run that stage again.") from error

    def read_record(self, name: str, kind: type[R]) -> R:
        """The same as what it should be; raises RunError where it says something else."""
        try:
            return TypeAdapter(kind).validate_python(self.read_json(name))
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(map(str, problem["loc"])) or "top"
            raise RunError(
                f"{self.root / name} is damaged ({where}: {problem['msg']}): delete it and run that stage again."
            ) from error

    def began_with(self, name: str, now: Mapping[str, str]) -> Mapping[str, str]:
        """What one of the folder's JSON files says that the run began with: `now`, where it is not written yet."""
        if not (self.root / name).exists():
            write_json(self.root / name, dict(now))
        began = self.read_record(name, dict[str, str])
        if lacking := now.keys() - began.keys():
            raise RunError(f"{self.root / name} is damaged: it does not say {', '.join(sorted(lacking))}. Delete it.")
        return began

    def require_same_photos(self) -> None:
        """Raise RunError where a photo shows something else than the run began with; moved away is not changed."""
        now = content_of(self.subject.photos)
        began = self.began_with("photos.json", now)
        changed = [path for path in now if began[path] and now[path] and began[path] != now[path]]
        if changed:
            raise RunError(
                f"{self.root} was begun with other photos under the same names: {', '.join(changed)}. Put back the "
                "ones it had, or choose another --output-dir."
            )

    def lines(self, file: Path) -> list[dict[str, Any]]:
        """The whole lines of losses.jsonl or scores.jsonl; what a crash cut short, or else is none, is left out."""
        text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
        return [row for line in text.splitlines() if (row := _row(line)) is not None]

    def forget_after(self, step: int) -> None:
        """Drop the lines of losses.jsonl and scores.jsonl that tell of later steps, or that a crash cut short."""
        for file in (self.losses, self.scores):
            if file.exists():
                lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
                steps = {line: row["step"] for line in lines if (row := _row(line))}
                kept = [line for line in lines if line in steps and steps[line] in ("real", *range(step + 1))]
                write_text(file, "".join(f"{line}\n" for line in kept))

    @contextmanager
    def only_writer(self, patience: float = 0.0) -> Iterator[None]:
        """Hold the folder; raises RunError, with the process id, where another process does.

        patience: seconds to wait for one that is about to end. What a killed writer left half written is removed.
        """
        with locked(self.root / ".lock", patience):
            sweep(self.root)
            yield

    def _require_same(self, subject: Subject, config: Config) -> None:
        changes = self.config.changes(config)
        try:
            mine = self.subject
        except RunError as error:  # all of it was given again
            log.warning("%s It is made again.", error)
            self.save_subject(subject)
            mine = self.subject
        changes += _photo_changes(content_of(subject.photos), self._photos_began(subject))
        if subject.class_noun != mine.class_noun:
            changes.append(f"class_noun: {subject.class_noun!r}, was {mine.class_noun!r}")
        if subject.identifier not in (None, mine.identifier):
            changes.append(f"identifier: {subject.identifier!r}, was {mine.identifier!r}")
        if changes:
            listed = "\n".join(f"  - {change}" for change in changes)
            raise RunError(
                f"{self.root} holds a run with other settings:\n{listed}\n"
                "To go on with it, give the settings it was made with; to start anew, choose another --output-dir."
            )

    def _photos_began(self, subject: Subject) -> Mapping[str, str]:
        now = content_of(subject.photos)
        try:
            return self.read_record("photos.json", dict[str, str])
        except RunError:  # a run older than the file, or a damaged one: by their names at least
            return {str(photo): now.get(str(photo), "") for photo in self.subject.photos}


def _photo_changes(now: Mapping[str, str], began: Mapping[str, str]) -> list[str]:
    changes = [f"photos: {len(now)} files, was {len(began)}"] if len(now) != len(began) else []
    changes += [f"photos: {path} is new" for path in now if path not in began]
    changes += [f"photos: {path} is gone" for path in began if path not in now]
    changed = [path for path in now if began.get(path, now[path]) != now[path]]
    changes += [f"photos: {path} shows something else than it did" for path in changed]
    if not changes and list(now) != list(began):
        changes.append("photos: the same in another order")
    return changes


def _is_empty(folder: Path) -> bool:
    """Whether nothing is there, or only what a making that was killed half way leaves."""
    return folder.is_dir() and all(
        file.name in ("subject.json", "photos.json", ".lock") or (file.name.startswith(".") and file.suffix == ".part")
        for file in folder.iterdir()
    )


_TABLES = ("prompts", "variety")  # of a line of scores.jsonl: names, and the numbers of each


def _row(line: str) -> dict[str, Any] | None:
    """A line of numbers, of a step or of the photos ("real"), perhaps also by prompt or variety; None for any other."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict):
        return None
    step, tables = row.get("step"), [row.get(name, {}) for name in _TABLES]
    is_step = step == "real" or (isinstance(step, int) and not isinstance(step, bool) and step >= 0)
    if not is_step or not all(isinstance(its, dict) for its in tables):
        return None
    rows = [its for table in tables for its in table.values()]
    if not all(isinstance(its, dict) for its in rows):
        return None
    numbers = [value for key, value in row.items() if key not in ("step", *_TABLES)]
    numbers += [value for its in rows for value in its.values()]
    return row if all(map(_is_measured, numbers)) else None


def _is_measured(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return value is None or (number and not abs(value) >= LARGEST)  # nothing, or not a number, was not measured
