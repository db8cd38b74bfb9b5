"""A file is whole or not there, and the user hears why."""

import errno
import fcntl
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from dreambooth.errors import DiskError
from dreambooth.support import files
from dreambooth.support.files import atomic_write, broken_seal, require_space, seals, write_json, write_text
from dreambooth.support.tensor_files import save_tensors


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two things about flushing that Windows refuses, as it refuses them."""

    def open_file(path: Path, flags: int) -> int:
        if Path(path).is_dir():
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return os.open(path, flags)

    def flush(handle: int) -> None:
        if fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        os.fsync(handle)

    monkeypatch.setattr(files, "sys", SimpleNamespace(platform="win32"))
    monkeypatch.setattr(files, "os", SimpleNamespace(**{**vars(os), "open": open_file, "fsync": flush}))


@pytest.mark.usefixtures("windows")
def test_windows_flushes_no_folder_and_no_file_that_is_only_read(tmp_path: Path) -> None:
    write_text(tmp_path / "note.txt", "whole")
    for name in ("first", "second"):
        with atomic_write(tmp_path / "model") as aside:
            (aside / "unet").mkdir(parents=True)
            (aside / "unet" / name).write_text(name)
    found = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert found == ["model/unet/second", "note.txt"]


def test_what_is_sealed_on_one_system_is_read_on_another(tmp_path: Path) -> None:
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "weights").write_text("x")
    assert list(seals(tmp_path)) == ["unet/weights"]
    assert broken_seal(tmp_path, seals(tmp_path)) is None


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_what_a_library_keeps_to_its_owner_is_written_under_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with atomic_write(tmp_path / "model") as aside:
            (aside / "unet").mkdir(parents=True)
            save_file({"weight": torch.zeros(2)}, aside / "unet" / "weights.safetensors")
            (aside / "config.json").write_text("{}")
        with atomic_write(tmp_path / "lora.safetensors") as aside:
            save_tensors(aside, {"weight": torch.zeros(2)})
    finally:
        os.umask(before)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 3
    assert {file.stat().st_mode & 0o777 for file in files} == {0o666 & ~umask}


def test_who_may_run_a_file_or_write_to_it_is_left_as_it_was(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "tool") as aside:
        aside.touch(0o755)
        aside.chmod(0o754)
    assert (tmp_path / "tool").stat().st_mode & 0o777 == 0o754


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
    with pytest.raises(KeyError), atomic_write(target) as aside:
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
    with pytest.raises(DiskError, match=said), atomic_write(tmp_path / "note.txt"):
        raise OSError(number, os.strerror(number))


def test_a_folder_takes_the_place_of_an_older_folder(tmp_path: Path) -> None:
    target = tmp_path / "model"
    for name in ("first", "second"):
        with atomic_write(target) as aside:
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


def test_what_to_do_without_space_is_the_callers_to_say(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match=r"Free some space, or choose another folder with --output-dir\.$"):
        require_space(tmp_path, 10**18, "a test")
    with pytest.raises(DiskError, match=r"Free some space, or go home\.$"):
        require_space(tmp_path, 10**18, "a test", "go home")


def test_a_disk_that_is_full_for_safetensors_is_told_as_any(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with (
        files_no_larger_than(1_000),
        pytest.raises(DiskError, match="model could not be written: a file is too large for this disk, or for a limit"),
        atomic_write(target) as aside,
    ):
        aside.mkdir()
        save_file({"weight": torch.zeros(1_000)}, aside / "weights.safetensors")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(SafetensorError, match="no fault of the disk"), atomic_write(target):
        raise SafetensorError("no fault of the disk")


def test_a_file_never_takes_the_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "thesis.txt").write_text("x")
    with pytest.raises(DiskError):
        write_text(tmp_path / "results", "{}")
    assert (tmp_path / "results" / "thesis.txt").read_text() == "x"
    assert [path.name for path in tmp_path.iterdir()] == ["results"]
