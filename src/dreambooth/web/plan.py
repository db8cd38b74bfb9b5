"""The plan of a draft, by `dreambooth run --plan`: it opens the model, and this process has no torch."""

import re
import subprocess
import threading
from collections.abc import Callable, Sequence
from typing import Any

SECONDS = 600
"""A large model takes minutes to open."""
KEPT = 64
"""Plans that are remembered."""
WAITING = 4
"""Requests for plans at a time; each keeps one of the server's threads, which has forty."""

_ROW = re.compile(r"(plan|  \w+) +(.+)")
_SAVING = re.compile(r"(--\S+(?: [^:\s]+)?): (.+)")


class Plans:
    """Makes plans, one at a time. command: how the command line is started."""

    def __init__(self, command: Sequence[str]) -> None:
        self.command = tuple(command)
        self._lock, self._known = threading.Lock(), dict[tuple[str, ...], dict[str, Any]]()
        self._places = threading.BoundedSemaphore(WAITING)

    def of(self, words: Sequence[str], wanted: Callable[[], bool], content: str) -> dict[str, Any]:
        """The plan of a command: `rows` of a name and what is said of it, `less` with a flag and what it saves.

        wanted: whether anybody still waits when it is this one's turn.  content: what it depends on beside the words.
        `says` is what to tell where there is no plan.
        """
        if not self._places.acquire(blocking=False):
            return _none("Other plans are being made: open this page again in a minute.")
        try:
            with self._lock:
                return self._known_or_made((content, *words), words, wanted)
        finally:
            self._places.release()

    def _known_or_made(self, key: tuple[str, ...], words: Sequence[str], wanted: Callable[[], bool]) -> dict[str, Any]:
        if key not in self._known:
            if not wanted():
                return _none("Something was changed meanwhile.")
            if (made := self._make(words))["says"]:
                return made
            self._known[key] = made
            while len(self._known) > KEPT:
                del self._known[next(iter(self._known))]
        return self._known[key]

    def _make(self, words: Sequence[str]) -> dict[str, Any]:
        try:
            done = subprocess.run(
                [*self.command, *words, "--plan"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=SECONDS,
            )
        except subprocess.TimeoutExpired:
            return _none("It took too long. The run tells its plan when it starts.")
        if done.returncode:
            return _none(done.stderr.rpartition("dreambooth: ")[2].strip())
        return read(done.stdout)


def read(told: str) -> dict[str, Any]:
    """What `Plan.told` has written, row by row."""
    found = [match for line in told.splitlines() if (match := _ROW.fullmatch(line))]
    rows = [{"name": match[1].strip(), "text": match[2]} for match in found]
    savings = [_SAVING.fullmatch(row["text"]) for row in rows if row["name"] == "less"]
    less = [{"flag": match[1], "says": match[2]} for match in savings if match]
    return {"rows": [row for row in rows if row["name"] != "less"], "less": less, "says": ""}


def _none(says: str) -> dict[str, Any]:
    return {"rows": [], "less": [], "says": says}
