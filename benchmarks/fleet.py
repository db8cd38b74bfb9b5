"""A fleet against as many single runs, and a fleet whose processes are killed: toys of four classes, two at a time.

Single runs are commands of their own, as many at a time as the fleet has workers and with one thread each. Eight are
measured: the first of each class draws its class images, the second finds them. Their means say what all would take,
with a library of class images each, as on machines that share none, and with one for all. Seconds of the processor are
told beside those of the clock: they do not depend on who else computes on the machine. With --chaos a process that
trains is killed five times and the fleet's own once, then the command is given again: each subject must be there once,
with every step once and with the weights, by SHA-256, of the fleet that was left alone.

    python -m benchmarks.fleet [--subjects 20] [--workers 2] [--executor local] [--results FILE] [--chaos]
        [--ray-address HOST:PORT] [--storage URL]
"""

import argparse
import json
import os
import random
import resource
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import dreambooth
from benchmarks.command_line import start
from benchmarks.machine import machine
from dreambooth.fleet.stored import finished_in, results_of
from dreambooth.run import Run
from dreambooth.support.files import write_json
from dreambooth.support.storage import Storage
from dreambooth.toybox.photos import photos

NOUNS = ("dog", "cat", "teapot", "car")
SETTINGS = """probe = false
max_train_steps = 20
train_batch_size = 1
num_class_images = 20
class_num_inference_steps = 5
num_inference_steps = 5
num_images_per_prompt = 1
prompts = ["a {} in the snow"]
"""
"""A short training: what is measured is what a fleet saves, which a longer one would hide."""

POLL = 0.1
KILLS = 5


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--subjects", type=int, default=20)
    words.add_argument("--workers", type=int, default=2)
    words.add_argument("--executor", default="local", choices=["local", "ray"])
    words.add_argument("--ray-address", help="of a running `ray start` [default: Ray is started by the command]")
    words.add_argument("--storage", help="where each fleet's results go, in a folder of its own")
    words.add_argument("--model", help="base model [default: the embedded one]")
    words.add_argument("--chaos", action="store_true", help="kill processes of a second fleet")
    words.add_argument("--no-single", action="store_true", help="measure no single runs")
    words.add_argument("--results", type=Path)
    asked = words.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        names = _toys(place, asked.subjects)
        results: dict[str, Any] = {"machine": machine(), "settings": SETTINGS, "subjects": len(names)}
        results |= {
            "workers": asked.workers,
            "executor": asked.executor,
            "model": Path(asked.model).name if asked.model else "toybox",
        }
        if not asked.no_single:
            results |= _single(place, names, asked.workers, asked.model)
            _keep(results, asked.results)
        fleet = _Fleet(place / "fleet", place / "subjects.toml", asked)
        results["fleet"] = _timed(fleet.finish) | {"states": fleet.states()}
        for kind in [kind for kind in results if kind.startswith("all as single runs")]:
            ratios = {unit: results[kind][unit] / results["fleet"][unit] for unit in ("clock", "processor")}
            results[f"fleet against {kind}"] = {unit: round(ratio, 2) for unit, ratio in ratios.items()}
        _keep(results, asked.results)
        if asked.chaos:
            results["chaos"] = _chaos(_Fleet(place / "chaos", place / "subjects.toml", asked), fleet)
            _keep(results, asked.results)
        print(json.dumps(results, indent=2))


def _keep(results: dict[str, Any], file: Path | None) -> None:
    """Write what there is so far."""
    if file:
        write_json(file, results)


def _toys(place: Path, count: int) -> list[str]:
    """Photos, and the file of subjects; returns their names."""
    names, tables = [], [SETTINGS]
    for at in range(count):
        noun = NOUNS[at % len(NOUNS)]
        names.append(f"{noun}-{at:02d}")
        photos(noun, 300 + at, 4, place / "photos" / names[-1], 96)
        tables.append(f'[[subject]]\nphotos = "photos/{names[-1]}"\nclass_noun = "{noun}"\n')
    (place / "settings.toml").write_text(SETTINGS)
    (place / "subjects.toml").write_text("\n".join(tables))
    return names


def _timed(work: Callable[[], None]) -> dict[str, float]:
    clock, used = time.monotonic(), _processor()
    work()
    return {"clock": round(time.monotonic() - clock, 1), "processor": round(_processor() - used, 1)}


def _processor() -> float:
    """Seconds of all processes that were started from here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _single(place: Path, names: Sequence[str], workers: int, model: str | None) -> dict[str, Any]:
    """Commands for two subjects of each class, in two rounds, and what all subjects would take."""
    os.environ["OMP_NUM_THREADS"] = "1"
    rounds = {"drawing": names[: len(NOUNS)], "finding": names[len(NOUNS) : 2 * len(NOUNS)]}
    took = {kind: _timed(partial(_commands, place, its, workers, model)) for kind, its in rounds.items()}
    each = {kind: {unit: value / len(NOUNS) for unit, value in its.items()} for kind, its in took.items()}
    apart = {unit: round(value * len(names), 1) for unit, value in each["drawing"].items()}
    found = len(names) - len(NOUNS)
    shared = {unit: round(took["drawing"][unit] + each["finding"][unit] * found, 1) for unit in apart}
    return {
        "four single runs that draw class images": took["drawing"],
        "four single runs that find them": took["finding"],
        "all as single runs, a library each": apart,
        "all as single runs, one library": shared,
    }


def _commands(place: Path, names: Sequence[str], workers: int, model: str | None) -> None:
    """A command for each subject, so many at a time."""
    (place / "single").mkdir(exist_ok=True)
    waiting, running = list(names), list[subprocess.Popen[bytes]]()
    while waiting or running:
        running = [process for process in running if not _is_over(process)]
        while waiting and len(running) < workers:
            name = waiting.pop(0)
            told = ["run", str(place / "photos" / name), "--class-noun", name.partition("-")[0]]
            told += ["--output-dir", name, "--config", str(place / "settings.toml")]
            told += ["--model", model] if model else []
            running.append(_begin(place / "single", told))
        time.sleep(POLL)


def _begin(home: Path, told: Sequence[str]) -> "subprocess.Popen[bytes]":
    return start(Path(dreambooth.__file__).parents[1], home, told)


def _is_over(process: "subprocess.Popen[bytes]") -> bool:
    if (status := process.poll()) is None:
        return False
    assert status == 0, f"a single run ended with {status}"
    return True


class _Fleet:
    """A fleet in a folder of its own."""

    def __init__(self, home: Path, file: Path, asked: argparse.Namespace) -> None:
        self.home, self.out = home, home / "out"
        home.mkdir()
        self._told = ["fleet", str(file), "--output-dir", str(self.out)]
        self._told += ["--jobs", str(asked.workers)] if asked.executor == "local" else []
        self._told += ["--executor", asked.executor, *(["--model", asked.model] if asked.model else [])]
        self._told += ["--ray-address", asked.ray_address] if asked.ray_address else []
        self.storage = Storage.at(f"{asked.storage}/{home.name}") if asked.storage else None
        self._told += ["--storage", self.storage.url] if self.storage else []

    def begin(self) -> "subprocess.Popen[bytes]":
        return _begin(self.home, self._told)

    def finish(self) -> None:
        assert self.begin().wait() == 0, (self.home / "said.txt").read_text()[-2000:]

    def rows(self) -> list[dict[str, Any]]:
        """What the fleet says of its subjects."""
        read: list[dict[str, Any]] = json.loads((self.out / "fleet.json").read_text())
        return read

    def states(self) -> dict[str, int]:
        """How many subjects are finished, and so on."""
        states = [row["state"] for row in self.rows()]
        return {state: states.count(state) for state in set(states)}

    def finished(self) -> int:
        """By what is there."""
        return len(list(self.out.glob("*/report.html")))

    def training(self) -> Iterator[int]:
        """The processes that hold a run just now."""
        for lock in self.out.glob("*/.lock"):
            with suppress(OSError, ValueError):
                yield int(json.loads(lock.read_text())["process"])

    def weights(self) -> dict[str, dict[str, str]]:
        """The SHA-256 of the weights of each subject."""
        sealed = {file.parent.name: json.loads(file.read_text()) for file in self.out.glob("*/model.json")}
        return {
            name: {file: digest for file, digest in its.items() if file.endswith(".safetensors")}
            for name, its in sealed.items()
        }


def _whole(fleet: _Fleet, storage: Storage) -> int:
    """How many subjects the storage calls finished and holds, file by file and by SHA-256, as the run folders do."""
    whole = 0
    for folder in finished_in(storage):
        mine = results_of(Run(fleet.out / folder))
        whole += all(storage.sha256(f"{folder}/{name}") == its.sha256 for name, its in mine.items())
    return whole


def _chaos(fleet: _Fleet, undisturbed: _Fleet) -> dict[str, Any]:
    chance, killed = random.Random(0), 0
    total = len(undisturbed.rows())
    kill_at = range(1, total * 3 // 4)
    moments = sorted(chance.sample(kill_at, min(KILLS, len(kill_at))))
    driver = fleet.begin()
    while driver.poll() is None and fleet.finished() < total * 3 // 4:  # then the fleet's own process
        if moments and fleet.finished() >= moments[0] and (there := list(fleet.training())):
            with suppress(ProcessLookupError):  # one that ended just now
                os.kill(chance.choice(there), signal.SIGKILL)
                killed += 1
                moments.pop(0)
        time.sleep(POLL)
    driver.kill()
    driver.wait()
    before = {file: file.stat().st_mtime_ns for file in fleet.out.glob("*/model.json")}
    fleet.finish()
    rows = fleet.rows()
    steps = [
        [json.loads(line)["step"] for line in (fleet.out / row["folder"] / "losses.jsonl").read_text().splitlines()]
        for row in rows
    ]
    return {
        "processes killed": killed,
        "finished when the fleet's own process was killed": len(before),
        "states": fleet.states(),
        "folders": len([folder for folder in fleet.out.iterdir() if (folder / "config.toml").exists()]),
        "subjects with every step once": sum(its == list(range(1, 21)) for its in steps),
        "finished ones that were written again": sum(file.stat().st_mtime_ns != when for file, when in before.items()),
        "subjects with the undisturbed fleet's weights": sum(
            its == undisturbed.weights().get(name) for name, its in fleet.weights().items()
        ),
        **({"subjects whole in the storage": _whole(fleet, fleet.storage)} if fleet.storage else {}),
    }


if __name__ == "__main__":
    main()
