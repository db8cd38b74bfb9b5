"""The stop button of a long stage: Ctrl-C, SIGTERM and whoever asks end it where it can be resumed."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from dreambooth.support.progress import log

_COLLECTING: list[list[str]] = []
"""What each `stop_signal` that is open has received, the innermost last."""


@contextmanager
def stop_signal() -> Iterator[list[str]]:
    """Collect the names of SIGINT, SIGTERM and SIGHUP; the second one acts as it did before, which stops at once.

    One that came too late to be looked at ends in KeyboardInterrupt, so that none is lost. `stop_asked` is collected
    as a signal is, in a thread too.
    """
    received: list[str] = []
    _COLLECTING.append(received)
    try:
        if threading.current_thread() is threading.main_thread():  # it alone may ask for signals
            with _handled(received):
                yield received
        else:
            yield received
    finally:
        _COLLECTING.pop()
    if received:
        raise stopped_by(received[0])


def stop_asked(by: str) -> None:
    """Stop as a signal would: inside `stop_signal` it is collected, elsewhere KeyboardInterrupt ends everything."""
    if not _COLLECTING:
        raise stopped_by(by)
    if not _COLLECTING[-1]:
        _COLLECTING[-1].append(by)
        log.warning("%s: finishing this step and saving", by)


@contextmanager
def _handled(received: list[str]) -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, *_ending())}

    def note(number: int, frame: FrameType | None) -> None:
        received.append(signal.Signals(number).name)
        log.warning("%s: finishing this step and saving; once more stops at once", received[-1])
        _restore(before)

    try:
        for number in before:
            signal.signal(number, note)
        yield
    finally:
        _restore(before)


@contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """Inside, SIGTERM and SIGHUP end everything at once as Ctrl-C does, so that nothing is left half done."""

    def stop(number: int, frame: FrameType | None) -> None:
        # no DreamBoothError: what catches those of a damaged file would catch it too
        raise stopped_by(signal.Signals(number).name)

    before = {number: signal.signal(number, stop) for number in _ending()}
    try:
        yield
    finally:
        _restore(before)


def _ending() -> list[signal.Signals]:
    """SIGTERM, and where a terminal that closes sends it, SIGHUP: not under nohup, which has it ignored."""
    hangup = getattr(signal, "SIGHUP", None)  # not on Windows
    return [signal.SIGTERM] + ([hangup] if hangup and signal.getsignal(hangup) is not signal.SIG_IGN else [])


def stopped_by(name: str) -> KeyboardInterrupt:
    """What to raise for a signal that ends everything at once."""
    return KeyboardInterrupt(f"stopped by {name}: run the same command again to resume.")


def _restore(handlers: dict[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)
