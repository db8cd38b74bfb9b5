"""Does the diagnosis name each of the paper's failures where it was made on purpose, and accuse no good run?

    overfitted     no class prior, the learning rate three times the preset's and that of the text encoder six times
    one scene      the same, and every photo in the same scene: it becomes part of the subject
    narrow         no class prior, and every photo in the same scene: where none is asked for there is no other
    entangled      no class prior, twice the preset's steps, and one photo of four is at night with other colours

Good runs are the preset's own; whether one is as good as it should be, a classifier that was trained on renders alone
reads off its pictures (pretraining/classifier.py). Finished runs are read back.

    python -m benchmarks.diagnosis --out build/diagnosis [--each 6] [--good 12] [--results FILE]
"""

import argparse
import json
import random
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from itertools import product, repeat
from math import dist
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import machine
from benchmarks.pictures import as_pictures, tensor
from dreambooth import Config, Run, Subject, recipe
from dreambooth.data.pictures import open_image
from dreambooth.generation.samples import opened, read_samples
from dreambooth.probe import diagnose
from dreambooth.run.records import RECOMMENDATION, SCORES
from dreambooth.support.files import atomic_write
from dreambooth.toybox import world
from dreambooth.toybox.photos import photos
from dreambooth.toybox.render import render
from pretraining import classifier

FAST: dict[str, Any] = {"with_prior_preservation": False, "learning_rate": 9e-4, "text_encoder_lr": 1.2e-3}
TWICE = 2 * Config.build({}).training.max_train_steps
BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "overfitted": (FAST, "overfitting to the photos"),
    "one scene": (FAST, "context not synthesised"),
    "narrow": ({"with_prior_preservation": False}, "variety lost"),
    "entangled": ({"with_prior_preservation": False, "max_train_steps": TWICE}, "context-appearance entanglement"),
}
"""Settings, and the failure to be named."""

SUBJECTS = {
    kind: tuple((world.CLASSES[number % len(world.CLASSES)], first + number) for number in range(12))
    for kind, first in (("good", 310), ("overfitted", 330), ("one scene", 350), ("narrow", 370), ("entangled", 390))
}
"""Class noun and seed, by kind of run; as many of the first ones are taken as asked for."""
PLAIN = ("in the snow", "in the jungle", "on pink fabric")
FAR = 0.6
"""Colours this far apart, of sqrt(3), are other colours."""


def take(kind: str, class_noun: str, seed: int, folder: Path) -> None:
    """Write four photos as `kind` needs them."""
    if kind not in ("one scene", "narrow", "entangled"):
        photos(class_noun, seed, 4, folder)
        return
    rng, toy = random.Random(f"{kind}/{class_noun}/{seed}"), world.Toy.from_seed(class_noun, seed)
    shots = [world.Shot.sample(class_noun, rng, plain=True) for _ in range(4)]
    if kind in ("one scene", "narrow"):
        toys, scenes = [toy] * 4, ["in the snow"] * 4
    else:
        others = [world.Toy.from_seed(class_noun, seed + 1000 + number) for number in range(50)]
        other = next((other for other in others if _apart(other, toy) > FAR), max(others, key=partial(_apart, toy)))
        toys, scenes = [toy] * 3 + [replace(other, proportions=toy.proportions)], [*PLAIN, "at night"]
    pictures = render(toys, [replace(shot, scene=scene) for shot, scene in zip(shots, scenes, strict=True)], 256)
    with atomic_write(folder) as aside:
        aside.mkdir()
        for number, picture in enumerate(as_pictures(pictures)):
            picture.save(aside / f"{number:02d}.png")


def _apart(other: world.Toy, toy: world.Toy) -> float:
    """How far the nearest two colours of the toys are from each other."""
    return min(dist(*pair) for pair in product((other.main, other.secondary), (toy.main, toy.secondary)))


def failures(kind: str, class_noun: str, seed: int, out: Path) -> list[dict[str, Any]]:
    """The findings of one run."""
    folder = _folder(out, kind, class_noun, seed)
    if not (folder / "photos").exists():
        take(kind, class_noun, seed, folder / "photos")
    subject = Subject(photos=tuple(sorted((folder / "photos").glob("*.png"))), class_noun=class_noun)
    settings = BROKEN[kind][0] if kind in BROKEN else {}
    run = Run.create(folder / "run", subject, Config.build(settings))
    recipe.personalise(run)
    probes = {probed.step: probed for probed in SCORES.read(run.root)}  # diagnosis.json may be of an older code
    findings = [asdict(finding) for finding in diagnose(probes, RECOMMENDATION.read(run.root).step)]
    print(f"{kind} {class_noun} {seed}: {len(findings)} found", *(finding["says"] for finding in findings), sep="\n  ")
    return findings


def read_off(kind: str, class_noun: str, seed: int, out: Path) -> dict[str, dict[str, float]]:
    """What the classifier sees at the recommended and the last step of a run that `failures` made.

    scene: how many of the probe's pictures show the place asked for.  colours: RMS distance in [0, 2] to the toy's own
    as read off its photos, in the place where that is largest.
    """
    run, judge = Run.open(_folder(out, kind, class_noun, seed) / "run"), classifier.load()
    photos = tensor([open_image(photo) for photo in run.subject.photos])
    own, found = judge.read_colours(photos).median(0).values, {}
    verdict = RECOMMENDATION.read(run.root)
    for name, step in (("step", verdict.step), ("last", verdict.last)):
        samples = [one for one in read_samples(run.samples / f"step-{step:06d}") if one.kind != "class"]
        places = sorted({one.template for one in samples} - {"a {}"})
        images = {place: tensor([opened(one) for one in samples if one.template == place]) for place in places}
        right = [read["scene"] == place[5:] for place in places for read in judge.read(images[place])]
        off = [float((judge.read_colours(images[place]) - own).square().mean().sqrt()) for place in places]
        found[name] = {"scene": sum(right) / len(right), "colours": max(off)}
    return found


def _folder(out: Path, kind: str, class_noun: str, seed: int) -> Path:
    return out / f"{kind}-{class_noun}-{seed}".replace(" ", "-")


def main() -> None:
    """Run the broken and the good, print what was found, and write it with machine and versions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/diagnosis"), help="folder of the runs")
    parser.add_argument("--each", type=int, default=6, help="runs of each broken kind")
    parser.add_argument("--good", type=int, default=12, help="good runs")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--results", type=Path, default=None, help="write the result to this JSON file")
    options = parser.parse_args()
    counts = {kind: options.each if kind in BROKEN else options.good for kind in SUBJECTS}
    wanted = [(kind, *subject) for kind, count in counts.items() for subject in SUBJECTS[kind][:count]]
    with ProcessPoolExecutor(options.jobs, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        found = list(pool.map(failures, *zip(*wanted, strict=True), repeat(options.out)))
    right: dict[str, list[bool]] = {kind: [] for kind in SUBJECTS}
    for (kind, *_), findings in zip(wanted, found, strict=True):
        right[kind].append(_right(kind, findings))
    payload = {kind: f"{sum(those)} of {len(those)} right" for kind, those in right.items() if those}
    print(json.dumps(payload, indent=2))
    if options.results:
        runs = {
            f"{kind}, {noun} {seed}": {"read off": read_off(kind, noun, seed, options.out), "findings": findings}
            for (kind, noun, seed), findings in zip(wanted, found, strict=True)
        }
        options.results.write_text(json.dumps({"machine": machine(), **payload, "runs": runs}, indent=2) + "\n")


def _right(kind: str, findings: list[dict[str, Any]]) -> bool:
    """Whether a broken run is named as it should be, or a good one not accused."""
    return BROKEN[kind][1] in {finding["failure"] for finding in findings} if kind in BROKEN else not findings


if __name__ == "__main__":
    main()
