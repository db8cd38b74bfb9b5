"""The CLIP-T that a toy itself has in every scene: what a model that drew it without fault would have.

The toys of `benchmarks.quality`, rendered in each scene, by the sentence that its pictures are scored with; as a share
of what the untuned model's pictures have, from that benchmark's result file, with the tuned model's beside it.

    python -m benchmarks.rendered_scenes benchmarks/results/quality_500steps_2cpu_2026-11-27.json [--results FILE]
"""

import argparse
import json
import random
from dataclasses import replace
from pathlib import Path
from statistics import mean

from benchmarks.machine import machine
from benchmarks.pictures import as_pictures
from benchmarks.quality import A_SCENE
from dreambooth.config import Evaluation
from dreambooth.evaluation import load_judges, metrics
from dreambooth.evaluation.base import Judges
from dreambooth.support.files import write_json
from dreambooth.toybox import captions, world
from dreambooth.toybox.home import TOYBOX
from dreambooth.toybox.render import render


def clip_t_of(judges: Judges, noun: str, seed: int) -> float:
    """Of the toy, rendered plainly in every scene as often as `benchmarks.quality` draws it there."""
    rng, toy = random.Random(f"scenes/{noun}/{seed}"), world.Toy.from_seed(noun, seed)
    scenes = [scene for scene in world.SCENES for _ in range(A_SCENE)]
    shots = [replace(world.Shot.sample(noun, rng, plain=True), scene=scene) for scene in scenes]
    pictures = as_pictures(render([toy] * len(shots), shots, TOYBOX.resolution))
    sentences = judges.clip.texts([f"{captions.article(noun)} {scene}" for scene in scenes])
    return metrics.clip_t(judges.clip.images(pictures), sentences)


def main() -> None:
    """Print each toy's share of the untuned model's CLIP-T, that of its runs, and the means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("quality", type=Path, help="a result file of benchmarks.quality")
    parser.add_argument("--results", type=Path, help="write the result to this JSON file")
    options = parser.parse_args()
    judges, rows = load_judges(Evaluation(), TOYBOX), {}
    runs = json.loads(options.quality.read_text())["runs"]
    for subject in dict.fromkeys(run["subject"] for run in runs):
        noun, seed = subject.rsplit(" ", 1)
        mine = [run for run in runs if run["subject"] == subject]
        untuned = mine[0]["untuned"]["clip_t"]
        tuned = mean(run["tuned"]["clip_t"] / untuned for run in mine)
        rows[subject] = {"rendered": clip_t_of(judges, noun, int(seed)) / untuned, "tuned": tuned}
        print(f"{subject}: rendered {rows[subject]['rendered']:.3f}, tuned {tuned:.3f} of untuned")
    told = {name: mean(row[name] for row in rows.values()) for name in ("rendered", "tuned")}
    print(", ".join(f"{name} {value:.3f}" for name, value in told.items()), f"of untuned, {len(rows)} toys")
    if options.results:
        write_json(options.results, {"machine": machine(), "n": len(rows), "mean": told, "toys": rows})


if __name__ == "__main__":
    main()
