"""Does a kill change what a run leaves? The command line's own processes, killed in every stage and started again.

One run is let through and watched: the files that it writes, in their order, are the moments to kill at. Each further
run is killed once in every stage, by SIGKILL and SIGTERM in turn, at a random one of the stage's files and a random
part of the time to the next, and the same command is given again. Before every second run, one of other photos has
begun the library of class images and was killed at it. All must leave the same losses, scores, weights and samples, and
the same class images where the run uses them, by SHA-256.

    python -m benchmarks.killed_runs [--moments 56] [--method lora] [--results FILE]
"""

import argparse
import hashlib
import json
import os
import random
import re
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import dreambooth
from benchmarks.command_line import start
from benchmarks.machine import machine
from dreambooth.support.files import sha256, write_json
from dreambooth.toybox.photos import photos

STAGES = {
    "first probe": r"run/samples/step-000000/",
    "class images": r"library/",
    "first samples": r"run/samples/(before|untuned)/",
    "fine-tuning": r"run/(losses|checkpoints/)",
    "probes": r"run/(samples/step-|best/|scores)",
    "export": r"run/\.?(model|adapter)\b",
    "last samples": r"run/samples/after/",
}
"""What each stage writes, in their order; the first that fits counts."""

SETTINGS = (
    *("--sample-batch-size", "20", "--class-num-inference-steps", "2", "--num-inference-steps", "2"),
    *("--max-train-steps", "6", "--checkpointing-steps", "2", "--validation-steps", "2"),
    *("--num-images-per-prompt", "4", "--probe-images-per-prompt", "2", "--probe-class-images", "2"),
    *("--probe-num-inference-steps", "2", "--prompts", "a {}", "a {} in the snow"),
)
POLL = 0.005
"""Seconds between two looks at what is there."""

PATIENCE = 1200
"""Seconds that a process may take to end."""


class Trial:
    """A folder of its own: photos, the library of class images, the run, and what its processes said."""

    def __init__(self, place: Path, method: str) -> None:
        self.place, self.method = place, method
        self.log = place / "said.txt"
        place.mkdir()
        for name, seed in (("photos", 7), ("others", 8)):
            photos("dog", seed, 3, place / name, 64)

    def start(self, output: str = "run", taken: str = "photos", class_images: int = 40) -> "subprocess.Popen[bytes]":
        """The command, as a person gives it; the same on each call."""
        words = ["run", taken, "--class-noun", "dog", "--output-dir", output, "--method", self.method]
        command = [*words, "--num-class-images", str(class_images), *SETTINGS]
        return start(Path(dreambooth.__file__).parents[1], self.place, command)

    def finish(self) -> int:
        """The command once more, to its end; its exit status."""
        return self.start().wait(PATIENCE)

    def marks(self) -> set[str]:
        """All files; of lines each; of what is being written the name without its random part."""
        found = set()
        for folder, _, names in os.walk(self.place):
            for path in (Path(folder, name) for name in names):
                name = re.sub(r"\.([^/]+)\.[0-9a-f]{8}\.(part|old)", r".\1.\2", str(path.relative_to(self.place)))
                lines = _lines(path) if path.suffix == ".jsonl" else []
                found |= {f"{name}:{number}" for number in range(len(lines))} if lines else {name}
        return found

    def left(self) -> dict[str, str]:
        """SHA-256 of everything that must not depend on kills, by name; without the seconds that a step took."""
        run = self.place / "run"
        patterns = ("samples/**/*.png", "model/**/*", "adapter/**/*", "checkpoints/**/*.safetensors", "best/**/*")
        files = [path for pattern in patterns for path in run.glob(pattern) if path.is_file()]
        files += [run / name for name in ("recommendation.json", "diagnosis.json", "samples.json")]
        listed = {file["name"] for file in json.loads((run / "prior.json").read_text())["files"]}
        files += (path for path in (self.place / "library").rglob("*.png") if path.name in listed)
        found = {str(path.relative_to(self.place)): sha256(path) for path in files}
        for name in ("losses.jsonl", "scores.jsonl"):
            rows = [{**json.loads(line), "seconds": None} for line in _lines(run / name)]
            found[name] = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
        return found

    @property
    def half_written(self) -> list[str]:
        """Files of the run that a killed process left behind and nobody took away."""
        return sorted(str(path.relative_to(self.place)) for path in (self.place / "run").rglob(".*.part"))


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []


def timeline(trial: Trial) -> dict[str, list[tuple[str, float]]]:
    """Of a run that nobody disturbs: by stage, the files in their order, each with the seconds until the next."""
    process, seen = trial.start(), dict[str, float]()
    while process.poll() is None:
        seen |= {mark: time.monotonic() for mark in sorted(trial.marks() - seen.keys())}
        time.sleep(POLL)
    if process.returncode:
        raise SystemExit(trial.log.read_text())
    moments: dict[str, list[tuple[str, float]]] = {stage: [] for stage in STAGES}
    for (mark, at), (_, after) in pairwise(seen.items()):
        if stage := next((stage for stage, written in STAGES.items() if re.match(written, mark)), None):
            moments[stage].append((mark, after - at))
    return moments


def kill(
    process: "subprocess.Popen[bytes]", trial: Trial, awaited: Collection[str], delay: float, number: signal.Signals
) -> bool:
    """Send a signal, `delay` seconds after one of `awaited` is there; False where the process ended before."""
    while process.poll() is None:
        if not trial.marks().isdisjoint(awaited):
            time.sleep(delay)
            killed = process.poll() is None
            process.send_signal(number)
            process.wait(PATIENCE)
            return killed
        time.sleep(POLL)
    return False


def begin_library(trial: Trial, images: Sequence[str], rng: random.Random) -> None:
    """Another run's doing: other photos, another number of images, killed at a random one of them."""
    process = trial.start("other", "others", class_images=20)
    kill(process, trial, [rng.choice(images)], 0.0, signal.SIGKILL)


def kill_in_every_stage(
    trial: Trial, moments: Mapping[str, Sequence[tuple[str, float]]], rng: random.Random, at: int
) -> list[dict[str, object]]:
    """The kills of one run: stage, file, delay, signal and exit status of each."""
    kills: list[dict[str, object]] = []
    for stage, planned in moments.items():
        there = trial.marks()
        reached = max((index for index, (mark, _) in enumerate(planned, 1) if mark in there), default=0)
        if not (ahead := planned[reached:]):
            continue  # the kill before came so late that this stage is done
        weights = rng.choice(([1.0 for _ in ahead], [seconds + 1e-6 for _, seconds in ahead]))  # by files, or by time
        chosen = rng.choices(range(len(ahead)), weights)[0]
        number = (signal.SIGKILL, signal.SIGTERM)[(at + len(kills)) % 2]
        mark, delay = ahead[chosen][0], rng.uniform(0, ahead[chosen][1])
        process = trial.start()
        if kill(process, trial, {mark for mark, _ in ahead[chosen:]}, delay, number):
            made = {"stage": stage, "after": mark, "delay": round(delay, 3)}
            kills.append({**made, "signal": number.name, "exit": process.returncode})
    return kills


def killed_runs(root: Path, method: str, wanted: int, rng: random.Random) -> dict[str, object]:
    """Kill runs below `root` until there are `wanted` kills; how they ended, and whatever came out otherwise."""
    whole = Trial(root / "whole", method)
    moments, expected = timeline(whole), whole.left()
    images = [mark for mark, _ in moments["class images"] if mark.endswith(".png")][:20]
    kills, different, half_written, said, runs = list[dict[str, object]](), list[str](), 0, "", 0
    while len(kills) < wanted:
        runs += 1
        trial = Trial(root / str(runs), method)
        if runs % 2 == 0:
            begin_library(trial, images, rng)
        kills += kill_in_every_stage(trial, moments, rng, runs)
        status, left = trial.finish(), trial.left()
        different += [f"run {runs}: exit {status}"] if status else []
        different += [f"run {runs}: {name}" for name in left | expected if left.get(name) != expected.get(name)]
        half_written += len(trial.half_written)
        said += trial.log.read_text(encoding="utf-8")
        print(f"run {runs}: {len(kills)} kills by now; otherwise: {different or 'nothing'}", flush=True)
    return {
        "method": method,
        "kills": len(kills),
        "runs": runs,
        "of these with a library that another run began": runs // 2,
        "files compared in each": len(expected),
        "files otherwise": different,
        "tracebacks": said.count("Traceback"),
        "half-written files left": half_written,
        "ends": Counter(f"{made['signal']}: exit {made['exit']}" for made in kills),
        "stages": Counter(str(made["stage"]) for made in kills),
        "moments": kills,
    }


def main() -> None:
    """Kill until there are enough moments, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moments", type=int, default=56)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--method", default="dreambooth", help="of the run")
    parser.add_argument("--results", type=Path, help="write the result to this JSON file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        result = killed_runs(Path(root), options.method, options.moments, random.Random(options.seed))
    print(json.dumps({name: value for name, value in result.items() if name != "moments"}, indent=2))
    if options.results:
        write_json(options.results, {"machine": machine(), **result})


if __name__ == "__main__":
    main()
