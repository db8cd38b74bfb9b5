"""Whatever the system or a library raises for what a user can mend is a sentence, whoever raised it."""

import errno
import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from dreambooth import __version__, cli, errors
from dreambooth.errors import DISK_REASONS, ConfigError, in_words


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried to"),
    ],
)
def test_too_little_memory_is_a_sentence_with_what_takes_less(error: Exception) -> None:
    assert "not enough memory" in str(in_words(error)) and "--gradient-checkpointing" in str(in_words(error))


def test_memory_that_a_cpu_does_not_have_is_that_error() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60)
    assert "not enough memory" in str(in_words(caught.value))


@pytest.mark.parametrize("number", [*DISK_REASONS, errno.EBUSY])
def test_every_refusal_of_a_disk_names_the_file(number: int) -> None:
    sentence = in_words(OSError(number, os.strerror(number), "/some/file"))
    assert sentence is not None and sentence.startswith("/some/file: ") and sentence.endswith(".")


def test_a_fault_of_the_package_keeps_its_traceback() -> None:
    for error in (KeyError("x"), TypeError("x"), RuntimeError("shape mismatch"), AssertionError()):
        assert in_words(error) is None


RUN = ["run", "photos", "--class-noun", "dog", "--output-dir"]


def dreambooth(words: Sequence[str | bytes], where: Path, **environment: str) -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-m", "dreambooth", *words]
    own = {"PYTHONPATH": str(Path(errors.__file__).parents[1]), **environment}
    return subprocess.run(command, cwd=where, capture_output=True, check=False, env={**os.environ, **own})


@pytest.fixture
def place(tmp_path: Path, photos_dir: Path) -> Path:
    (tmp_path / "photos").symlink_to(photos_dir)
    (tmp_path / "file").write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("file/below", "the run folder cannot be made: file/below: a part of it is a file"),
        ("/proc/nowhere", "the run folder cannot be made: /proc/nowhere"),
        ("x" * 300, "a name in it is too long"),
    ],
)
def test_a_run_folder_that_cannot_be_is_a_sentence(
    output: str, said: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    assert cli.main([*RUN, output], __version__) == 2
    assert said in capsys.readouterr().err


def test_a_terminal_that_lacks_a_letter_of_a_path_shows_its_number(place: Path) -> None:
    words: list[str | bytes] = ["toybox", "photos", "--class-noun", "dog", "--seed", "1", "--size", "32"]
    words += ["--out", "снег".encode()]
    result = dreambooth(words, place, PYTHONIOENCODING="ascii", PYTHONUTF8="1")
    assert result.returncode == 0 and b"\\u0441\\u043d\\u0435\\u0433" in result.stdout


def test_an_error_of_another_process_is_the_same_here() -> None:
    error = ConfigError(["seed: must be a whole number", "resolution: is too small"])
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is ConfigError and again.problems == error.problems and str(again) == str(error)
