"""What the page costs: is it usable while a run trains, does it slow the training, do 500 readers lose an event?

python -m benchmarks.page usable      seconds until a run's page tells its step, in a real browser, while it trains
python -m benchmarks.page slows       a training with and without a follower, in turns: CPU seconds of page and step
python -m benchmarks.page readers     [--readers 500] [--minutes 5]  events and memory with many at once
"""

import argparse
import asyncio
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from dreambooth.config import Config
from dreambooth.run import Run
from dreambooth.run.records import LOSSES, Loss
from dreambooth.subject import Subject
from dreambooth.toybox.photos import photos

COMMAND = (sys.executable, "-m", "dreambooth")
RATE = 10.0
"""Lines of losses.jsonl a second, for the readers."""
WINDOW, TURNS = 15.0, 6
"""Seconds with, and without, a follower; how many of both in turns."""


@contextmanager
def served(root: Path) -> Iterator[tuple[int, psutil.Process]]:
    """A studio on `root`: its port and process."""
    process = subprocess.Popen([*COMMAND, "web", str(root), "--port", "0"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        link = process.stdout.readline().split()[-1]
        yield int(link.rstrip("/").rpartition(":")[2]), psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


@contextmanager
def training(root: Path, steps: int) -> Iterator[psutil.Process]:
    """A run "toy" below `root` that trains, not measured; entered once it takes steps."""
    photos("dog", 7, 4, root / "photos")
    words = ["run", str(root / "photos"), "--class-noun=dog", f"--output-dir={root / 'toy'}", "--no-probe"]
    words += [
        f"--max-train-steps={steps}",
        "--num-class-images=4",
        "--num-images-per-prompt=1",
        "--validation-steps=9999",
    ]
    process = subprocess.Popen([*COMMAND, *words, "--model=toybox"], stderr=subprocess.DEVNULL)
    try:
        while not (root / "toy" / LOSSES.name).exists():
            assert process.poll() is None, "the training ended before its first step"
            time.sleep(0.5)
        yield psutil.Process(process.pid)
    finally:
        process.kill()
        process.wait()


def usable(root: Path) -> dict[str, Any]:
    """Seconds from the address to the words "Step N of M", each time in a new tab."""
    from playwright.sync_api import expect, sync_playwright

    browser = shutil.which("chromium") or shutil.which("google-chrome")
    took = []
    with training(root, 4000), served(root) as (port, _), sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        for _ in range(11):
            page = chromium.new_page()
            began = time.monotonic()
            page.goto(f"http://127.0.0.1:{port}/runs/toy", timeout=120_000)
            expect(page.locator("#doing")).to_contain_text("Step ", timeout=120_000)
            took.append(time.monotonic() - began)
            page.close()
        chromium.close()
    first, *others = took
    return {"first": round(first, 2), "median": round(statistics.median(others), 2), "most": round(max(others), 2)}


def slows(root: Path) -> dict[str, Any]:
    """CPU seconds of the page for each CPU second of the training, and CPU seconds a step, with and without."""
    rows: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    with training(root, 100_000) as trainer, served(root) as (port, page):
        for turn in range(2 * TURNS):
            with_follower = turn % 2 == 0
            before = _cpu(trainer), _cpu(page), len(LOSSES.read(root / "toy"))
            asyncio.run(_follow_for(port, WINDOW)) if with_follower else time.sleep(WINDOW)
            after = _cpu(trainer), _cpu(page), len(LOSSES.read(root / "toy"))
            cpu, its, steps = (late - early for early, late in zip(before, after, strict=True))
            rows[with_follower].append((cpu / max(1, steps), its / cpu))
    step = {name: statistics.median(row[0] for row in rows[name]) for name in rows}
    return {
        "page per training, followed": round(statistics.median(row[1] for row in rows[True]), 4),
        "page per training, not followed": round(statistics.median(row[1] for row in rows[False]), 4),
        "CPU seconds a step, followed": round(step[True], 4),
        "CPU seconds a step, not followed": round(step[False], 4),
        "slower": round(step[True] / step[False] - 1, 4),
    }


def readers(root: Path, count: int, minutes: float) -> dict[str, Any]:
    """Events that were lost, of all that were told, and the memory of the page at the start and at the end."""
    run = Run.create(root / "toy", Subject(photos=(), class_noun="dog"), Config.build({"model": "toybox"}))
    with served(root) as (port, page):
        return asyncio.run(_read_all(run, port, page, count, 60 * minutes))


async def _read_all(run: Run, port: int, page: psutil.Process, count: int, seconds: float) -> dict[str, Any]:
    seen: list[list[int]] = [[] for _ in range(count)]
    tasks = [asyncio.create_task(_follow(port, steps)) for steps in seen]
    end, step, memory = time.monotonic() + seconds, 0, list[float]()
    while time.monotonic() < end:
        step += 1
        loss = Loss(step=step, loss=0.1, subject=0.1, prior=0.1, lr=1e-4, grad_norm=1.0, seconds=0.1)
        await asyncio.to_thread(LOSSES.append, run.root, loss)
        await asyncio.sleep(1 / RATE)
        if step % int(5 * RATE) == 0:
            memory.append(page.memory_info().rss / 1e6)
    await asyncio.sleep(15)  # the last ones are on their way
    for task in tasks:
        task.cancel()
    wanted = list(range(1, step + 1))
    late = sum(steps != wanted for steps in seen)
    lost = sum(len(set(wanted) - set(steps)) for steps in seen)
    half = memory[len(memory) // 2] if memory else 0.0
    return {
        "readers": count,
        "seconds": round(seconds),
        "lines": step,
        "told": count * step,
        "lost": lost,
        "readers with a gap or a double": late,
        "MB at the start, the middle, the end": [round(memory[0]), round(half), round(memory[-1])],
    }


async def _follow(port: int, steps: list[int]) -> None:
    """Read a run's events until cancelled, and note the steps of its losses."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 22)
    writer.write(f"GET /api/runs/toy/events HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n\r\n".encode())
    name = ""
    try:
        while line := await reader.readline():
            if line.startswith(b"event: "):
                name = line[7:].strip().decode()
            elif line.startswith(b"data: ") and name == "losses":
                steps.extend(row[0] for row in json.loads(line[6:])["rows"])
    finally:
        writer.close()


async def _follow_for(port: int, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await _follow(port, [])
    except TimeoutError:
        return


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def main() -> None:
    """Run one of them, and print its numbers."""
    parser = argparse.ArgumentParser(description="What the page costs.")
    parser.add_argument("what", choices=("usable", "slows", "readers"))
    parser.add_argument("--readers", type=int, default=500)
    parser.add_argument("--minutes", type=float, default=5.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        measured = {
            "usable": lambda: usable(root),
            "slows": lambda: slows(root),
            "readers": lambda: readers(root, options.readers, options.minutes),
        }[options.what]()
    print(json.dumps(measured, indent=1))


if __name__ == "__main__":
    main()
