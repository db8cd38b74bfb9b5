"""Does a loss weighted by masks keep what stands around a subject out of its name? On toys, where the truth is known.

Each toy is photographed four times, each time with the same two other toys beside it. The same photos are learned with
the plain loss and with the masked one: by the true masks ("given"), or by those that the DINO judge finds ("found").
Pictures in every scene are then compared with photos of the toy alone, which no training saw. What was measured before
is read back. Intervals are over toys; fewer than six are a sign and no measurement.

    python -m benchmarks.masked_loss --out build/masked --results FILE
"""

import argparse
import json
import random
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from PIL import Image

from benchmarks.machine import machine
from benchmarks.means import over
from benchmarks.pictures import as_pictures, draw, in_scenes
from benchmarks.quality import FIXED
from dreambooth import Config, Subject, recipe
from dreambooth.config import Evaluation
from dreambooth.evaluation import Judges, load_judges
from dreambooth.evaluation.scores import measure_photos, score
from dreambooth.generation.requests import sampling_of
from dreambooth.personal import personal_model
from dreambooth.run import Run
from dreambooth.support.files import write_json
from dreambooth.toybox import world
from dreambooth.toybox.home import TOYBOX
from dreambooth.toybox.photos import photos
from dreambooth.toybox.render import render, render_mask
from dreambooth.toybox.world import SCENES, Shot, Toy

PHOTOS, SIDE = 4, 128
BESIDE = ((-0.62, -0.35), (0.62, -0.3))
"""Where the two other toys stand, in half frames."""

ARMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "given": {"masked_loss": True},
    "found": {"masked_loss": True},
}
TOYS = "dog:811,cat:814,teapot:812,robot:813,bear:816,backpack:817"
METRICS = ("dino", "masked_dino", "clip_t")


def crowded(noun: str, seed: int, folder: Path, with_masks: bool) -> tuple[Path, ...]:
    """Photos of a toy among two others, which stay the same, and beside them its true masks."""
    rng = random.Random(f"crowded/{noun}/{seed}")
    scenes = rng.sample(SCENES, PHOTOS)
    shots = [replace(Shot.sample(noun, rng, plain=True), scene=scene) for scene in scenes]
    toy = Toy.from_seed(noun, seed)
    pictures, own = render([toy] * PHOTOS, shots, SIDE), render_mask([toy] * PHOTOS, shots, SIDE)
    for at, (other, place) in enumerate(
        zip(rng.sample([n for n in world.CLASSES if n != noun], 2), BESIDE, strict=True)
    ):
        second = Toy.from_seed(other, 4000 + seed + at)
        theirs = [replace(shot, offset=place, zoom=0.55 * shot.zoom) for shot in shots]
        theirs = [replace(Shot.sample(other, rng, plain=True), **_stands(shot)) for shot in theirs]
        mask = render_mask([second] * PHOTOS, theirs, SIDE) * (1 - own)
        pictures = mask * render([second] * PHOTOS, theirs, SIDE) + (1 - mask) * pictures
    folder.mkdir(parents=True)
    paths = [folder / f"{number}.png" for number in range(PHOTOS)]
    for path, picture, mask in zip(paths, as_pictures(pictures), own[:, 0], strict=True):
        picture.save(path)
        if with_masks:
            Image.fromarray((mask * 255).round().byte().numpy()).save(path.with_suffix(".mask.png"))
    return tuple(paths)


def _stands(shot: Shot) -> dict[str, Any]:
    return {"offset": shot.offset, "zoom": shot.zoom, "scene": shot.scene, "scene_jitter": shot.scene_jitter}


def drawn_in_scenes(run: Run, name: str, times: int = 1) -> list[Image.Image]:
    """The tuned model's pictures of a name, so many in each scene."""
    return draw(
        personal_model(run),
        in_scenes(name, times),
        sampling_of(run.config.generation),
        run.config.prior.sample_batch_size,
    )


def scores(judges: Judges, alone: tuple[Path, ...], noun: str, pictures: list[Image.Image]) -> dict[str, float]:
    """What the judges say of pictures in every scene, against photos of the toy alone."""
    asked = in_scenes(noun, len(pictures) // len(SCENES))
    found = score(judges, measure_photos(judges, alone), pictures, asked)
    return {name: round(value, 4) for name in METRICS if (value := getattr(found, name)) is not None}


def measure(folder: Path, noun: str, seed: int, arm: str, steps: int, prior: bool) -> dict[str, float]:
    """One training, and its pictures; read back where it was measured before."""
    kept = folder / arm / "scores.json"
    if kept.exists():
        return dict(json.loads(kept.read_text()))
    judges = load_judges(Evaluation(), TOYBOX)
    photographed = folder / ("with masks" if arm == "given" else "photos")
    paths = tuple(sorted(photographed.glob("?.png"))) or crowded(noun, seed, photographed, arm == "given")
    alone = tuple(sorted((folder / "alone").glob("*.png"))) or tuple(photos(noun, seed, PHOTOS, folder / "alone"))
    fixed = {**FIXED, "max_train_steps": steps, "with_prior_preservation": prior}
    run = recipe.dreambooth(
        Subject(photos=paths, class_noun=noun), Config.build({**fixed, **ARMS[arm]}), folder / arm / "run"
    )
    found = scores(judges, alone, noun, drawn_in_scenes(run, run.subject.name))
    write_json(kept, found)
    return found


def _above(rows: dict[str, Any], arm: str, name: str) -> dict[str, Any]:
    return over([row[arm][name] - row["plain"][name] for row in rows.values()])


def main() -> None:
    """Measure, print, and write with --results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toys", default=TOYS, help="class:seed, with commas")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--steps", type=int, default=Config.build({}).training.max_train_steps)
    parser.add_argument("--prior", action=argparse.BooleanOptionalAction, default=True, help="with class images")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--results", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    how = options.steps, options.prior
    toys = [(noun, int(seed)) for noun, _, seed in (toy.partition(":") for toy in options.toys.split(","))]
    rows = {
        f"{noun} {seed}": {arm: measure(options.out / f"{noun}-{seed}", noun, seed, arm, *how) for arm in options.arms}
        for noun, seed in toys
    }
    means = {arm: {name: mean(row[arm][name] for row in rows.values()) for name in METRICS} for arm in options.arms}
    above = {
        f"{arm} - plain": {name: _above(rows, arm, name) for name in METRICS}
        for arm in options.arms
        if arm != "plain" and "plain" in options.arms
    }
    asked = {"steps": options.steps, "prior": options.prior}
    result = {"machine": machine(), **asked, "toys": len(rows), "seeds": 1, "mean": means, **above, "rows": rows}
    print(json.dumps(result, indent=2))
    if options.results:
        write_json(options.results, result)


if __name__ == "__main__":
    main()
