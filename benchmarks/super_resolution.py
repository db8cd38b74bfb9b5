"""What is tuning a cascade's super-resolution worth, and at which noise on the small picture? On the embedded cascade.

The paper tunes super-resolution too, at next to no noise, and shows what is lost if it is not, or at the usual noise.
Here, of each toy that nothing was chosen on, the whole of `toybox-cascade` is tuned, and its super-resolution once more
at the noise level at which DeepFloyd IF draws. Measured is what each makes

    of photos that no training saw, shrunk to the base's 16 pixels: DINO between each quarter that shows the subject
    and the same quarter of the photo, and the error of the pixels;
    of what the tuned base draws in every scene: DINO against the photos.

A toy that was measured before is read back. Intervals are over toys.

    python -m benchmarks.super_resolution --out build/sr --results FILE
"""

import argparse
import json
import os
import random
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import quality
from benchmarks.machine import machine
from benchmarks.means import over
from benchmarks.pictures import as_pictures, draw, in_scenes
from dreambooth import Config, Run, models, recipe
from dreambooth.config import Base, Evaluation
from dreambooth.config.worlds import embedded_folder
from dreambooth.evaluation import Judges, load_judges
from dreambooth.evaluation.scores import measure_photos, score
from dreambooth.generation.requests import sampling_of
from dreambooth.generation.sheet import Row, lay_out
from dreambooth.models.base import Sampling
from dreambooth.models.deepfloyd_if import DeepFloydIF
from dreambooth.support.files import write_json
from dreambooth.support.model_index import LATER_STAGE
from dreambooth.toybox.home import TOYBOX
from dreambooth.toybox.render import render, render_mask
from dreambooth.toybox.world import SCENES, Shot, Toy
from pretraining.cascade import BASE_SIDE, SIDE

MODEL = "toybox-cascade"
LEVEL = 250  # of 1000, IF's own
TOYS = quality.TOYS["unseen"]
SHOWN = 0.1  # a quarter shows the subject where its mask covers so much of it


def held_out(noun: str, seed: int) -> tuple[Tensor, Tensor]:
    """Photos of a toy that no training saw, one in each scene, (N, 3, 64, 64); and its masks (N, 1, 64, 64)."""
    rng = random.Random(f"held out/{noun}/{seed}")
    shots = [replace(Shot.sample(noun, rng, plain=True), scene=scene) for scene in SCENES]
    toys = [Toy.from_seed(noun, seed)] * len(shots)
    return render(toys, shots, SIDE), render_mask(toys, shots, SIDE)


def opened(run: Run, larger: Path, level: int | None) -> DeepFloydIF:
    """The run's tuned base before another super-resolution."""
    model = models.load(Base(model=str(run.model), super_resolution=str(larger), noise_level=level))
    assert isinstance(model, DeepFloydIF)
    return model


def enlarged(model: DeepFloydIF, small: Tensor, prompts: Sequence[str], sampling: Sampling) -> Tensor:
    """What super-resolution makes of small pictures (N, 3, h, w), in [0, 1] like them."""
    generators = [torch.Generator().manual_seed(number) for number in range(len(small))]
    return (model.enlarged(small * 2 - 1, prompts, generators, sampling) / 2 + 0.5).clamp(0, 1)


def quarters(pictures: Tensor) -> Tensor:
    """The four quarters of each (N, C, h, w): (4 N, C, h / 2, w / 2)."""
    half = pictures.shape[-1] // 2
    return torch.cat([pictures[..., y : y + half, x : x + half] for y in (0, half) for x in (0, half)])


def detail(judges: Judges, made: Tensor, photos: Tensor, masks: Tensor) -> dict[str, float]:
    """How much of the photos' detail is given back: DINO of quarters, and the subject's pixels, as PSNR in dB."""
    shows = quarters(masks).mean((1, 2, 3)) >= SHOWN
    ours, theirs = (judges.dino.images(as_pictures(quarters(its)[shows])) for its in (made, photos))
    error = ((made - photos).square().mean(1, keepdim=True) * masks).sum() / masks.sum()
    return {"dino of quarters": F.cosine_similarity(ours, theirs).mean().item(), "psnr": -10 * error.log10().item()}


def measure(out: Path, seed: int, toy: tuple[str, int]) -> dict[str, Any]:
    """A toy's two trainings, and what each super-resolution makes of held-out photos and the base's pictures."""
    noun, number = toy
    whole = quality.measure(out, {"model": MODEL}, True, (noun, number, seed))
    folder = out / f"{noun}-{number}-seed{seed}"
    kept = folder / "super_resolution.json"
    if kept.exists():
        return dict(json.loads(kept.read_text()))
    torch.set_num_threads(1)
    run = Run.open(folder / "run")
    settings = {**quality.FIXED, "model": MODEL, "seed": seed, "noise_level": LEVEL, "stages": (LATER_STAGE,)}
    at_if_noise = recipe.dreambooth(run.subject, Config.build(settings), folder / "if-noise")
    judges, sampling = load_judges(Evaluation(), TOYBOX), sampling_of(run.config.generation)
    photos, masks = held_out(noun, number)
    small = F.interpolate(photos, size=BASE_SIDE, mode="area")
    texts = in_scenes(run.subject.name)
    real, asked = measure_photos(judges, run.subject.photos), in_scenes(noun)
    packaged = embedded_folder(MODEL)
    assert packaged
    found, rows = {}, [Row("photos that no training saw", (("", tuple(as_pictures(photos))),))]
    for arm, (larger, level) in {
        "tuned": (run.model / LATER_STAGE, 0),
        "not tuned": (packaged / LATER_STAGE, 0),
        "tuned at IF's noise": (at_if_noise.model / LATER_STAGE, LEVEL),
        "not tuned, at IF's noise": (packaged / LATER_STAGE, LEVEL),
    }.items():
        model = opened(run, larger, level)
        made = enlarged(model, small, texts, sampling)
        drawn = draw(model, texts, sampling, run.config.prior.sample_batch_size)
        scores = score(judges, real, drawn, asked)
        found[arm] = {**detail(judges, made, photos, masks), "dino": scores.dino, "clip_t": scores.clip_t}
        rows.append(Row(arm, (("", tuple(as_pictures(made))),)))
    lay_out(rows, SIDE).save(folder / "super_resolution.png")
    result = {
        "subject": f"{noun} {number}",
        "identifier": whole["identifier"],
        "real": real.real_row.dino,
        "arms": found,
    }
    write_json(kept, result)
    return result


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The mean of each arm, and what "tuned" is above each other one, with intervals over toys."""

    def told_of(values: list[float]) -> dict[str, Any]:
        return {**over(values), "least": min(values)}

    arms, names = list(rows[0]["arms"]), list(rows[0]["arms"]["tuned"])
    told: dict[str, Any] = {}
    for arm in arms:
        told[arm] = {name: told_of([row["arms"][arm][name] for row in rows]) for name in names}
        if arm != "tuned":
            above = {name: [row["arms"]["tuned"][name] - row["arms"][arm][name] for row in rows] for name in names}
            told[f"tuned - {arm}"] = {name: told_of(values) for name, values in above.items()}
    return told


def main() -> None:
    """Measure what was not measured yet, print, and write with --results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the runs, as benchmarks.quality --keep-models has them"
    )
    parser.add_argument("--count", type=int, help="only the first of the toys")
    parser.add_argument("--seed", type=int, default=5, help="of the training and the identifier")
    parser.add_argument("--jobs", type=int, default=2, help="toys at a time, one thread each")
    parser.add_argument("--results", type=Path)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that are started below
    with ProcessPoolExecutor(options.jobs, get_context("spawn")) as pool:
        rows = list(pool.map(partial(measure, options.out, options.seed), TOYS[: options.count]))
    result = {"machine": machine(), "n": len(rows), "seed": options.seed, "summary": summary(rows), "toys": rows}
    print(json.dumps(result["summary"], indent=2))
    if options.results:
        write_json(options.results, result)


if __name__ == "__main__":
    main()
