"""Does a kill change what a command leaves? Those after a run, and an experiment, killed again and again and repeated.

What `benchmarks.killed_runs` does to `dreambooth run`, for the commands `generate`, `report`, `evaluate`, `export` and
`experiment`: each is let through once and timed; then, in a folder as it was before, it is killed at random moments of
its second half, after the libraries are loaded, by SIGKILL and SIGTERM in turn, and at last given once more to its end.
Both must leave the same files, by SHA-256, and no half-written one.

    python -m benchmarks.killed_commands [--kills 10] [--results FILE]
"""

import argparse
import json
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import dreambooth
from benchmarks.command_line import start
from benchmarks.killed_runs import PATIENCE, Trial
from benchmarks.machine import machine
from dreambooth.support.files import sha256, write_json

FEW = (
    *("--max-train-steps", "2", "--num-class-images", "2", "--class-num-inference-steps", "1"),
    *("--num-inference-steps", "1", "--jobs", "1", "--subject-seeds", "18", "--seeds", "0"),
)
COMMANDS: dict[str, tuple[Sequence[str], str]] = {
    "generate": (("generate", "run", "--prompts", "a {} on grass", "--count", "6"), "run/samples/own/*.png"),
    "report": (("report", "run"), "run/*t*.*"),
    "evaluate": (("evaluate", "run", "--out", "evaluation.json"), "evaluation.json"),
    "export": (("export", "run", "--folder", "exported", "--dtype", "float16"), "exported/**/*"),
    "experiment": (
        ("experiment", "table3", "--subject-seeds", "18", "--seeds", "0", *FEW, "--out", "out"),
        "out/*.csv",
    ),
}
"""What is given, and the files that it leaves."""

LEFT_OUT = ("status.json", "timings.json")
"""Files that say when."""

FROM = 0.5
"""The part of a command's time after which it is killed."""


def run(place: Path, words: Sequence[str], after: float | None = None, number: signal.Signals = signal.SIGKILL) -> int:
    """A command to its end, or until a signal `after` so many seconds; its exit status."""
    process = start(Path(dreambooth.__file__).parents[1], place, words)
    if after is not None:
        time.sleep(after)
        process.send_signal(number)
    return process.wait(PATIENCE)


def left(place: Path, pattern: str) -> dict[str, str]:
    """SHA-256 of the files that a command leaves, by name."""
    files = [file for file in place.glob(pattern) if file.is_file() and file.name not in LEFT_OUT]
    return {str(file.relative_to(place)): sha256(file) for file in files}


def killed_command(whole: Path, name: str, kills: int, rng: random.Random) -> dict[str, object]:
    """A command let through in one copy of the folder `whole`, and killed in another."""
    words, pattern = COMMANDS[name]
    plain, place = whole.with_name(f"{name} whole"), whole.with_name(f"{name} killed")
    for copy in (plain, place):
        shutil.copytree(whole, copy)
    began = time.monotonic()
    if run(plain, words):
        raise SystemExit((plain / "said.txt").read_text())
    seconds, expected = time.monotonic() - began, left(plain, pattern)
    ends = Counter[str]()
    for at in range(kills):
        number = (signal.SIGKILL, signal.SIGTERM)[at % 2]
        status = run(place, words, rng.uniform(FROM, 1) * seconds, number)
        ends[f"{number.name}: exit {status}"] += 1
    status, mine = run(place, words), left(place, pattern)
    said = (place / "said.txt").read_text(encoding="utf-8")
    return {
        "kills": kills,
        "ends": dict(ends),
        "exit at last": status,
        "files compared": len(expected),
        "files otherwise": sorted(file for file in expected | mine if mine.get(file) != expected.get(file)),
        "half-written files left": [str(file) for file in place.rglob(".*.part") if "library" not in file.parts],
        "tracebacks": said.count("Traceback"),
    }


def main() -> None:
    """Kill every command so often, print what came of it, and write it with --results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10, help="of each command")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, help="write the result to this JSON file")
    options = parser.parse_args()
    result = {}
    with tempfile.TemporaryDirectory() as root:
        trial = Trial(Path(root) / "whole", "lora")
        if trial.finish():
            raise SystemExit(trial.log.read_text())
        for name in COMMANDS:
            result[name] = killed_command(trial.place, name, options.kills, random.Random(options.seed))
            print(name, json.dumps(result[name]), flush=True)
    if options.results:
        write_json(options.results, {"machine": machine(), "commands": result})


if __name__ == "__main__":
    main()
