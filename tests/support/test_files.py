"""A file is whole or not there, and the user hears why."""

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dreambooth.errors import DiskError
from dreambooth.support.files import require_space, write_json, write_text, written_aside


@contextmanager
def files_no_larger_than(limit: int) -> Iterator[None]:
    """The kernel refuses to write more than `limit` bytes to one file, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "note.txt"
    write_text(target, "old")
    with pytest.raises(KeyError), written_aside(target) as aside:
        aside.write_text("half")
        raise KeyError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_disk_that_refuses_is_a_disk_error_and_leaves_no_partial_file(tmp_path: Path) -> None:
    target = tmp_path / "big.txt"
    write_text(target, "old")
    with files_no_larger_than(1000), pytest.raises(DiskError, match="could not be written"):
        write_text(target, "x" * 5000)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("number", "said"), [(errno.ENOSPC, "disk is full"), (errno.EACCES, "may not write"), (errno.EROFS, "read-only")]
)
def test_every_refusal_says_what_to_do(tmp_path: Path, number: int, said: str) -> None:
    with pytest.raises(DiskError, match=said), written_aside(tmp_path / "note.txt"):
        raise OSError(number, os.strerror(number))


def test_a_folder_takes_the_place_of_an_older_folder(tmp_path: Path) -> None:
    target = tmp_path / "model"
    for name in ("first", "second"):
        with written_aside(target) as aside:
            aside.mkdir()
            (aside / name).write_text(name)
    assert [file.name for file in target.iterdir()] == ["second"]
    assert list(tmp_path.iterdir()) == [target]


def test_json_is_readable_and_keeps_its_letters(tmp_path: Path) -> None:
    write_json(tmp_path / "deeper" / "value.json", {"class_noun": "Müsli"})
    assert "Müsli" in (tmp_path / "deeper" / "value.json").read_text(encoding="utf-8")


def test_space_is_asked_for_before_it_is_needed(tmp_path: Path) -> None:
    require_space(tmp_path / "not" / "yet", 1, "a test")
    with pytest.raises(DiskError, match="a test needs about"):
        require_space(tmp_path / "not" / "yet", 10**18, "a test")
