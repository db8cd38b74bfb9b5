"""Does this tree compute what another one did? The same command lines with both, compared to the bit.

A tree is a checkout (`git worktree add ../old COMMIT`). Each run is made by both: the whole method, LoRA, Textual
Inversion, and a run that is stopped by SIGINT at its first checkpoint and resumed. Compared are the losses, the
tensors of every part that was saved, and the pixels of class images and samples; file formats may differ.

    python -m benchmarks.two_trees ../old [--results FILE]
"""

import argparse
import hashlib
import json
import signal
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.torch import load_file

from benchmarks.command_line import start
from benchmarks.machine import machine
from dreambooth.support.files import write_json
from dreambooth.toybox.photos import photos

CHOSEN = ("--identifier", "sks", "--no-use-ema")
"""What a tree would choose itself: trees that choose differently should compute the same of the same choice."""

RUNS = {
    "dreambooth": CHOSEN,
    "lora": ("--method", "lora", *CHOSEN),
    "textual_inversion": ("--method", "textual_inversion", "--no-use-ema"),
    "stopped and resumed": ("--checkpointing-steps", "4", *CHOSEN),
}
SETTINGS = (
    *("run", "photos", "--class-noun", "dog", "--output-dir", "run", "--num-class-images", "8"),
    *("--class-num-inference-steps", "4", "--num-inference-steps", "4", "--max-train-steps", "12"),
    *("--no-probe", "--num-images-per-prompt", "2", "--prompts", "a {} in the snow"),
)


def carry_out(tree: Path, place: Path, name: str) -> None:
    """One of RUNS; raises SystemExit with what was said where it fails."""
    process = start(tree / "src", place, [*SETTINGS, *RUNS[name]])
    if "resumed" in name:
        while process.poll() is None and not list((place / "run").rglob("checkpoint-*")):
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        process.wait()
        process = start(tree / "src", place, [*SETTINGS, *RUNS[name]])
    if process.wait() != 0:
        raise SystemExit(f"{name} of {tree}:\n" + (place / "said.txt").read_text())


def digest(parts: Iterable[bytes]) -> str:
    """SHA-256 over all of them, 16 digits."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part)
    return whole.hexdigest()[:16]


def pixels(paths: Iterable[Path]) -> str:
    """Digest of what pictures show, in the order of their places and names."""
    return digest(np.asarray(Image.open(path)).tobytes() for path in sorted(paths))


def tensors(path: Path) -> str:
    """Digest of the values of a safetensors file, in the order of their names' endings."""
    named = load_file(path)
    return digest(named[name].contiguous().numpy().tobytes() for name in sorted(named, key=lambda n: n[::-1]))


def left(place: Path) -> dict[str, str]:
    """Digests of what a run left, by what it is."""
    run = place / "run"
    losses = [json.loads(line) for line in (run / "losses.jsonl").read_text().splitlines()]
    found = {
        "losses": digest(f"{row['step']} {row['loss']!r}".encode() for row in losses),
        "class images": pixels((place / "library").rglob("*.png")),
        "samples": pixels((run / "samples").rglob("*.png")),
    }
    for path in sorted((*(run / "model").rglob("*.safetensors"), *(run / "adapter").rglob("*.safetensors"))):
        found[str(path.relative_to(run))] = tensors(path)
    return found


def main() -> None:
    """Run, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path, help="the other tree")
    parser.add_argument("--results", type=Path)
    options = parser.parse_args()
    trees = {"old": options.old.resolve(), "new": Path(__file__).parents[1]}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in RUNS:
            found = {}
            for which, tree in trees.items():
                place = Path(folder) / f"{name} {which}"
                place.mkdir()
                photos("dog", 7, 3, place / "photos", 64)
                carry_out(tree, place, name)
                found[which] = left(place)
            for what in sorted({*found["old"], *found["new"]}):
                pair = [found[which].get(what, "not there") for which in trees]
                rows.append({"run": name, "what": what, "old": pair[0], "new": pair[1], "equal": pair[0] == pair[1]})
                print("equal  " if rows[-1]["equal"] else "DIFFERS", name, what, *pair, flush=True)
    if options.results:
        write_json(options.results, {"machine": machine(), "rows": rows})
    raise SystemExit(0 if all(row["equal"] for row in rows) else 1)


if __name__ == "__main__":
    main()
