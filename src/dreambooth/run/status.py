"""What a run does now, in status.json for whoever sees the folder, and the file "stop" by which any of them ends it.

A thread writes it once a second at most, so no step waits for the disk; and it is not flushed, as it is news.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

from dreambooth.errors import DreamBoothError, Interrupted, RunError, in_words
from dreambooth.run.files import JsonFile
from dreambooth.support import progress
from dreambooth.support.files import replace_text
from dreambooth.support.signals import stop_asked

STOP = "stop"
"""The file whose making stops a run: `touch RUN_DIR/stop`. What is in it does not matter; the run removes it."""

SAMPLE = "sample"
"""The file that asks a training for samples now: `touch RUN_DIR/sample`; the run removes it."""

BY_FILE = f'the file "{STOP}"'
"""What the run then says that it was stopped by."""

TICK, HEARTBEAT = 1.0, 5.0
"""Seconds between two looks at what has changed, and between two lines of life where nothing has."""

LOST = 30.0
"""Seconds without a heartbeat after which nobody can be running."""


@dataclass(frozen=True, kw_only=True)
class Inner:
    """Work inside other work, such as the samples of a probe while it trains."""

    what: str
    done: int
    total: int


@dataclass(frozen=True, kw_only=True)
class Status:
    """What status.json says.

    stage: as timings.json names it, "finetune".  what: in words, "fine-tuning"; of `total` items `done` are finished
    and the others take about `seconds_left`.  began, heartbeat: seconds since 1970; by the clock of `host`.  message:
    of a run that stopped or failed, why, and what to do.  whole: nothing of the method is left to do, whatever a
    command on the finished run did since; None: written by a version that did not say it.
    """

    state: Literal["running", "done", "stopped", "failed"]
    stage: str = ""
    what: str = ""
    done: int = 0
    total: int = 0
    seconds_left: float | None = None
    inner: Inner | None = None
    message: str = ""
    whole: bool | None = None
    began: float = 0.0
    heartbeat: float = 0.0
    process: int = 0
    host: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether nothing of the method is left to do, as far as it was said."""
        return self.state == "done" if self.whole is None else self.whole

    def is_alive(self, now: float) -> bool:
        """Whether its process still runs at the time `now`, as far as its last heartbeat tells."""
        return self.state == "running" and abs(now - self.heartbeat) < LOST  # a clock may have been set back


STATUS = JsonFile("status.json", Status)


def read_status(root: Path) -> Status | None:
    """What the run in this folder last said; None where it never did, or said it in another version's words."""
    with suppress(RunError, OSError):
        return STATUS.find(root)
    return None


def ask_to_stop(root: Path) -> None:
    """Have the run in this folder save and end, within a step of its training; raises OSError."""
    (root / STOP).touch()


def ask_for_samples(root: Path) -> None:
    """Have the training in this folder draw some samples after its next step; raises OSError."""
    (root / SAMPLE).touch()


def samples_asked(root: Path) -> bool:
    """Whether somebody asked for samples since the last call; of a run that this process reports."""
    reporter = _REPORTERS.get(root)
    return reporter is not None and reporter.answer()


@contextmanager
def reported(root: Path, whole: bool = False) -> Iterator[None]:
    """Inside, status.json tells what is tracked and how it ended, and a file "stop" ends it as SIGTERM would.

    whole: whether this is all of the method, or a part of it, which leaves the run as whole as it was.
    """
    before = read_status(root)
    reporter = _Reporter(root, before.whole if before and not whole else False)
    _REPORTERS[root] = reporter
    progress.WATCHERS.append(reporter.look)
    try:  # Ctrl-C may come while it starts, too
        reporter.start()
        yield
    except BaseException as error:
        reporter.end("stopped" if isinstance(error, KeyboardInterrupt | Interrupted) else "failed", _sentence(error))
        raise
    else:
        reporter.whole = whole or reporter.whole
        reporter.end("done")
    finally:
        progress.WATCHERS.remove(reporter.look)
        del _REPORTERS[root]


@contextmanager
def within(root: Path, stage: str) -> Iterator[None]:
    """Inside, the run in this folder is at `stage`; stages inside a stage are not told."""
    reporter = _REPORTERS.get(root)
    if reporter is None or reporter.stage:
        yield
        return
    reporter.look()
    reporter.stage = stage
    try:
        yield
    finally:
        reporter.stage = ""


@final
class _Reporter:
    """Writes status.json of one run, and looks for its stop file."""

    def __init__(self, root: Path, whole: bool | None) -> None:
        self.root, self.stage, self.whole = root, "", whole
        self._began, self._said = time.time(), ""
        self._spoke, self._asked, self._wanted = 0.0, False, False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="status.json", daemon=True)

    def start(self) -> None:
        """Begin to write; a stop file from before does not count."""
        self._clear()
        progress.UNDER_WAY.clear()  # what an error left there
        self._tell(self._now())
        self._thread.start()

    def look(self) -> None:
        """Called by the thread that works, between two items: stop here where that was asked for."""
        if self._asked:
            stop_asked(BY_FILE)

    def end(self, state: Literal["done", "stopped", "failed"], message: str = "") -> None:
        """Say how it ended, and take the stop file away."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        self._tell(self._now(state, message))
        self._clear()

    def answer(self) -> bool:
        """Whether samples are wanted; asked once, they are wanted once."""
        wanted, self._wanted = self._wanted, False
        return wanted

    def _clear(self) -> None:
        for name in (STOP, SAMPLE):
            with suppress(OSError):
                (self.root / name).unlink(missing_ok=True)

    def _run(self) -> None:
        while not self._ended.wait(TICK):
            self._asked = self._asked or (self.root / STOP).exists()
            with suppress(OSError):
                (self.root / SAMPLE).unlink()
                self._wanted = True
            self._tell(self._now())

    def _now(self, state: Literal["running", "done", "stopped", "failed"] = "running", message: str = "") -> Status:
        under_way = tuple(progress.UNDER_WAY)
        outer, inner = (under_way[0], under_way[-1]) if under_way else (None, None)
        return Status(
            state=state,
            stage=self.stage,
            what=outer.what if outer else "",
            done=outer.done if outer else 0,
            total=outer.total if outer else 0,
            seconds_left=outer.seconds_left if outer else None,
            inner=Inner(what=inner.what, done=inner.done, total=inner.total) if inner and inner is not outer else None,
            message=message,
            whole=self.whole,
            began=round(self._began, 1),
            process=os.getpid(),
            host=socket.gethostname(),
        )

    def _tell(self, status: Status) -> None:
        """Write where anything is new, or nothing was written for a while; a disk that refuses stops no run."""
        plain, now = STATUS.plain(status), time.time()
        text = json.dumps(plain)
        if text == self._said and now - self._spoke < HEARTBEAT:
            return
        self._said, self._spoke = text, now
        with suppress(OSError):
            replace_text(self.root / STATUS.name, json.dumps({**plain, "heartbeat": round(now, 1)}, indent=2) + "\n")


_REPORTERS: dict[Path, _Reporter] = {}


def _sentence(error: BaseException) -> str:
    if isinstance(error, DreamBoothError | KeyboardInterrupt):
        return str(error)
    return in_words(error) or f"{type(error).__name__}: {error}"
