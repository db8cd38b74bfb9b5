"""Files that are either whole or not there: written aside, flushed, then renamed."""

import errno
import hashlib
import json
import os
import re
import shutil
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from dreambooth.errors import DISK_REASONS, DiskError

_ASIDE = re.compile(r"\.(.+)\.[0-9a-f]{8}\.(part|old)")


def at_home(place: Path | str) -> Path:
    """The path with "~" or "~name" replaced by that user's home; as it is where there is no such user."""
    try:
        return Path(place).expanduser()
    except RuntimeError:
        return Path(place)


@contextmanager
def atomic_write(target: Path) -> Iterator[Path]:
    """Yield a path beside `target` to write a file or a folder to; it takes `target`'s place only when complete.

    A file replaces an older file; a folder replaces an older folder. Nothing is left behind on an error. Everybody may
    read it whom the user's umask lets read. Raises DiskError where the disk is full or not writable.
    """
    aside = _beside(target, "part")
    try:
        aside.parent.mkdir(parents=True, exist_ok=True)
        yield aside
        _unlock(aside)
        _flush(aside)
        _take_place(aside, target)
    except (OSError, SafetensorError) as error:
        _remove(aside)
        if (of_system := _of_system(error)) is None:
            raise
        raise _explained(of_system, target) from error
    except BaseException:
        _remove(aside)
        raise


def write_json(target: Path, value: Any) -> None:
    """Write `value` as readable JSON, whole or not at all."""
    with atomic_write(target) as aside:
        aside.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_text(target: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with atomic_write(target) as aside:
        aside.write_text(text, encoding="utf-8")


def replace_text(target: Path, text: str) -> None:
    """Write `text` as UTF-8, seen whole or not at all, but not flushed: news, which a crash may take.

    Raises OSError.
    """
    aside = _beside(target, "part")
    try:
        aside.write_text(text, encoding="utf-8")
        os.replace(aside, target)
    finally:
        aside.unlink(missing_ok=True)


def sealed(text: str) -> str:
    """`text` below a line with its SHA-256, a comment in TOML; `unsealed` reads it."""
    return f"# sha256 {hashlib.sha256(text.encode()).hexdigest()}\n{text}"


def unsealed(text: str) -> str | None:
    """What `sealed` was given; None where anything was changed, cut off or added since."""
    _, _, body = text.partition("\n")
    return body if text == sealed(body) else None


def seals(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file below `folder`, by its path in it."""
    return {
        file.relative_to(folder).as_posix(): _sha256_once(file) for file in sorted(folder.rglob("*")) if file.is_file()
    }


def broken_seal(folder: Path, expected: Mapping[str, str]) -> str | None:
    """The first file of `expected` that is missing in `folder`, or is not as it was sealed; None where all are."""
    for name, digest in expected.items():
        file = folder / name
        if not file.is_file() or _sha256_once(file) != digest:
            return name
    return None


def sweep(folder: Path, older_than: float = 0.0) -> None:
    """Remove what `atomic_write` left below `folder` where it was killed, unless it is younger than so many seconds.

    An older folder that was moved aside and not yet replaced is put back.
    """
    for left in sorted(folder.rglob(".*")):
        name = _ASIDE.fullmatch(left.name)
        try:
            if name is None or time.time() - left.stat().st_mtime < older_than:
                continue
        except OSError:  # another process has just finished it
            continue
        target = left.with_name(name[1])
        if name[2] == "old" and not target.exists():
            left.rename(target)
        else:
            _remove(left)


def require_space(
    folder: Path, need: int, purpose: str, advice: str = "choose another folder with --output-dir"
) -> None:
    """Raise DiskError unless `need` bytes are free where `folder` is, or will be; `advice`: what else to do."""
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    if free < need:
        raise DiskError(
            f"{purpose} needs about {need / 1e6:.0f} MB, but only {free / 1e6:.0f} MB are free at {existing}. "
            f"Free some space, or {advice}."
        )


def sha256(file: Path) -> str:
    """The SHA-256 of a file's content."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def key_of(content: object, size: int) -> str:
    """A hash of plain JSON values, 2 * size hexadecimal digits: equal for equal content, in whatever order it stood."""
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=size).hexdigest()


def _sha256_once(file: Path) -> str:
    """The same, remembered while size and time stay: of gigabytes it takes seconds, and a run asks more than once."""
    stat = file.stat()
    return _remembered(file, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=256)
def _remembered(file: Path, size: int, mtime_ns: int) -> str:
    return sha256(file)


def _unlock(path: Path) -> None:
    """Give the files that a library keeps to their owner, as safetensors does, the mode of a file that a user makes."""
    private = [file for file in _files(path) if file.is_file() and not file.stat().st_mode & 0o077]
    if private:
        usual = _usual_mode(path.parent)
        for file in private:
            file.chmod(usual)


def _usual_mode(folder: Path) -> int:
    """The mode of a new file: to ask for the umask itself is to change it for a moment, for every thread."""
    file = _beside(folder / "mode", "part")
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        return os.fstat(handle).st_mode & 0o777
    finally:
        os.close(handle)
        file.unlink()


def _files(path: Path) -> list[Path]:
    """All that is at a path: a file, or a folder with everything in it, itself last."""
    return [*path.rglob("*"), path] if path.is_dir() else [path]


def _flush(path: Path) -> None:
    for file in _files(path):
        _fsync(file)


def _fsync(path: Path) -> None:
    """Have a file or folder reach the disk; Windows has that for files alone, and those that may be written to."""
    if sys.platform == "win32" and path.is_dir():
        return
    handle = os.open(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _beside(target: Path, ending: str) -> Path:
    return target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.{ending}")


def _take_place(aside: Path, target: Path) -> None:
    if (
        target.is_dir() and not target.is_symlink()
    ):  # a folder cannot be replaced in one step: move the old one away first
        if not aside.is_dir():  # by a file, all that is in it would be lost
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
        old = _beside(target, "old")
        target.rename(old)
        aside.rename(target)
        _remove(old)
    else:
        os.replace(aside, target)
    _fsync(target.parent)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _of_system(error: OSError | SafetensorError) -> OSError | None:
    """The system's error; safetensors has it in its own words alone, even where the disk is full."""
    if isinstance(error, OSError):
        return error
    said = re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(said[1]), os.strerror(int(said[1]))) if said else None


def _explained(error: OSError, target: Path) -> DiskError:
    reason = DISK_REASONS.get(error.errno or 0, f"{error.strerror or error}")
    return DiskError(f"{target} could not be written: {reason}. What was there before is unchanged.")
