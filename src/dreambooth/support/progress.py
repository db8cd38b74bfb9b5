"""What a stage tells while it runs: a bar with the time left, and the log."""

import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

SECONDS_BETWEEN_LINES = 10.0

log = logging.getLogger("dreambooth")
"""Every stage writes here; the command line shows it, a library user decides for himself."""
log.addHandler(logging.NullHandler())


def quiet_libraries() -> None:
    """Silence transformers' and diffusers' advice, which is for the people who call them; before they are imported.

    Their progress bars stay for what takes long, such as a download. What the environment already says is respected.
    """
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("TQDM_DELAY", "5")


def track(items: Sequence[T], what: str, done: int = 0) -> Iterator[T]:
    """Yield `items`, showing on stderr how many are finished and how long the rest will take.

    On a terminal this is a bar; elsewhere, in a log file say, a plain line about every ten seconds. `done` items were
    finished by an earlier run: they count as finished, and not towards the speed.
    """
    return _bar(items, what, done) if sys.stderr.isatty() else _lines(items, what, done)


def duration(seconds: float) -> str:
    """Seconds as a person says them: "48 s", "3 min 20 s", "1 h 05 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _lines(items: Sequence[T], what: str, done: int) -> Iterator[T]:
    total = done + len(items)
    began = spoke = time.monotonic()
    for count, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if count == len(items):
            print(f"{what}: {total}/{total}, took {duration(now - began)}", file=sys.stderr, flush=True)
        elif now - spoke >= SECONDS_BETWEEN_LINES:
            left = (now - began) / count * (len(items) - count)
            print(f"{what}: {done + count}/{total}, {duration(left)} left", file=sys.stderr, flush=True)
            spoke = now


def _bar(items: Sequence[T], what: str, done: int) -> Iterator[T]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("left"), console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=done + len(items), completed=done)
        for item in items:
            yield item
            progress.advance(task)
