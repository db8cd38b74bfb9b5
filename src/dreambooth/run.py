"""What remains of a run: a folder with fixed names that every stage reads and writes.

config.toml      all settings           subject.json    photos, identifier, class noun
base.json        which weights it began with            judges.json   and which judges measure it
prior.json       the class images       losses.jsonl    a line per step
scores.jsonl     a line per probe       recommendation.json, diagnosis.json   what the probes say together
samples.json     the same numbers of the finished pictures
photos.json      how well the photos fit the embedded model's world
checkpoints/     state to resume from   samples/        pictures, with prompt, seed and model inside each
model/           weights to use         report.html     everything, in one file
adapter/         the LoRA or learned word alone, where the method made one
"""

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from dreambooth.config import Config
from dreambooth.errors import RunError
from dreambooth.files import write_json, write_text
from dreambooth.subject import Subject


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
        root.mkdir(parents=True, exist_ok=True)
        run.save_subject(subject)
        write_text(root / "config.toml", config.to_toml())
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
        """The settings the run was made with."""
        return Config.from_toml(self.root / "config.toml")

    @property
    def subject(self) -> Subject:
        """The subject, with its identifier once that stage has run."""
        value = self.read_json("subject.json")
        return Subject(
            photos=tuple(Path(photo) for photo in value["photos"]),
            class_noun=value["class_noun"],
            identifier=value["identifier"],
            with_class_noun=value.get("with_class_noun", True),  # not said by runs older than it
        )

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

    def read_json(self, name: str) -> Any:
        """The content of one of the folder's JSON files; raises RunError where it is missing or damaged."""
        try:
            return json.loads((self.root / name).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise RunError(
                f"{self.root / name} is missing: the stage that writes it has not run in this folder."
            ) from error
        except json.JSONDecodeError as error:
            raise RunError(f"{self.root / name} is damaged ({error}): delete it and run that stage again.") from error

    def began_with(self, name: str, now: Mapping[str, str]) -> Mapping[str, str]:
        """What one of the folder's JSON files says that the run began with: `now`, where it is not written yet."""
        if not (self.root / name).exists():
            write_json(self.root / name, dict(now))
        began: Mapping[str, str] = self.read_json(name)
        return began

    def forget_after(self, step: int) -> None:
        """Drop the lines of losses.jsonl and scores.jsonl that tell of later steps, or that a crash cut short."""
        for file in (self.losses, self.scores):
            if file.exists():
                lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
                write_text(file, "".join(line for line in lines if _tells_until(line, step)))

    @contextmanager
    def only_writer(self, patience: float = 0.0) -> Iterator[None]:
        """Hold the folder; raises RunError, with the process id, where another live process still does.

        patience: seconds to wait for one that is about to end.
        """
        lock, until = self.root / ".lock", time.monotonic() + patience
        while (holder := _taken(lock)) is not None:
            if time.monotonic() > until:
                raise RunError(
                    f"{self.root} is in use by process {holder}: wait for it, or choose another --output-dir."
                )
            time.sleep(0.1)
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)

    def _require_same(self, subject: Subject, config: Config) -> None:
        mine = self.subject
        changes = self.config.changes(config)
        if [p.absolute() for p in subject.photos] != list(mine.photos):
            changes.append(f"photos: {len(subject.photos)} files, was {len(mine.photos)}, or other names")
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


def _is_empty(folder: Path) -> bool:
    """Whether nothing is there, or only what a making that was killed half way leaves."""
    return folder.is_dir() and all(
        file.name == "subject.json" or (file.name.startswith(".") and file.suffix == ".part")
        for file in folder.iterdir()
    )


def _tells_until(line: str, step: int) -> bool:
    try:
        told = json.loads(line)["step"]
    except json.JSONDecodeError:
        return False
    return not isinstance(told, int) or told <= step


def _taken(lock: Path) -> int | None:
    """None once the lock is ours, or the process that has it; one that was left by a killed process is taken over."""
    try:
        handle = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        holder = lock.read_text().strip()
        if holder.isdigit() and _alive(int(holder)):
            return int(holder)
        lock.unlink(missing_ok=True)
        return _taken(lock)
    os.write(handle, str(os.getpid()).encode())
    os.close(handle)
    return None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    stat = Path(f"/proc/{pid}/stat")  # of Linux: a process that has ended may wait for long to be collected
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return not Path("/proc/self/stat").exists()
