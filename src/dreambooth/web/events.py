"""What happens in a run, as server-sent events that anyone may follow from any place.

    status    the run as `Views.run` has it, whenever it changes
    losses    new lines of losses.jsonl, [step, loss, subject, prior]; with `restart` they begin anew
    changed   which of "samples", "scores" and "verdict" are others than before

An event's id is the place in losses.jsonl that was reached, so a page that comes back misses nothing; the server keeps
nothing for it. One look at the folder serves all who follow a run.
"""

import asyncio
import json
import re
import time
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from dreambooth.errors import DreamBoothError
from dreambooth.run.contents import REPORT, SAMPLES
from dreambooth.run.records import LOSSES, MODEL, RECOMMENDATION, SCORES
from dreambooth.run.records import SAMPLES as SCORED

LOOK = 0.5
"""Seconds between two looks at a run's folder."""
ALIVE = 15.0
"""Seconds without news after which a line is sent, so that no proxy between hangs up."""
MOST = 1 << 18
"""Bytes of losses.jsonl that are read at a time."""


class Watch:
    """One run as all its followers see it: looked at while there are any."""

    def __init__(self, folder: Path, view: Callable[[], dict[str, Any]]) -> None:
        self.folder, self._view = folder, view
        self.status, self.marks = "", dict[str, Any]()
        self.version, self.followers = 0, 0
        self.changed = asyncio.Condition()

    async def look(self) -> None:
        """See what is new and tell everybody."""
        try:
            view = await asyncio.to_thread(self._view)
            marks = await asyncio.to_thread(_marks, self.folder)
        except Exception as error:  # the folder is being removed: followers are told, and no other run suffers
            view, marks = {"gone": type(error).__name__}, {}
        status = json.dumps(view, sort_keys=True)
        if (status, marks) != (self.status, self.marks):
            async with self.changed:
                self.status, self.marks, self.version = status, marks, self.version + 1
                self.changed.notify_all()

    async def is_newer(self, version: int, patience: float) -> bool:
        """Wait for something newer than a version; False where nothing came for so many seconds."""
        if self.version == version:
            try:
                async with asyncio.timeout(patience), self.changed:
                    await self.changed.wait_for(lambda: self.version != version)
            except TimeoutError:
                return False
        return True


class Watches:
    """The runs that somebody follows."""

    def __init__(self) -> None:
        self._watches = dict[str, Watch]()
        self._tasks = dict[str, "asyncio.Task[None]"]()

    async def follow(
        self, id: str, folder: Path, view: Callable[[], dict[str, Any]], place: str, limit: float = float("inf")
    ) -> AsyncIterator[str]:
        """The events of a run from a `place` on; "" is its beginning. limit: seconds after which it ends."""
        watch = self._watches.setdefault(id, Watch(folder, view))
        watch.followers += 1
        if id not in self._tasks:
            self._tasks[id] = asyncio.create_task(self._keep_looking(watch))
        try:
            async for event in _told(watch, place, time.monotonic() + limit):
                yield event
        finally:
            watch.followers -= 1
            if not watch.followers:
                self._watches.pop(id, None)
                if task := self._tasks.pop(id, None):
                    task.cancel()

    @staticmethod
    async def _keep_looking(watch: Watch) -> None:
        while watch.followers:
            await watch.look()
            await asyncio.sleep(LOOK)


async def _told(watch: Watch, place: str, until: float) -> AsyncIterator[str]:
    seen, status, marks = 0, "", dict[str, Any]()
    while time.monotonic() < until:
        if not await watch.is_newer(seen, min(ALIVE, max(0.01, until - time.monotonic()))):
            yield ": still here\n\n"
            continue
        seen = watch.version
        if watch.status != status:
            status = watch.status
            yield event("status", status)
        while True:
            told, place = await asyncio.to_thread(losses_from, watch.folder, place)
            if told is None:
                break
            yield event("losses", json.dumps(told), place)
        others = sorted(name for name in watch.marks if watch.marks[name] != marks.get(name) and name != "losses")
        marks = watch.marks
        if others:
            yield event("changed", json.dumps(others))


def event(name: str, text: str, id: str = "") -> str:
    """As EventSource reads it (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""
    return f"event: {name}\n{f'id: {id}' + chr(10) if id else ''}data: {text}\n\n"


def losses_from(folder: Path, place: str) -> tuple[dict[str, Any] | None, str]:
    """The lines of losses.jsonl after a place, and the place after them; None where there is nothing new.

    A place is "<bytes>-<check>": where the bytes before it are others now, as after a resume, all begins anew.
    """
    offset, _, check = place.partition("-")
    at = int(offset) if re.fullmatch(r"[0-9]{1,15}", offset) else 0
    try:
        with (folder / LOSSES.name).open("rb") as file:
            restart = at > 0 and _check(file, at) != check
            at = 0 if restart else at
            file.seek(at)
            block = file.read(MOST)
            whole = block[: block.rfind(b"\n") + 1]
            after = f"{at + len(whole)}-{_check(file, at + len(whole))}"
    except OSError:
        return ({"restart": True, "rows": []}, "") if at else (None, place)
    if not whole and not restart:
        return None, place
    return {"restart": restart or at == 0, "rows": list(_rows(whole))}, after


def _rows(text: bytes) -> Any:
    for line in text.decode("utf-8", "replace").splitlines():
        try:
            loss = LOSSES.adapter.validate_json(line, strict=True)
        except (ValueError, DreamBoothError):
            continue
        yield [loss.step, loss.loss, loss.subject, loss.prior]


def _check(file: Any, at: int) -> str:
    """A check of the bytes just before a place."""
    file.seek(max(0, at - 128))
    return f"{zlib.crc32(file.read(min(at, 128))):08x}"


def _marks(folder: Path) -> dict[str, Any]:
    """What changes when something does."""
    return {
        "losses": _mark(folder / LOSSES.name),
        "scores": _mark(folder / SCORES.name),
        "verdict": [_mark(folder / name) for name in (RECOMMENDATION.name, SCORED.name, MODEL.name, REPORT)],
        "samples": [(path.name, _mark(path)) for path in sorted((folder / SAMPLES).glob("*"))],
    }


def _mark(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size
