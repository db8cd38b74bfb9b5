"""Is a run on two processes the run on one, and does it end in both of them, whatever ends it?

The command line's own processes on the CPU, from the embedded model: alone, by torchrun with two processes, and by two
torchrun agents that stand for two machines. Then the launcher is told to stop half way, then one of the two
processes is killed, and the same command is given again each time. Compared are the losses of every step, and the
SHA-256 of the weights, the adapter and the samples.

    python -m benchmarks.several_processes [--steps 20] [--results FILE]
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil  # type: ignore[import-untyped]

import dreambooth
from benchmarks.machine import machine
from dreambooth.support.files import sha256, write_json
from dreambooth.toybox.photos import photos

SETTINGS = (
    *("--num-class-images", "8", "--class-num-inference-steps", "2", "--num-inference-steps", "2"),
    *("--checkpointing-steps", "6", "--validation-steps", "100", "--num-images-per-prompt", "1"),
    *("--probe-images-per-prompt", "1", "--probe-class-images", "1", "--probe-num-inference-steps", "2"),
    *("--prompts", "a {}", "--method", "lora", "--learning-rate", "1e-5"),
)
PATIENCE = 1200
"""Seconds that a run may take."""


def launch(place: Path, output: str, steps: int, launcher: Sequence[str]) -> "subprocess.Popen[bytes]":
    """The command, by `launcher`; what it says is added to said.txt."""
    words = ["-m", "dreambooth", "run", "photos", "--class-noun", "dog", "--output-dir", output]
    here = {"PYTHONPATH": str(Path(dreambooth.__file__).parents[1]), "DREAMBOOTH_CACHE": str(place / "library")}
    with (place / "said.txt").open("ab") as said:
        return subprocess.Popen(
            [sys.executable, *launcher, *words, "--max-train-steps", str(steps), *SETTINGS],
            cwd=place,
            env={**os.environ, **here, "OMP_NUM_THREADS": "1"},
            stdout=said,
            stderr=said,
        )


def torchrun(*words: str) -> list[str]:
    """The launcher's words; every process of the machine is on the CPU."""
    return ["-m", "torch.distributed.run", *words]


def nodes(place: Path, output: str, steps: int) -> list[int]:
    """Two agents, a process each, as two machines start them; their exit statuses."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    where = ("--nnodes", "2", "--nproc-per-node", "1", "--master-addr", "127.0.0.1", "--master-port", port)
    agents = [launch(place, output, steps, torchrun(*where, "--node-rank", str(node))) for node in range(2)]
    return [agent.wait(PATIENCE) for agent in agents]


def left(run: Path) -> dict[str, str]:
    """SHA-256 of weights, adapter and samples."""
    files = [*run.rglob("*.safetensors"), *run.glob("samples/**/*.png")]
    return {str(file.relative_to(run)): sha256(file) for file in sorted(files)}


def losses(run: Path) -> list[dict[str, float]]:
    """The lines of losses.jsonl."""
    file = run / "losses.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def furthest(one: Path, other: Path) -> dict[str, float]:
    """The largest difference of a loss, and the largest as a share of the loss."""
    lines = zip(losses(one), losses(other), strict=True)
    pairs = [(mine[name], its[name]) for mine, its in lines for name in ("loss", "subject", "prior")]
    return {
        "absolute": max(abs(mine - its) for mine, its in pairs),
        "relative": max(abs(mine - its) / max(its, 1e-9) for mine, its in pairs),
    }


def disturb(place: Path, output: str, steps: int, kill: bool) -> dict[str, object]:
    """Once half of the steps are done, SIGTERM for the launcher, or SIGKILL for one process; how all of it ended."""
    launcher = launch(place, output, steps, torchrun("--nproc-per-node", "2"))
    while launcher.poll() is None and len(losses(place / output)) < steps // 2:
        time.sleep(0.01)
    workers = psutil.Process(launcher.pid).children(recursive=True)
    began = time.monotonic()
    workers[-1].kill() if kill else launcher.send_signal(signal.SIGTERM)
    status = launcher.wait(PATIENCE)
    seconds = round(time.monotonic() - began, 1)
    _, alive = psutil.wait_procs(workers, timeout=5)
    saved = sorted(path.name for path in (place / output).glob("checkpoints/*"))
    again = launch(place, output, steps, torchrun("--nproc-per-node", "2")).wait(PATIENCE)
    ended = {"exit": status, "seconds": seconds, "left alive": len(alive), "checkpoints": saved}
    return {**ended, "steps done": len(losses(place / output)), "exit of the same command": again}


def several_processes(place: Path, steps: int) -> dict[str, object]:
    """All of it in the folder `place`."""
    photos("dog", 7, 3, place / "photos", 128)
    for output, launcher in (("one", []), ("two", torchrun("--nproc-per-node", "2"))):
        if launch(place, output, steps, launcher).wait(PATIENCE):
            raise SystemExit((place / "said.txt").read_text())
    whole = left(place / "two")
    result: dict[str, object] = {
        "steps": steps,
        "largest difference of a loss, two processes from one": furthest(place / "one", place / "two"),
        "files compared": len(whole),
        "two agents: exit": nodes(place, "nodes", steps),
    }
    result["two agents: files otherwise"] = _otherwise(left(place / "nodes"), whole)
    for name, kill in (("SIGTERM to the launcher", False), ("SIGKILL to a process", True)):
        output = name.split()[0].lower()
        result[name] = {
            **disturb(place, output, steps, kill),
            "files otherwise": _otherwise(left(place / output), whole),
        }
    return result


def _otherwise(mine: dict[str, str], whole: dict[str, str]) -> list[str]:
    # checkpoints are left where a run was stopped
    names = {name for name in mine | whole if not name.startswith("checkpoints/") or name in whole}
    return sorted(name for name in names if mine.get(name) != whole.get(name))


def main() -> None:
    """Print what came of it, and write it with --results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--results", type=Path, help="write the result to this JSON file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        result = several_processes(Path(place), options.steps)
        said = (Path(place) / "said.txt").read_text()
    print(said[-6000:] if os.environ.get("SAID") else "", json.dumps(result, indent=2))
    if options.results:
        write_json(options.results, {"machine": machine(), **result})


if __name__ == "__main__":
    main()
