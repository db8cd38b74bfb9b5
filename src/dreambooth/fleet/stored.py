"""What a fleet keeps in a storage: each subject's results and, written last, the file that says that all are there.

finished/<folder>.json makes a subject finished, wherever it was carried out. Until then its files are half of an
upload, which the next one completes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from dreambooth.errors import DiskError
from dreambooth.fleet.outcome import Outcome
from dreambooth.fleet.strips import Strip
from dreambooth.run import Run, contents
from dreambooth.run.files import JsonFile
from dreambooth.run.records import MODEL
from dreambooth.run.status import SAMPLE, STOP
from dreambooth.support.files import sha256
from dreambooth.support.progress import log, track
from dreambooth.support.storage import Storage

FINISHED = "finished"
"""The folder of what is finished: one listing tells it of thousands."""

STAYS = (contents.CHECKPOINTS, contents.BEST, STOP, SAMPLE)
"""What a run is resumed from, and what is asked of it: it stays on the machine that made it, as hidden files do."""


@dataclass(frozen=True)
class Sealed:
    """A file as it was uploaded: bytes, and its SHA-256."""

    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Stored:
    """What finished/<folder>.json says: the subject's row of the table, and each of its files."""

    outcome: Outcome
    files: Mapping[str, Sealed]


STORED = JsonFile("finished", Stored)
STRIP = JsonFile("strip.json", Strip)


def finished_in(storage: Storage) -> set[str]:
    """The folders of the subjects that are finished, whoever finished them."""
    return {name.removesuffix(".json") for name in storage.sizes(FINISHED) if name.endswith(".json")}


def is_in(storage: Storage, folder: str) -> bool:
    """Whether this subject is finished."""
    return bool(storage.read([_marker(folder)]))


def outcomes_in(storage: Storage, folders: Iterable[str]) -> dict[str, Outcome]:
    """Their rows of the table, by folder; a "failed" one where its file is damaged."""
    names = {_marker(folder): folder for folder in folders}
    found = {}
    for name, content in storage.read([*names]).items():
        try:
            found[names[name]] = STORED.adapter.validate_json(content, strict=True).outcome
        except ValidationError:
            reason = f"{storage.url}/{name} is damaged: delete it, and give the command again"
            found[names[name]] = Outcome(
                name=names[name], class_noun="", state="failed", folder=names[name], reason=reason
            )
    return found


def strips_in(storage: Storage, folders: Iterable[str]) -> list[Strip]:
    """Their pictures, in this order; without those that cannot be read."""
    names = [f"{folder}/{STRIP.name}" for folder in folders]
    read, found = storage.read(names), []
    for name in names:
        try:
            found.append(STRIP.adapter.validate_json(read.get(name, b""), strict=True))
        except ValidationError:
            log.warning("%s/%s is damaged or missing: the page lacks these pictures", storage.url, name)
    return found


def upload(run: Run, outcome: Outcome, strip: Strip, storage: Storage) -> None:
    """Have the storage hold a finished run's results; what it holds already, by size and SHA-256, is not sent again.

    Raises DiskError where it does not take them; the same call then sends the rest.
    """
    folder, files = run.root.name, results_of(run)
    there = storage.sizes(folder)
    for name, its in track(list(files.items()), "files in the storage"):
        place = f"{folder}/{name}"
        if there.get(name) != its.size or storage.sha256(place) != its.sha256:
            storage.put(run.root / name, place)
    storage.write(f"{folder}/{STRIP.name}", STRIP.adapter.dump_json(strip))
    there = storage.sizes(folder)
    if wrong := [name for name, its in files.items() if there.get(name) != its.size]:
        raise DiskError(
            f"{storage.url}/{folder}/{wrong[0]} is not as it was sent: does another machine write there? Give the "
            "command again, on one machine at a time."
        )
    storage.write(_marker(folder), STORED.adapter.dump_json(Stored(outcome=outcome, files=files), indent=2))


def results_of(run: Run) -> dict[str, Sealed]:
    """Every file of a run but checkpoints, locks and half-written ones, by its path in the run folder."""
    sealed = MODEL.find(run.root) or {}
    found = {}
    for file in sorted(run.root.rglob("*")):
        path = file.relative_to(run.root)
        stays = any(part in STAYS for part in path.parts[:2]) or any(part.startswith(".") for part in path.parts)
        if stays or not file.is_file():
            continue
        in_model = sealed.get(path.relative_to(contents.MODEL).as_posix()) if path.parts[0] == contents.MODEL else None
        found[path.as_posix()] = Sealed(file.stat().st_size, in_model or sha256(file))
    return found


def send_report(out: Path, names: Iterable[str], storage: Storage) -> None:
    """Upload the fleet's page and tables."""
    for name in names:
        storage.put(out / name, name)


def _marker(folder: str) -> str:
    return f"{FINISHED}/{folder}.json"
