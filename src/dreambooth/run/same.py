"""Whether a command is the one that a run folder was begun with: its photos, words and settings against those there."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from dreambooth.config import Config
from dreambooth.data.photos import content_of, names_of
from dreambooth.errors import RunError
from dreambooth.run import contents
from dreambooth.run.records import PHOTOS, SUBJECT, TIMINGS, WORLD_FIT
from dreambooth.run.status import SAMPLE, STATUS, STOP
from dreambooth.subject import Subject

BEFORE_THE_MODEL = (
    *(contents.CONFIG, contents.SUBJECTS, contents.LOCK, STOP, SAMPLE),
    *(file.name for file in (SUBJECT, PHOTOS, WORLD_FIT, TIMINGS, STATUS)),
)
"""What is in a run folder before its base model is open: with nothing else, it may still be a run of other settings."""

MOST_CHANGES = 8
"""Another base model alone changes a score of settings."""


def holds_only(folder: Path, names: Collection[str]) -> bool:
    """Whether nothing is in a folder but files of these names, and what a writer that was killed half way leaves."""
    return folder.is_dir() and all(
        file.name in names or (file.name.startswith(".") and file.suffix == ".part") for file in folder.iterdir()
    )


def changes_of(root: Path, mine: Subject, before: Config, subject: Subject, config: Config) -> list[str]:
    """What `subject` and `config` would change of the run in `root`, which has `mine` and `before`: a line each."""
    changes = _of_photos(content_of(subject.photos), _photos_began(root, mine, subject))
    if subject.class_noun != mine.class_noun:
        changes.append(f"class_noun: {subject.class_noun!r}, was {mine.class_noun!r}")
    if subject.identifier not in (None, mine.identifier):
        changes.append(f"identifier: {subject.identifier!r}, was {mine.identifier!r}")
    return changes + before.changes(config)


def refused(root: Path, changes: Sequence[str], config: Config) -> RunError:
    """The error that says what the run in `root` would have to change."""
    shown = list(changes) if len(changes) <= MOST_CHANGES + 1 else list(changes[:MOST_CHANGES])
    shown += [f"and {len(changes) - len(shown)} more"] * (len(shown) < len(changes))
    listed = "\n".join(f"  - {change}" for change in shown)
    steps = config.training.max_train_steps
    longer = f"\nFor other steps: `dreambooth continue {root} --max-train-steps {steps}`."
    return RunError(
        f"{root} holds a run with other settings:\n{listed}\n"
        "To resume it, give the settings it was made with; to start over, choose another --output-dir."
        + (longer if changes[0].startswith("max_train_steps") and len(changes) == 1 else "")
    )


def by_name(hashes: Mapping[str, str]) -> dict[str, str]:
    """As `content_of` has them; older versions wrote paths."""
    return dict(zip(names_of([*map(Path, hashes)]), hashes.values(), strict=True)) if hashes else {}


def _photos_began(root: Path, mine: Subject, subject: Subject) -> Mapping[str, str]:
    try:
        return by_name(PHOTOS.read(root))
    except RunError:  # a run older than the file, or a damaged one: by their names at least
        now = content_of(subject.photos)
        return {name: now.get(name, "") for name in names_of(mine.photos)}


def _of_photos(now: Mapping[str, str], began: Mapping[str, str]) -> list[str]:
    changes = [f"photos: {len(now)} files, was {len(began)}"] if len(now) != len(began) else []
    changes += [f"photos: {path} is new" for path in now if path not in began]
    changes += [f"photos: {path} is gone" for path in began if path not in now]
    changed = [path for path in now if began.get(path, now[path]) != now[path]]
    changes += [f"photos: {path} shows something else than it did" for path in changed]
    if not changes and list(now) != list(began):
        changes.append("photos: the same in another order")
    return changes
