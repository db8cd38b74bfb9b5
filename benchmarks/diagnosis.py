"""Does the diagnosis name each of the paper's failures where it was made on purpose, and accuse no good run?

    overfitted     no class prior, and the learning rates three times the preset's
    one scene      the same, and every photo in the same scene: it becomes part of the subject
    entangled      one photo of four is at night, and there the toy has other colours

Good runs are the preset's own, of a subject of every class.

    python -m benchmarks.diagnosis --out build/diagnosis
"""

import argparse
import json
import random
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import count, repeat
from math import dist
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from benchmarks.machine import machine
from dreambooth import Config, Run, Subject, recipe
from dreambooth.toybox import world
from dreambooth.toybox.photos import photos
from dreambooth.toybox.render import render

FAST: dict[str, Any] = {"with_prior_preservation": False, "learning_rate": 3e-4, "text_encoder_lr": 7.5e-4}
BROKEN: dict[str, tuple[str, int, dict[str, Any], str]] = {
    "overfitted": ("teapot", 81, FAST, "overfitting to the photos"),
    "one scene": ("cat", 82, FAST, "context not synthesised"),
    "entangled": ("dog", 83, {}, "context-appearance entanglement"),
}
"""Class noun and seed of the subject, settings, and the failure to be named."""

GOOD = (("car", 84), ("cat", 85), ("dog", 86), ("duck", 87), ("robot", 88), ("teapot", 89))
PLAIN = ("in the snow", "in the jungle", "on pink fabric")
FAR = 0.7
"""Colours this far apart, of sqrt(3), are other colours."""


def take(kind: str, class_noun: str, seed: int, folder: Path) -> None:
    """Write four photos as `kind` needs them."""
    if kind not in ("one scene", "entangled"):
        photos(class_noun, seed, 4, folder)
        return
    rng, toy = random.Random(f"{kind}/{class_noun}/{seed}"), world.Toy.from_seed(class_noun, seed)
    shots = [world.Shot.sample(class_noun, rng, plain=True) for _ in range(4)]
    if kind == "one scene":
        toys, scenes = [toy] * 4, ["in the snow"] * 4
    else:
        others = (world.Toy.from_seed(class_noun, seed + 1000 + number) for number in count())
        other = next(other for other in others if dist(other.main, toy.main) > FAR)
        toys, scenes = [toy] * 3 + [replace(other, proportions=toy.proportions)], [*PLAIN, "at night"]
    pictures = render(toys, [replace(shot, scene=scene) for shot, scene in zip(shots, scenes, strict=True)], 256)
    folder.mkdir(parents=True)
    for number, picture in enumerate((pictures * 255).round().byte().permute(0, 2, 3, 1)):
        Image.fromarray(picture.numpy()).save(folder / f"{number:02d}.png")


def failures(kind: str, class_noun: str, seed: int, settings: dict[str, Any], out: Path) -> list[dict[str, Any]]:
    """The findings of one run."""
    folder = out / f"{kind}-{class_noun}-{seed}".replace(" ", "-")
    if not (folder / "photos").exists():
        take(kind, class_noun, seed, folder / "photos")
    subject = Subject(photos=tuple(sorted((folder / "photos").glob("*.png"))), class_noun=class_noun)
    run = Run.create(folder / "run", subject, Config.build(settings))
    recipe.personalise(run)
    findings: list[dict[str, Any]] = run.read_json("diagnosis.json")["findings"]
    print(f"{kind} {class_noun} {seed}: {len(findings)} found", *(finding["says"] for finding in findings), sep="\n  ")
    return findings


def main() -> None:
    """Run the broken and the good, print what was found, and write it with machine and versions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/diagnosis"), help="folder of the runs")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--results", type=Path, default=None, help="write the result to this JSON file")
    options = parser.parse_args()
    wanted = [(kind, noun, seed, more) for kind, (noun, seed, more, _) in BROKEN.items()]
    wanted += [("good", noun, seed, {}) for noun, seed in GOOD]
    with ProcessPoolExecutor(options.jobs, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        results = list(pool.map(failures, *zip(*wanted, strict=True), repeat(options.out)))
    found = dict(zip(BROKEN, results, strict=False))
    good = {f"{noun} {seed}": result for (noun, seed), result in zip(GOOD, results[len(BROKEN) :], strict=True)}
    named = {kind: BROKEN[kind][3] in {finding["failure"] for finding in found[kind]} for kind in BROKEN}
    answers = {"named right": named, "good runs accused": sum(map(bool, good.values())), "good runs": len(good)}
    print(json.dumps(answers, indent=2))
    if options.results:
        told = {"machine": machine(), **answers, "broken": found, "good": good}
        options.results.write_text(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main()
