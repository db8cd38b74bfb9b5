"""progress.py: plain lines where there is no terminal."""

import os
import sys
import time
from contextlib import suppress

import pytest

from dreambooth.support import progress


def test_what_is_tracked_comes_through_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress.track(range(3, 6), "steps", done=3)) == [3, 4, 5]
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "steps: 6/6, took 0 s\n"


def test_nothing_to_do_is_nothing_to_say(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress.track([], "steps", done=3)) == []
    assert capsys.readouterr().err == ""


def test_a_line_every_few_seconds_tells_the_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]  # not by looks at it: threads that earlier tests left look, too
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    for _ in progress.track("abc", "letters", done=7):
        clock[0] += 30
    assert capsys.readouterr().err.splitlines() == [
        "letters: 8/10, 1 min 00 s left",
        "letters: 9/10, 30 s left",
        "letters: 10/10, took 1 min 30 s",
    ]


def test_the_first_of_a_batch_takes_the_time_of_all_of_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch of four in 40 seconds, then each of its pictures at once; the last batch is of two."""
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    for number in progress.track(range(10), "pictures", together=4):
        if number % 4 == 0:
            clock[0] += 40
    assert capsys.readouterr().err.splitlines() == [
        "pictures: 1/10, 1 min 00 s left",
        "pictures: 5/10, 20 s left",
        "pictures: 9/10, 0 s left",
        "pictures: 10/10, took 2 min 00 s",
    ]


def test_a_terminal_gets_a_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert list(progress.track([1, 2], "steps")) == [1, 2]
    printed = capsys.readouterr().err
    assert "steps" in printed and "2/2" in printed and "0 s left" in printed


@pytest.mark.parametrize("terminal", [False, True])
def test_no_work_ends_for_a_reader_that_went_away(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    with open(theirs, "w", buffering=1) as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0)
        if terminal:
            monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
        assert list(progress.track([1, 2, 3], "steps")) == [1, 2, 3]
        monkeypatch.undo()
        with suppress(OSError):
            stream.close()


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (200, "3 min 20 s"), (3900, "1 h 05 min")]
)
def test_durations_read_like_speech(seconds: float, said: str) -> None:
    assert progress.duration(seconds) == said
