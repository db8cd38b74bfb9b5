"""What a stage shows while it runs: a bar with the time left, and the log."""

import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar, cast

T = TypeVar("T")

SECONDS_BETWEEN_LINES = 10.0

log = logging.getLogger("dreambooth")
"""Every stage writes here; the command line shows it, a library user decides for himself."""
log.addHandler(logging.NullHandler())


def show_log() -> None:
    """Write the log to stderr, each line as it is; warnings and worse by their names."""

    class Plain(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            prefix = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
            return prefix + record.getMessage()

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Plain())
    log.handlers = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False


@contextmanager
def shown_in(file: Path) -> Iterator[None]:
    """Inside, whatever a stage shows is added to a file, as lines."""
    handlers, level, passed_on = log.handlers, log.level, log.propagate
    with file.open("a", encoding="utf-8") as said, redirect_stderr(said):
        show_log()
        try:
            yield
        finally:
            log.handlers, log.propagate = handlers, passed_on
            log.setLevel(level)


def track(items: Sequence[T], what: str, done: int = 0, together: int = 1) -> Iterator[T]:
    """Yield `items`, showing on stderr how many are finished and how long the rest will take.

    On a terminal this is a bar; elsewhere, in a log file say, a plain line about every ten seconds. `done` items were
    finished by an earlier run: they count as finished, and not towards the speed. Items are made `together` at a time:
    the time until the first of them is that of all of them.
    """
    left = _Left(len(items), together)
    shown = (_bar if sys.stderr.isatty() else _lines)(items, what, done, left)
    return _announced(shown, UnderWay(what, done, done + len(items)), left) if WATCHERS else shown


def duration(seconds: float) -> str:
    """Seconds as a person says them: "48 s", "3 min 20 s", "1 h 05 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class _Left:
    """The seconds that the rest of some items will take, by the batches that were made so far."""

    def __init__(self, count: int, together: int) -> None:
        self.count, self.together, self.began = count, together, time.monotonic()

    def after(self, finished: int, now: float) -> float:
        """Once so many were handed out at `now`."""
        made = min(-(-finished // self.together) * self.together, self.count)
        return (now - self.began) / made * (self.count - made)


@dataclass(eq=False)
class UnderWay:
    """What is being tracked: `done` items of `total`, and about how long the others take; None before the first."""

    what: str
    done: int
    total: int
    seconds_left: float | None = None


UNDER_WAY: list[UnderWay] = []
"""All of it, the outermost first; kept while there are watchers."""

WATCHERS: list[Callable[[], None]] = []
"""Called between two items of whatever is tracked; what one raises ends it."""


def _announced(shown: Iterator[T], mine: UnderWay, left: _Left) -> Iterator[T]:
    before = mine.done
    UNDER_WAY.append(mine)
    try:
        for item in shown:
            for watch in tuple(WATCHERS):
                watch()
            yield item
            mine.done += 1
            mine.seconds_left = round(left.after(mine.done - before, time.monotonic()), 1)
        for watch in tuple(WATCHERS):
            watch()
    finally:
        if mine in UNDER_WAY:
            UNDER_WAY.remove(mine)


class _News:
    """A stream that whoever read it may have left, by closing a pipe or a terminal: no work ends for that."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write what can be written."""
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Have it written, where it can be."""
        with suppress(OSError):
            self._stream.flush()


def _lines(items: Sequence[T], what: str, done: int, left: _Left) -> Iterator[T]:
    total, spoke = done + len(items), left.began
    for count, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if count == len(items):
            print(f"{what}: {total}/{total}, took {duration(now - left.began)}", file=_News(sys.stderr), flush=True)
        elif now - spoke >= SECONDS_BETWEEN_LINES:
            still = duration(left.after(count, now))
            print(f"{what}: {done + count}/{total}, {still} left", file=_News(sys.stderr), flush=True)
            spoke = now


def _bar(items: Sequence[T], what: str, done: int, left: _Left) -> Iterator[T]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[left]}"))
    with Progress(*columns, console=Console(file=cast(IO[str], _News(sys.stderr)))) as progress:
        task = progress.add_task(what, total=done + len(items), completed=done, left="")
        for count, item in enumerate(items, start=1):
            yield item
            progress.update(task, advance=1, left=f"{duration(left.after(count, time.monotonic()))} left")
