"""How the time of a run grows with steps, pixels, class images and subjects, and what a whole run spends it on.

Each of these is doubled twice while the rest stays, on the embedded model and its preset, and the stage that it
lengthens is read from timings.json. A straight line through the three gives what a unit costs and what does not depend
on it; `off` is how far the furthest of the three lies from that line, as a share of it. Then one run of the preset as
it is, with an empty library of class images, stage by stage.

    OMP_NUM_THREADS=1 python -m benchmarks.growth [--results FILE] [--processor]
"""

import argparse
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import clocked, machine
from benchmarks.script import alone

STAGES = {
    "finetune": ("load", "identifier", "finetune"),
    "prior": ("prior",),
    "finetune and prior": ("finetune", "prior"),
}
"""The names of timings.json that a row of `GROWTHS` counts."""

SMALL: dict[str, Any] = {
    **{"probe": False, "prompts": ("a {}",), "num_images_per_prompt": 1},
    **{"num_class_images": 20, "checkpointing_steps": 1000, "validation_steps": 1000},
}

GROWTHS: Mapping[str, tuple[str, str, Sequence[int]]] = {
    "steps": ("max_train_steps", "finetune", (50, 100, 200)),
    "pixels of a photo's side, squared": ("resolution", "finetune", (64, 128, 256)),
    "class images": ("num_class_images", "prior", (20, 40, 80)),
    "subjects, 50 steps each": ("subjects", "finetune and prior", (1, 2, 4)),
}
"""What grows: the setting, the stage it lengthens, and its values."""

NOUNS = ("teapot", "dog", "car", "duck")
STEPS = 50


def run_of(place: Path, subjects: int, settings: dict[str, Any], processor: bool) -> dict[str, float]:
    """The timings of a run of so many toys, each of its own class, with an empty library."""
    clocked(processor)
    os.environ["DREAMBOOTH_CACHE"] = tempfile.mkdtemp(dir=place)
    from dreambooth import Config, Subject, recipe
    from dreambooth.run.records import TIMINGS
    from dreambooth.toybox.photos import photos

    given = []
    for noun in NOUNS[:subjects]:
        if not (folder := place / f"{noun}-photos").exists():
            photos(noun, 901, 4, folder)
        given.append(Subject(photos=tuple(sorted(folder.glob("*.png"))), class_noun=noun))
    run = recipe.dreambooth(given[0], Config.build(settings), Path(tempfile.mkdtemp(dir=place)) / "run", given[1:])
    return TIMINGS.read(run.root)


def line(amounts: Sequence[float], seconds: Sequence[float]) -> dict[str, float]:
    """Of the straight line through the points (amounts, seconds): slope, start, and how far off the worst one is."""
    slope, start = np.polyfit(amounts, seconds, 1)
    off = max(abs(took / (start + slope * amount) - 1) for amount, took in zip(amounts, seconds, strict=True))
    return {"each": float(slope), "start": float(start), "off": float(off)}


def grown(place: Path, what: str, processor: bool) -> dict[str, Any]:
    """One row of `GROWTHS`, measured."""
    setting, stage, values = GROWTHS[what]
    took = []
    for value in values:
        subjects = value if setting == "subjects" else 1
        changed = {"max_train_steps": STEPS * subjects} if setting == "subjects" else {setting: value}
        timings = alone(run_of, place, subjects, {"max_train_steps": STEPS, **SMALL, **changed}, processor)
        took.append(sum(timings[name] for name in STAGES[stage]))
    amounts = [value**2 if setting == "resolution" else value for value in values]
    return {"of": stage, "amounts": amounts, "seconds": took, **line(amounts, took)}


def main() -> None:
    """Measure, print, write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, help="write the result to this JSON file")
    parser.add_argument("--processor", action="store_true", help="count the processor's seconds: on a busy machine")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = {}
        for what in GROWTHS:
            row = rows[what] = grown(Path(folder), what, options.processor)
            told = ", ".join(f"{took:.1f} s at {n}" for n, took in zip(row["amounts"], row["seconds"], strict=True))
            print(f"{what} ({row['of']}): {told}; {row['each']:.3g} s each, worst {row['off']:.0%} off the line")
        whole = alone(run_of, Path(folder), 1, {}, options.processor)
    total = sum(whole.values())
    print(f"a run of the preset, {total:.0f} s:", *(f"{name} {took / total:.0%}" for name, took in whole.items()))
    if options.results:
        from dreambooth.support.files import write_json

        write_json(options.results, {"machine": alone(machine), "growth": rows, "stages of a run": whole})


if __name__ == "__main__":
    main()
