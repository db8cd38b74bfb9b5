"""Which sampler draws class images as good in fewer looks of the denoiser? The embedded model against its own world.

"a [class noun]" is drawn by each way, and compared with renders of that class: the Frechet distance on what the
classifier and the DINO judge see; the share of pictures that show the class; effective scenes, the spread of colours
and DIV, by which they are as varied. Renders of other toys of the class say what the distance of two sets is.

    python -m benchmarks.class_samplers [--ways ddpm,15,1.5 dpmsolver++,8,1.5] [--results FILE]

A way is a sampler, its steps, and its guidance; a guidance above 1 looks twice a step.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import count as numbers
from multiprocessing import get_context
from pathlib import Path
from statistics import mean

import torch
from torch import Tensor

from benchmarks.machine import machine
from benchmarks.pictures import as_pictures, draw, tensor
from dreambooth import models
from dreambooth.config import Config, Evaluation
from dreambooth.evaluation import load_judges
from dreambooth.evaluation.base import Judges
from dreambooth.evaluation.variety import variety
from dreambooth.models.base import Sampling
from dreambooth.support.files import write_json
from dreambooth.toybox import captions
from dreambooth.toybox.home import TOYBOX
from pretraining import renders
from pretraining.frechet import Eyes, frechet

NOUNS = ("dog", "teapot", "car", "bear")
WAYS = (
    *("ddpm,30,1.5", "ddpm,15,1.5", "ddpm,10,1.5", "ddpm,8,1.5", "dpmsolver++,10,1.5", "dpmsolver++,8,1.5"),
    "ddpm,15,1",
)
HELD_OUT = 1_000_040
"""Numbers of shards of renders that nothing was trained on, from here on."""

BATCH = 20


def way_of(text: str) -> Sampling:
    """sampler,steps,guidance."""
    sampler, steps, guidance = text.split(",")
    return Sampling(sampler=sampler, num_inference_steps=int(steps), guidance_scale=float(guidance))


def of_class(noun: str, count: int, first: int) -> Tensor:
    """Renders (count, 3, H, W) uint8 of a class, from the held-out shards that begin with `first`."""
    found: list[renders.Truth] = []
    for shard in numbers(first):
        found += [truth for truth in renders.truths_of(shard) if truth.toy.class_noun == noun]
        if len(found) >= count:
            return renders.draw(found[:count], TOYBOX.resolution)
    raise AssertionError


def seen(eyes: Eyes, judges: Judges, noun: str, pictures: Tensor, real: Mapping[str, Tensor]) -> dict[str, float]:
    """The numbers of one set of pictures (N, 3, H, W) in [0, 1]."""
    features = eyes.see((pictures * 255).round().byte())
    varied = variety(judges, as_pictures(pictures))
    assert varied is not None and varied.div is not None
    return {
        **{f"Frechet, {net}": frechet(features[net], real[net]) for net in real},
        "class right": mean(what["class_noun"] == noun for what in eyes.classifier.read(pictures)),
        "scenes": eyes.classifier.scenes(pictures),
        "spread of colours": eyes.classifier.spread(pictures),
        "DIV": varied.div,
    }


def measure(ways: Sequence[str], count: int, noun: str) -> dict[str, dict[str, float]]:
    """The numbers of each way for one class, and of other renders."""
    torch.set_num_threads(1)
    eyes, judges, model = Eyes(), load_judges(Evaluation(), TOYBOX), models.load(Config.build({}).base)
    real = eyes.see(of_class(noun, count, HELD_OUT))
    found = {"renders": seen(eyes, judges, noun, of_class(noun, count, HELD_OUT + 20).float() / 255, real)}
    for way in ways:
        pictures = draw(model, [captions.article(noun)] * count, way_of(way), BATCH)
        looks = float(model.stages[0].looks(way_of(way)))
        found[way] = {**seen(eyes, judges, noun, tensor(pictures), real), "looks": looks}
    return found


def main() -> None:
    """Draw, look, print the means over the classes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ways", nargs="+", default=WAYS)
    parser.add_argument("--count", type=int, default=128, help="pictures of a class by each way")
    parser.add_argument("--nouns", nargs="+", default=NOUNS)
    parser.add_argument("--jobs", type=int, default=2, help="classes at a time, one thread each")
    parser.add_argument("--results", type=Path, help="write the result to this JSON file")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that are started below
    with ProcessPoolExecutor(options.jobs, get_context("spawn")) as pool:
        by_noun = dict(
            zip(options.nouns, pool.map(partial(measure, options.ways, options.count), options.nouns), strict=True)
        )
    means = {}
    for way in ("renders", *options.ways):
        rows = [found[way] for found in by_noun.values()]
        means[way] = {name: mean(row[name] for row in rows) for name in rows[0]}
        print(f"{way}:", ", ".join(f"{name} {value:.3f}" for name, value in means[way].items()))
    if options.results:
        write_json(options.results, {"machine": machine(), "n": options.count, "mean": means, "by class": by_noun})


if __name__ == "__main__":
    main()
