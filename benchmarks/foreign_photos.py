"""How well does the embedded judge tell photos of toys from photos of real things, before anything is trained on them?

Every set of photos gets its likeness to the sentences of the embedded world (dreambooth.evaluation.foreign): the photos
that `dreambooth toybox photos` takes of toys of every class, and those in the folders of a folder, of a thing each. The
two distributions are printed with the errors of the limit, by sets as a run has them and by single photos, and with the
limit half way between the worst of both, for a judge that was trained anew.

    python -m benchmarks.foreign_photos DREAMBENCH --results benchmarks/results/foreign_photos.json
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.machine import machine
from dreambooth.data.photos import photos_in
from dreambooth.evaluation.base import TextImageEmbedder
from dreambooth.evaluation.clip import Clip
from dreambooth.evaluation.foreign import LIMIT, likeness_to_world
from dreambooth.evaluation.scores import open_squares
from dreambooth.evaluation.weights import EMBEDDED, find
from dreambooth.support.files import write_json
from dreambooth.toybox.photos import photos
from dreambooth.toybox.world import CLASSES


def likenesses(clip: TextImageEmbedder, files: Sequence[Path]) -> list[float]:
    """The likeness of each photo of a set."""
    return [likeness_to_world(clip, [picture]) for picture in open_squares(files)]


def of_toys(clip: TextImageEmbedder, seeds: Sequence[int], count: int) -> dict[str, list[float]]:
    """The likenesses of `count` photos of a toy of every class and seed."""
    found = {}
    with TemporaryDirectory() as folder:
        for class_noun in CLASSES:
            for seed in seeds:
                taken = photos(class_noun, seed, count, Path(folder) / f"{class_noun}-{seed}", size=256)
                found[f"{class_noun} {seed}"] = likenesses(clip, taken)
    return found


def told(sets: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """The distribution over sets, its worst ones, and how many sets and photos are below the limit."""
    means = {name: fmean(values) for name, values in sets.items()}
    ordered = sorted(means, key=lambda name: means[name])
    every = [value for values in sets.values() for value in values]
    return {
        "sets": len(means),
        "photos": len(every),
        "mean": fmean(means.values()),
        "deviation": stdev(means.values()),
        "lowest": {name: means[name] for name in ordered[:5]},
        "highest": {name: means[name] for name in ordered[-5:]},
        "sets below the limit": sum(value < LIMIT for value in means.values()),
        "photos below the limit": sum(value < LIMIT for value in every),
    }


def main() -> None:
    """Measure both, print them with the limit's errors, and write them with --results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("real", type=Path, help="folder with a folder of photos for each real thing")
    parser.add_argument("--seeds", type=int, nargs=2, default=(300, 330), help="first and last seed of the toys")
    parser.add_argument("--count", type=int, default=4, help="photos of each toy")
    parser.add_argument("--results", type=Path, help="write the result to this JSON file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    clip = Clip.open(find(EMBEDDED, None, "clip"))
    folders = sorted(folder for folder in options.real.iterdir() if folder.is_dir())
    real = told({folder.name: likenesses(clip, photos_in(folder)) for folder in folders})
    first, last = options.seeds
    toys = told(of_toys(clip, range(first, last + 1), options.count))
    result = {
        "judge": clip.name,
        "limit": LIMIT,
        "toys taken for foreign": f"{toys['sets below the limit']} of {toys['sets']}",
        "real things taken for toys": f"{real['sets'] - real['sets below the limit']} of {real['sets']}",
        "half way between the worst": (min(toys["lowest"].values()) + max(real["highest"].values())) / 2,
        "toys": toys,
        "real things": real,
    }
    print(json.dumps(result, indent=2))
    if options.results:
        write_json(options.results, {"machine": machine(), **result})


if __name__ == "__main__":
    main()
