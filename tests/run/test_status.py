"""status.json tells what a run does, and a file "stop" ends it, from anywhere that sees the folder."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dreambooth.errors import Interrupted, RunError
from dreambooth.run import status
from dreambooth.run.status import STATUS, Inner, Status, ask_to_stop, read_status, reported, within
from dreambooth.support.progress import UNDER_WAY, WATCHERS, track
from dreambooth.support.signals import stop_signal


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "TICK", 0.01)


def until(told: Callable[[Status], bool], root: Path) -> Status:
    """What the run says once it says what was waited for."""
    for _ in range(1000):
        if (found := read_status(root)) and told(found):
            return found
        time.sleep(0.01)
    raise AssertionError(f"it says {found}")


def test_it_tells_stage_progress_and_what_is_inside(tmp_path: Path) -> None:
    began = time.time()
    with reported(tmp_path), within(tmp_path, "finetune"), within(tmp_path, "probe"):
        for step in track(range(4), "fine-tuning", done=2):
            if step == 2:
                for _ in track("ab", "samples"):
                    found = until(lambda its: its.inner is not None and its.inner.done == 0, tmp_path)
                    break
    assert (found.state, found.stage, found.what, found.done, found.total) == (
        "running",
        "finetune",
        "fine-tuning",
        4,
        6,
    )
    assert found.inner == Inner(what="samples", done=0, total=2)
    assert found.seconds_left is not None and 0 <= found.seconds_left < 60
    assert (found.process, found.host) == (os.getpid(), socket.gethostname())
    assert began - 1 < found.began <= found.heartbeat <= time.time() + 1
    ended = STATUS.read(tmp_path)
    assert (ended.state, ended.stage, ended.what, ended.message) == ("done", "", "", "")
    assert not UNDER_WAY and not WATCHERS


@pytest.mark.parametrize(
    ("error", "state", "message"),
    [
        (Interrupted("stopped after step 3"), "stopped", "stopped after step 3"),
        (KeyboardInterrupt("stopped by SIGTERM"), "stopped", "stopped by SIGTERM"),
        (RunError("the photos have changed"), "failed", "the photos have changed"),
        (MemoryError(), "failed", "there is not enough memory"),
        (ZeroDivisionError("division by zero"), "failed", "ZeroDivisionError: division by zero"),
    ],
)
def test_it_tells_how_it_ended(error: BaseException, state: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(type(error)), reported(tmp_path):
        raise error
    ended = STATUS.read(tmp_path)
    assert ended.state == state
    assert ended.message.startswith(message)


def test_a_run_is_whole_when_the_method_ended_and_as_whole_as_it_was_after_another_command(tmp_path: Path) -> None:
    with reported(tmp_path):
        pass
    assert not STATUS.read(tmp_path).whole  # such as `report` on a run that was stopped
    with reported(tmp_path, whole=True):
        assert not STATUS.read(tmp_path).whole
    with reported(tmp_path):
        assert STATUS.read(tmp_path).whole
    with pytest.raises(RunError), reported(tmp_path):
        raise RunError("no such prompt")
    assert STATUS.read(tmp_path).whole
    with pytest.raises(Interrupted), reported(tmp_path, whole=True):
        raise Interrupted("stopped after step 3")
    assert not STATUS.read(tmp_path).whole


def test_the_heart_beats_where_nothing_changes_and_the_disk_is_spared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    monkeypatch.setattr(status, "replace_text", lambda file, text: written.append(text))
    with reported(tmp_path):
        time.sleep(0.3)
        assert len(written) == 1
        monkeypatch.setattr(status, "HEARTBEAT", 0.0)
        while len(written) < 3:
            time.sleep(0.01)
    beats = [json.loads(text)["heartbeat"] for text in written]
    assert beats == sorted(beats)


def test_who_was_killed_is_lost_after_a_while() -> None:
    its = Status(state="running", heartbeat=1000.0)
    assert its.is_alive(1000.0 + status.LOST - 1) and not its.is_alive(1000.0 + status.LOST)
    assert not Status(state="done", heartbeat=1000.0).is_alive(1000.0)
    assert not its.is_alive(1000.0 - status.LOST)  # the clock was set back


@pytest.mark.parametrize("text", ["", "{", '{"state": "dancing"}', "[]"])
def test_what_is_no_status_is_none(text: str, tmp_path: Path) -> None:
    assert read_status(tmp_path) is None
    (tmp_path / STATUS.name).write_text(text)
    assert read_status(tmp_path) is None


def test_a_disk_that_refuses_stops_no_run(tmp_path: Path) -> None:
    with reported(tmp_path / "gone"):
        assert list(track("ab", "letters")) == ["a", "b"]


def test_a_stop_file_from_before_does_not_count_and_one_from_now_is_taken_away(tmp_path: Path) -> None:
    ask_to_stop(tmp_path)
    with pytest.raises(KeyboardInterrupt, match='the file "stop"'), reported(tmp_path):
        assert not (tmp_path / "stop").exists()
        time.sleep(0.05)
        list(track("abc", "letters"))
        ask_to_stop(tmp_path)
        time.sleep(0.2)
        list(track("abc", "letters"))
    assert STATUS.read(tmp_path).state == "stopped"
    assert not (tmp_path / "stop").exists()


def test_ctrl_c_while_it_starts_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = tuple(WATCHERS)

    def interrupted(self: object) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt("stopped by SIGINT")

    monkeypatch.setattr(status._Reporter, "_clear", interrupted)
    with pytest.raises(KeyboardInterrupt), reported(tmp_path):
        raise AssertionError("it went on")
    assert tuple(WATCHERS) == before
    assert STATUS.read(tmp_path).state == "stopped"


def test_it_stops_at_the_next_stage_too(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt, match="stop"), reported(tmp_path):
        ask_to_stop(tmp_path)
        time.sleep(0.2)
        with within(tmp_path, "prior"):
            raise AssertionError("it went on")


def test_inside_a_training_it_is_collected_as_a_signal_is(tmp_path: Path) -> None:
    steps = []
    with pytest.raises(Interrupted), reported(tmp_path), stop_signal() as stopped:
        for step in track(range(1000), "fine-tuning"):
            steps.append(step)
            if step == 1:
                ask_to_stop(tmp_path)
                time.sleep(0.2)
                list(track("ab", "samples"))
            if stopped:
                raise Interrupted(f"stopped by {stopped}")
    assert steps == [0, 1]
    assert STATUS.read(tmp_path).message == "stopped by ['the file \"stop\"']"


def test_a_training_in_a_thread_is_stopped_too(tmp_path: Path) -> None:
    said: list[list[str]] = []

    def work() -> None:
        with pytest.raises(KeyboardInterrupt), reported(tmp_path), stop_signal() as stopped:
            ask_to_stop(tmp_path)
            for _ in track(range(1000), "fine-tuning"):
                time.sleep(0.01)
                if stopped:
                    said.append(list(stopped))
                    break

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(20)
    assert said == [['the file "stop"']]


def test_a_process_that_was_killed_leaves_its_last_word(tmp_path: Path) -> None:
    code = f"""
import time
from pathlib import Path
from dreambooth.run.status import reported
with reported(Path({str(tmp_path)!r})):
    print("in", flush=True)
    time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "in\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    found = STATUS.read(tmp_path)
    assert (found.state, found.process) == ("running", process.pid)
