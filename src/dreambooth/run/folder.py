"""What remains of a run: a folder with fixed names, which every stage reads and writes; contents.py lists them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Self

from dreambooth.config import Config
from dreambooth.data.photos import content_of
from dreambooth.errors import DiskError, RunError, in_words
from dreambooth.run import contents
from dreambooth.run.files import JsonFile, T
from dreambooth.run.lock import locked
from dreambooth.run.places import found, written
from dreambooth.run.records import LOSSES, MODEL, PHOTOS, SCORES, SUBJECT
from dreambooth.run.same import BEFORE_THE_MODEL, by_name, changes_of, holds_only, refused
from dreambooth.run.status import reported
from dreambooth.subject import Subject
from dreambooth.support.files import at_home, broken_seal, sealed, sweep, unsealed, write_text
from dreambooth.support.model_index import LATER_STAGE
from dreambooth.support.progress import log


@dataclass(frozen=True)
class Run:
    """A run folder.

    whole: the run that this is a later stage of, as a cascade has them; it keeps the settings and the subject of all.
    """

    root: Path
    whole: "Run | None" = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", at_home(self.root))  # callers may have it as text

    @property
    def checkpoints(self) -> Path:
        """Folder of `checkpoint-<step>` folders."""
        return self.root / contents.CHECKPOINTS

    @property
    def best(self) -> Path:
        """Folder of the best step's weights so far, as one checkpoint."""
        return self.root / contents.BEST

    @property
    def masks(self) -> Path:
        """Where the subject is in the photos, as it was found."""
        return self.root / contents.MASKS

    @property
    def samples(self) -> Path:
        """Folder of pictures: `before/`, `step-<n>/`, `after/`."""
        return self.root / contents.SAMPLES

    @property
    def model(self) -> Path:
        """The personalised model, as diffusers opens it."""
        return self.root / contents.MODEL

    @property
    def adapter(self) -> Path:
        """What the field shares of a method that trains less than the model: LoRA, learned embeddings."""
        return self.root / contents.ADAPTER

    @property
    def report(self) -> Path:
        """The one-file report."""
        return self.root / contents.REPORT

    @property
    def contact_sheet(self) -> Path:
        """Photos and samples on one sheet."""
        return self.root / contents.CONTACT_SHEET

    @property
    def share(self) -> Path:
        """The picture to send to a friend."""
        return self.root / contents.SHARE

    @property
    def losses(self) -> Path:
        """A JSON line per step. The package itself reads records.LOSSES; this path is for its callers."""
        return self.root / LOSSES.name

    @property
    def scores(self) -> Path:
        """A JSON line per probe: the photos' own ("step": "real"), the untuned model (0), then the steps measured."""
        return self.root / SCORES.name

    def stage(self, name: str) -> "Run":
        """What one stage of the model writes to: the run's own folder for "base", else one in it of that name."""
        return self if name == "base" else Run(self.root / name, self)

    @property
    def later_stages(self) -> list["Run"]:
        """The stages after "base" that were trained so far; none of a model with one stage."""
        later = self.stage(LATER_STAGE)
        is_other_run = (later.root / contents.CONFIG).exists()
        return [later] if later.losses.exists() and not is_other_run else []

    @classmethod
    def create(cls, root: Path | str, subject: Subject, config: Config) -> Self:
        """Make the folder, or open the one that the same command made before.

        One whose base model never opened takes the photos and settings of now. Raises what `require_fit` raises.
        """
        run = cls(Path(os.path.normpath(at_home(root))))  # "runs/.." is there, though runs/ is not
        there, changes = (run.root / contents.CONFIG).exists(), run.require_fit(subject, config)
        try:
            run.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DiskError(f"the run folder cannot be made: {in_words(error)}") from error
        if not there:
            run._begin(subject, config)
        elif changes:
            with locked(run.root / contents.LOCK):  # unless a process is opening that model now
                if not holds_only(run.root, BEFORE_THE_MODEL):
                    raise RunError(f"{run.root} was in use a moment ago: give the command again.")
                run._begin(subject, config)
        else:
            run.take_moved(subject)
        return run

    def require_fit(self, subject: Subject, config: Config) -> list[str]:
        """What the subject and the settings change of a run that may still take others; nothing is written.

        Raises RunError where the folder holds something else, or a run with other photos or settings.
        """
        if not (self.root / contents.CONFIG).exists():
            if self.root.exists() and not holds_only(self.root, BEFORE_THE_MODEL):
                raise RunError(f"{self.root} exists and is not a run folder: choose another folder with --output-dir.")
            return []
        changes = self.changes_to(subject, config)
        if changes and not holds_only(self.root, BEFORE_THE_MODEL):
            raise refused(self.root, changes, config)
        return changes

    def changes_to(self, subject: Subject, config: Config) -> list[str]:
        """What the subject and the settings would change of it, a line each; raises RunError for damaged settings."""
        before = self.config  # raises where it is somebody else's folder, too
        try:
            mine = self.subject
        except RunError:  # all of it is given again
            mine = subject
        return changes_of(self.root, mine, before, subject, config)

    @classmethod
    def open(cls, root: Path | str) -> Self:
        """An existing run folder; raises RunError where it is none, or its settings are not as they were written."""
        root = at_home(root)
        if not (root / contents.CONFIG).is_file():
            raise RunError(
                f"{root} is not a run folder (it has no config.toml): make one with `dreambooth run PHOTOS_DIR`."
            )
        run = cls(root)
        _ = run.config  # so that no stage begins, nor says that it is complete, on damaged settings
        return run

    @classmethod
    def at(cls, run: "Run | Path | str") -> "Run":
        """The run that is given, or the one in the folder that is; raises as `open` does."""
        return run if isinstance(run, Run) else cls.open(run)

    @cached_property
    def config(self) -> Config:
        """The settings the run was made with, read once; raises RunError where they are not as they were written."""
        if self.whole:
            return self.whole.config.of_stage(self.root.name)
        file = self.root / contents.CONFIG
        try:
            text = unsealed(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            text = None
        if text is None:
            raise RunError(
                f"{file} is damaged or was changed by hand, and a run has the settings that it began with: put the "
                "file back as it was, or start over in another --output-dir."
            )
        return Config.from_toml_text(text, file)

    @property
    def is_personalised(self) -> bool:
        """Whether model/ is there and as it was written; from the last checkpoint it is made again within seconds."""
        if not self.model.is_dir():
            return False
        try:
            broken = broken_seal(self.model, MODEL.read(self.root))
        except RunError:
            return False  # it was stopped before it was sealed
        if broken is not None:
            log.warning("%s is not as this run wrote it: the model is not used", self.model / broken)
        return broken is None

    def save_config(self, config: Config) -> None:
        """Write config.toml, sealed."""
        write_text(self.root / contents.CONFIG, sealed(config.to_toml()))
        self.__dict__.pop("config", None)  # it is read again

    @property
    def subject(self) -> Subject:
        """The subject, with its identifier once that stage has run."""
        root = self._keeper.root
        subject = SUBJECT.read(root)
        return replace(subject, photos=tuple(found(photo, root) for photo in subject.photos))

    @property
    def _keeper(self) -> "Run":
        """The run that keeps the subject."""
        return self.whole or self

    def save_subject(self, subject: Subject) -> None:
        """Write subject.json."""
        SUBJECT.write(self.root, replace(subject, photos=tuple(written(photo, self.root) for photo in subject.photos)))

    def save_photos(self, subject: Subject) -> None:
        """Write photos.json: the content of each photo, which a later process must find again."""
        PHOTOS.write(self.root, content_of(subject.photos))

    def began_with(self, file: JsonFile[T], now: T) -> T:
        """What `file` says that the run began with: `now`, where it is not written yet."""
        if (began := file.find(self.root)) is None:
            file.write(self.root, began := now)
        return began

    def require_same_photos(self) -> None:
        """Raise RunError where a photo shows something else than the run began with; moved away is not changed."""
        now = content_of(self.subject.photos)
        hashes: dict[str, str] = self.began_with(PHOTOS, now)
        began = by_name(hashes)
        if lacking := now.keys() - began.keys():
            names = ", ".join(sorted(lacking))
            raise RunError(f"{self.root / PHOTOS.name} is damaged: it does not say {names}. Delete it.")
        changed = [path for path in now if began[path] and now[path] and began[path] != now[path]]
        if changed:
            raise RunError(
                f"{self.root} was begun with other photos under the same names: {', '.join(changed)}. Put back the "
                "ones it had, or choose another --output-dir."
            )

    def forget_after(self, step: int) -> None:
        """Drop the lines of losses.jsonl and scores.jsonl that are of later steps, or that a crash cut short."""
        LOSSES.forget_after(self.root, step)
        SCORES.forget_after(self.root, step)

    @contextmanager
    def lock(self, patience: float = 0.0, whole: bool = False) -> Iterator[None]:
        """Hold the folder; raises RunError, with the process id, where another process does.

        patience: seconds to wait for one that is about to end.  whole: as `reported` takes it. What a killed writer
        left half written is removed. Inside, status.json tells what is done, and a file "stop" ends it.
        """
        with locked(self.root / contents.LOCK, patience):
            sweep(self.root)
            with reported(self.root, whole):
                yield

    def _begin(self, subject: Subject, config: Config) -> None:
        self.save_subject(subject)
        self.save_photos(subject)
        self.save_config(config)

    def take_moved(self, subject: Subject) -> None:
        """Keep where the photos are now; of a damaged subject.json, all that was given again."""
        try:
            mine = self.subject
        except RunError as error:
            log.warning("%s It is made again.", error)
            mine = subject
            self.save_subject(mine)
        if [photo.absolute() for photo in subject.photos] != [photo.absolute() for photo in mine.photos]:
            self.save_subject(replace(mine, photos=subject.photos))
