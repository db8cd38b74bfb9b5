"""Files that are either whole or not there: written aside, flushed, then renamed."""

import errno
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dreambooth.errors import DiskError


@contextmanager
def written_aside(target: Path) -> Iterator[Path]:
    """Yield a path beside `target` to write a file or a folder to; it takes `target`'s place only when complete.

    A file replaces an older file; a folder replaces an older folder. Nothing is left behind on an error.
    Raises DiskError where the disk is full or not writable.
    """
    aside = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        aside.parent.mkdir(parents=True, exist_ok=True)
        yield aside
        _flush(aside)
        _take_place(aside, target)
    except OSError as error:
        _remove(aside)
        raise _explained(error, target) from error
    except BaseException:
        _remove(aside)
        raise


def write_json(target: Path, value: Any) -> None:
    """Write `value` as readable JSON, whole or not at all."""
    with written_aside(target) as aside:
        aside.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_text(target: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with written_aside(target) as aside:
        aside.write_text(text, encoding="utf-8")


def require_space(folder: Path, need: int, purpose: str) -> None:
    """Raise DiskError unless `need` bytes are free where `folder` is, or will be."""
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    if free < need:
        raise DiskError(
            f"{purpose} needs about {need / 1e6:.0f} MB, but only {free / 1e6:.0f} MB are free at {existing}. "
            "Free some space, or choose another folder with --output-dir."
        )


def _flush(path: Path) -> None:
    for file in [path] if path.is_file() else [*path.rglob("*"), path]:
        handle = os.open(file, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _take_place(aside: Path, target: Path) -> None:
    if (
        target.is_dir() and not target.is_symlink()
    ):  # a folder cannot be replaced in one step: move the old one away first
        old = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.old")
        target.rename(old)
        aside.rename(target)
        _remove(old)
    else:
        os.replace(aside, target)
    handle = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _explained(error: OSError, target: Path) -> DiskError:
    reasons = {
        errno.ENOSPC: "the disk is full: free some space and run the same command again",
        errno.EDQUOT: "your disk quota is used up: free some space and run the same command again",
        errno.EACCES: "you may not write there: choose another folder with --output-dir",
        errno.EROFS: "the disk is read-only: choose another folder with --output-dir",
    }
    reason = reasons.get(error.errno or 0, f"{error.strerror or error}")
    return DiskError(f"{target} could not be written: {reason}. What was there before is unchanged.")
