"""Callers of this package hear nothing that libraries say to us, and their own logging is as they had it."""

import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from transformers.utils import logging as transformers_logging

from dreambooth.support.libraries import LIBRARIES, hushed
from tiny import tiny_model

ADVICE = "There are modules that should be kept in float32: []"

LOUD = ("TRANSFORMERS_VERBOSITY", "DIFFUSERS_VERBOSITY", "TQDM_DELAY")


@pytest.fixture(autouse=True)
def as_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that says nothing, and loggers as the libraries leave them."""
    for name in LOUD:
        monkeypatch.delenv(name, raising=False)
    for name in LIBRARIES:
        monkeypatch.setattr(logging.getLogger(name), "level", logging.WARNING)
        logging.getLogger(name).manager._clear_cache()  # type: ignore[attr-defined]


def levels() -> list[int]:
    """Of the libraries' loggers."""
    return [logging.getLogger(name).level for name in LIBRARIES]


def test_advice_is_hidden_for_a_moment_and_errors_are_not(caplog: pytest.LogCaptureFixture) -> None:
    before, advising = levels(), logging.getLogger("bitsandbytes.backends.cpu.ops")
    with hushed():
        advising.warning(ADVICE)
        advising.error("it is broken")
        assert not transformers_logging._tqdm_active
    advising.warning("after")
    assert caplog.messages == ["it is broken", "after"]
    assert levels() == before and transformers_logging._tqdm_active


def test_what_somebody_asked_for_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFORMERS_VERBOSITY", "warning")
    monkeypatch.setenv("TQDM_DELAY", "2")
    logging.getLogger("diffusers").setLevel(logging.INFO)
    with hushed():
        told = {name: logging.getLogger(name).getEffectiveLevel() for name in ("diffusers", "transformers", "peft")}
        assert told == {"diffusers": logging.INFO, "transformers": logging.WARNING, "peft": logging.ERROR}
        assert transformers_logging._tqdm_active


def test_a_level_that_a_library_sets_as_it_is_imported_stays() -> None:
    with hushed():
        logging.getLogger("peft").setLevel(logging.INFO)
    assert logging.getLogger("peft").level == logging.INFO


def test_of_two_threads_the_last_one_out_puts_it_back() -> None:
    before, inside, done = levels(), threading.Event(), threading.Event()

    def other() -> None:
        with hushed():
            inside.set()
            done.wait(10)

    thread = threading.Thread(target=other)
    with hushed():
        thread.start()
        assert inside.wait(10)
    assert levels() == [logging.ERROR] * len(LIBRARIES)
    done.set()
    thread.join()
    assert levels() == before


OPENED_CAST_SAVED = """
import logging, sys
import dreambooth
from dreambooth import Config, Run, Subject, generate  # what the README imports
from dreambooth.config import Base
from dreambooth.evaluation import load_judges
from dreambooth import models

base, target = sys.argv[1:]
model = models.load(Base(model=base))
load_judges(Config.build().evaluation, Config.build().world)
model.weights.round_to(__import__("torch").bfloat16)
model.save(__import__("pathlib").Path(target))
import diffusers, transformers
for library in (diffusers, transformers):
    assert library.utils.logging.get_verbosity() == logging.WARNING, library
    assert library.utils.logging.is_progress_bar_enabled(), library
assert logging.getLogger("bitsandbytes").level == logging.NOTSET
assert not logging.getLogger().handlers
"""
COMMANDS = {
    "python": ["-c", OPENED_CAST_SAVED],
    "command": ["-m", "dreambooth", "export", "--dtype=float16", "--folder"],
}


@pytest.mark.parametrize("way", COMMANDS)
def test_a_model_is_opened_cast_and_saved_without_a_word_of_the_libraries(way: str, tmp_path: Path) -> None:
    """Among them bitsandbytes' line about "kernels", on a processor that has such."""
    tiny_model().save(tmp_path / "base")
    quiet = {name: value for name, value in os.environ.items() if name not in LOUD}
    words = [str(tmp_path / name) for name in ("base", "target")]
    words = words if way == "python" else words[::-1]
    done = subprocess.run([sys.executable, *COMMANDS[way], *words], capture_output=True, text=True, env=quiet)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "target" / "model_index.json").is_file()
