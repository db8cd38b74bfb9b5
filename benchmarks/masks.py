"""How well is the subject found without a true mask? In a rendered world the true one is known.

For each subject four photos, then pictures of it in other scenes, poses and light, some of them dressed, some drawn.
Printed for each class: the intersection over union of the found and the true mask, beside what a patch grid can reach
at best and what the middle of every picture gives; and how often the masked DINO score of a picture is higher for its
own subject than for another one of the class (AUC), beside plain DINO.

    python -m benchmarks.masks
"""

import argparse
import json
import random
from dataclasses import replace
from pathlib import Path
from statistics import mean

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.machine import machine
from benchmarks.pictures import as_pictures
from dreambooth.config.worlds import EMBEDDED
from dreambooth.evaluation.dino import Dino
from dreambooth.evaluation.masks import alone, look_of
from dreambooth.evaluation.metrics import median_resemblance, resemblance
from dreambooth.evaluation.weights import find
from dreambooth.support.files import write_json
from dreambooth.toybox.render import render, render_mask
from dreambooth.toybox.world import CLASSES, SCENES, Shot, Toy

SUBJECTS = range(951, 955)
PHOTOS, NEW = 4, 6


def shots(class_noun: str, rng: random.Random) -> list[Shot]:
    """PHOTOS plain shots, then NEW of any kind, each in a scene of its own."""
    scenes = rng.sample(SCENES, PHOTOS + NEW)
    drawn = [Shot.sample(class_noun, rng, plain=at < PHOTOS) for at in range(PHOTOS + NEW)]
    return [replace(shot, scene=scene) for shot, scene in zip(drawn, scenes, strict=True)]


def overlap(found: Tensor, true: Tensor) -> Tensor:
    """Intersection over union (N,) of masks (N, H, W) bool."""
    return (found & true).sum((1, 2)) / (found | true).sum((1, 2))


def auc(own: Tensor, other: Tensor) -> float:
    """How often one of `own` is above one of `other`."""
    return (own[:, None] > other).float().mean().item()


def measure(judge: Dino, class_noun: str) -> dict[str, float]:
    """The figures of a class."""
    overlaps: dict[str, list[Tensor]] = {"photos": [], "new": [], "at best": [], "middle": []}
    seen: list[dict[str, Tensor]] = []
    for seed in SUBJECTS:
        toy, taken = Toy.from_seed(class_noun, seed), shots(class_noun, random.Random(f"masks/{class_noun}/{seed}"))
        pictures = as_pictures(render([toy] * len(taken), taken))
        true = render_mask([toy] * len(taken), taken)[:, 0] > 0.5
        patches = judge.patches(pictures)
        evidence = look_of(patches[:PHOTOS]).evidence(patches)
        found = overlap(F.interpolate(evidence[:, None], true.shape[1:], mode="bilinear")[:, 0] > 0, true)
        overlaps["photos"].append(found[:PHOTOS])
        overlaps["new"].append(found[PHOTOS:])
        shares = F.adaptive_avg_pool2d(true[:, None].float(), (patches.shape[1], patches.shape[2]))
        overlaps["at best"].append(overlap(F.interpolate(shares, true.shape[1:], mode="bilinear")[:, 0] > 0.5, true))
        middle = torch.zeros_like(true)
        middle[:, 12:52, 12:52] = True
        overlaps["middle"].append(overlap(middle, true))
        seen.append({"plain": judge.images(pictures), "masked": judge.images(alone(pictures, evidence))})
    figures = {f"IoU {name}": torch.cat(values).mean().item() for name, values in overlaps.items()}
    for kind in ("plain", "masked"):
        photos, new = ([one[kind][part] for one in seen] for part in (slice(PHOTOS), slice(PHOTOS, None)))
        alike = median_resemblance if kind == "masked" else resemblance
        aucs = [
            auc(alike(mine, real), torch.cat([alike(others, real) for others in new if others is not mine]))
            for mine, real in zip(new, photos, strict=True)
        ]
        figures[f"AUC {kind}"] = mean(aucs)
    return figures


def main() -> None:
    """Measure, print, and write with --out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dino", default=EMBEDDED, help="the judge: toybox, a folder or a hub id")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    judge = Dino.open(find(options.dino, None, "dino"))
    classes = {class_noun: measure(judge, class_noun) for class_noun in CLASSES}
    means = {name: mean(figures[name] for figures in classes.values()) for name in classes[CLASSES[0]]}
    result = {"judge": judge.name, "machine": machine(), "mean": means, "classes": classes}
    print(json.dumps(result, indent=2))
    if options.out:
        write_json(options.out, result)


if __name__ == "__main__":
    main()
