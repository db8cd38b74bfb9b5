"""Two subjects in one model beside two models of one each: is each as much itself, and does one become the other?

On toys, two a pair. Of each: DINO of its pictures in every scene against its own photos, by the model of both (trained
for twice the steps, each subject for as many as alone) and by its own; and against the other one's photos, beside the
pictures of its untuned class. Fewer than six pairs are a sign and no measurement.

    python -m benchmarks.two_subjects --pairs dog:811+cat:814 --out build/two --results FILE
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from benchmarks.machine import machine
from benchmarks.masked_loss import FIXED, in_scenes, scores
from benchmarks.pictures import draw
from dreambooth import Config, Subject, recipe
from dreambooth.config import Evaluation
from dreambooth.evaluation import load_judges
from dreambooth.evaluation.scores import measure_photos, score
from dreambooth.generation.requests import sampling_of
from dreambooth.run import Run
from dreambooth.run.companions import each
from dreambooth.support.files import write_json
from dreambooth.toybox import captions
from dreambooth.toybox.home import TOYBOX
from dreambooth.toybox.photos import photos
from dreambooth.toybox.world import SCENES


def subject_of(folder: Path, noun: str, seed: int) -> Subject:
    """A toy and its photos, taken once."""
    where = folder / f"{noun}-{seed}"
    return Subject(photos=tuple(sorted(where.glob("*.png"))) or tuple(photos(noun, seed, 4, where)), class_noun=noun)


def measure(folder: Path, pair: list[tuple[str, int]]) -> dict[str, Any]:
    """A pair's three trainings, and what the judges say of each subject's pictures."""
    judges = load_judges(Evaluation(), TOYBOX)
    subjects = [subject_of(folder / "photos", *toy) for toy in pair]
    steps = Config.build(FIXED).training.max_train_steps
    single = [
        recipe.dreambooth(subject, Config.build(FIXED), folder / f"{noun}-{seed}")
        for subject, (noun, seed) in zip(subjects, pair, strict=True)
    ]
    called = "+".join(f"{noun}-{seed}" for noun, seed in pair)
    both = recipe.dreambooth(
        subjects[0], Config.build({**FIXED, "max_train_steps": 2 * steps}), folder / called, subjects[1:]
    )
    found = {}
    for at, (alone, its) in enumerate(zip(single, each(both), strict=True)):
        noun, own, other = its.subject.class_noun, its.subject.photos, subjects[1 - at].photos
        together = in_scenes(both, its.subject.name)
        found[f"{noun} {pair[at][1]}"] = {
            "alone": scores(judges, own, noun, in_scenes(alone, alone.subject.name)),
            "together": scores(judges, own, noun, together),
            "like the other": dino_to(judges, other, noun, together),
            "its class, untuned, like the other": dino_to(judges, other, noun, untuned(both, noun)),
        }
    return found


def dino_to(judges: Any, photos: tuple[Path, ...], noun: str, pictures: list[Image.Image]) -> float:
    """DINO of pictures to photos."""
    asked = [f"{captions.article(noun)} {scene}" for scene in SCENES]
    return round(score(judges, measure_photos(judges, photos), pictures, asked).dino or 0.0, 4)


def untuned(run: Run, noun: str) -> list[Image.Image]:
    """The base model's pictures of a class, one in each scene."""
    texts = [f"{captions.article(noun)} {scene}" for scene in SCENES]
    sampling, together = sampling_of(run.config.generation), run.config.prior.sample_batch_size
    return draw(recipe.base_model(run), texts, sampling, together)


def main() -> None:
    """Measure, print, and write with --results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", nargs="+", default=["dog:811+cat:814"], help="class:seed+class:seed")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--results", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    pairs = [
        [(noun, int(seed)) for noun, _, seed in (toy.partition(":") for toy in pair.split("+"))]
        for pair in options.pairs
    ]
    rows = {words: measure(options.out, pair) for words, pair in zip(options.pairs, pairs, strict=True)}
    result = {"machine": machine(), "pairs": len(rows), "seeds": 1, "rows": rows}
    print(json.dumps(result, indent=2))
    if options.results:
        write_json(options.results, result)


if __name__ == "__main__":
    main()
