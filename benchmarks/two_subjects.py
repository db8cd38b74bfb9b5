"""Two subjects in one model beside two models of one each: is each as much itself, and does one become the other?

On toys, two a pair. Of each: DINO of its pictures in every scene against its own photos, by the model of both (by
default trained for twice the steps, each subject for as many as alone) and by its own; and against the other one's
photos, beside the pictures of its own model, of its untuned class and its own photos: two toys may be alike. With
`--again`, DINO by one more model of each subject alone, at another training seed: how far two trainings of one subject
are apart by chance. A pair that was measured before is read back, so a stopped command goes on, and several share a
folder. Intervals are over pairs; fewer than six are a sign, no measurement.

    python -m benchmarks.two_subjects --out build/two --results FILE [--times 3] [--again]
"""

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from PIL import Image

from benchmarks.machine import machine
from benchmarks.masked_loss import drawn_in_scenes, scores
from benchmarks.means import over
from benchmarks.pictures import draw, in_scenes
from benchmarks.quality import FIXED
from dreambooth import Config, Subject, recipe
from dreambooth.config import Evaluation
from dreambooth.evaluation import Judges, load_judges, metrics
from dreambooth.evaluation.scores import measure_photos, open_squares
from dreambooth.generation.requests import sampling_of
from dreambooth.run import Run
from dreambooth.run.companions import each
from dreambooth.support.files import write_json
from dreambooth.toybox.home import TOYBOX
from dreambooth.toybox.photos import photos

PAIRS = (
    "dog:811+cat:814 teapot:812+robot:813 car:815+bear:816 backpack:817+duck:818 clock:819+dog:820 cat:821+teapot:822"
)
AGAIN = 1  # the other training seed
A_SCENE = 4  # pictures: the noise of one is as large as what is looked for

FLOORS = {
    "of its own model": "alone, like the other",
    "of its untuned class": "its class, untuned, like the other",
    "of its photos": "its photos, like the other",
}


def subject_of(folder: Path, noun: str, seed: int) -> Subject:
    """A toy and its photos, taken once."""
    where = folder / f"{noun}-{seed}"
    return Subject(photos=tuple(sorted(where.glob("*.png"))) or tuple(photos(noun, seed, 4, where)), class_noun=noun)


def measure(folder: Path, times: float, pair: list[tuple[str, int]]) -> dict[str, Any]:
    """A pair's three trainings, and what the judges say of each subject's pictures; read back where measured before.

    times: the steps of both, in those of one.
    """
    steps = round(times * Config.build(FIXED).training.max_train_steps)
    called = "+".join(f"{noun}-{seed}" for noun, seed in pair) + f"-{steps}"
    kept = folder / called / "scores.json"
    if kept.exists():
        return dict(json.loads(kept.read_text()))
    judges = load_judges(Evaluation(), TOYBOX)
    subjects = [subject_of(folder / "photos", *toy) for toy in pair]
    single = [
        recipe.dreambooth(subject, Config.build(FIXED), folder / f"{noun}-{seed}")
        for subject, (noun, seed) in zip(subjects, pair, strict=True)
    ]
    both = recipe.dreambooth(
        subjects[0], Config.build({**FIXED, "max_train_steps": steps}), folder / called, subjects[1:]
    )
    found = {}
    for at, (alone, its) in enumerate(zip(single, each(both), strict=True)):
        noun, own, other = its.subject.class_noun, its.subject.photos, subjects[1 - at].photos
        apart, together = (
            drawn_in_scenes(alone, alone.subject.name, A_SCENE),
            drawn_in_scenes(both, its.subject.name, A_SCENE),
        )
        like_other = partial(dino_to, judges, other)
        found[f"{noun} {pair[at][1]}"] = {
            "alone": scores(judges, own, noun, apart),
            "together": scores(judges, own, noun, together),
            "like the other": like_other(together),
            "alone, like the other": like_other(apart),
            "its class, untuned, like the other": like_other(untuned(both, noun)),
            "its photos, like the other": like_other(open_squares(own)),
        }
    write_json(kept, found)
    return found


def alone_again(folder: Path, noun: str, seed: int) -> float:
    """DINO of a subject by a model of its own that was trained at another seed; read back where measured before."""
    kept = folder / f"{noun}-{seed}-again" / "scores.json"
    if not kept.exists():
        subject, judges = subject_of(folder / "photos", noun, seed), load_judges(Evaluation(), TOYBOX)
        run = recipe.dreambooth(subject, Config.build({**FIXED, "seed": AGAIN}), kept.parent)
        write_json(kept, scores(judges, subject.photos, noun, drawn_in_scenes(run, run.subject.name, A_SCENE)))
    return float(json.loads(kept.read_text())["dino"])


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What a model of both costs a subject, and how much one is like the other beyond its class: means over pairs."""

    def told(value: Callable[[dict[str, Any]], float]) -> dict[str, Any]:
        pairs = [[value(one) for one in row.values()] for row in rows]
        means, every = [mean(pair) for pair in pairs], [value for pair in pairs for value in pair]
        return {**over(means), "least": min(every), "most": max(every)}

    likeness = [(one["together"]["dino"], one["alone"]["dino"]) for row in rows for one in row.values()]
    return {
        "subjects": len(likeness),
        "subjects within .03 of alone": sum(abs(its - alone) <= 0.03 for its, alone in likeness),
        "subjects at most .03 below alone": sum(its >= alone - 0.03 for its, alone in likeness),
        "DINO alone": told(lambda one: one["alone"]["dino"]),
        "DINO together - alone": told(lambda one: one["together"]["dino"] - one["alone"]["dino"]),
        "CLIP-T together - alone": told(lambda one: one["together"]["clip_t"] - one["alone"]["clip_t"]),
        **{
            f"like the other - {what}": told(lambda one, name=name: one["like the other"] - one[name])  # type: ignore[misc]
            for what, name in FLOORS.items()
        },
        **(by_chance(rows, told) if "again" in next(iter(rows[0].values())) else {}),
    }


def by_chance(rows: list[dict[str, Any]], told: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """How far two models of one subject alone are apart."""
    apart = [one["again"] - one["alone"]["dino"] for row in rows for one in row.values()]
    return {
        "alone again within .03 of alone": sum(abs(value) <= 0.03 for value in apart),
        "alone again at most .03 below alone": sum(value >= -0.03 for value in apart),
        "DINO alone again - alone": told(lambda one: one["again"] - one["alone"]["dino"]),
        "DINO together - mean of both alone": told(
            lambda one: one["together"]["dino"] - (one["again"] + one["alone"]["dino"]) / 2
        ),
    }


def dino_to(judges: Judges, photos: tuple[Path, ...], pictures: list[Image.Image]) -> float:
    """DINO of pictures to photos."""
    real = measure_photos(judges, photos).seen.dino
    return round(metrics.dino(judges.dino.images(pictures), real), 4)


def untuned(run: Run, noun: str) -> list[Image.Image]:
    """The base model's pictures of a class, one in each scene."""
    sampling, together = sampling_of(run.config.generation), run.config.prior.sample_batch_size
    return draw(recipe.base_model(run), in_scenes(noun), sampling, together)


def main() -> None:
    """Measure, print, and write with --results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", nargs="+", default=PAIRS.split(), help="class:seed+class:seed")
    parser.add_argument("--times", type=float, default=2.0, help="steps of the model of both, in those of one")
    parser.add_argument("--again", action="store_true", help="each subject alone once more, at another training seed")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--results", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    pairs = [
        [(noun, int(seed)) for noun, _, seed in (toy.partition(":") for toy in pair.split("+"))]
        for pair in options.pairs
    ]
    rows = {words: measure(options.out, options.times, pair) for words, pair in zip(options.pairs, pairs, strict=True)}
    if options.again:
        for row in rows.values():
            for toy, one in row.items():
                noun, seed = toy.split()
                one["again"] = alone_again(options.out, noun, int(seed))
    result = {
        "machine": machine(),
        "pairs": len(rows),
        "seeds": 1,
        "times": options.times,
        **summary(list(rows.values())),
        "rows": rows,
    }
    print(json.dumps(result, indent=2))
    if options.results:
        write_json(options.results, result)


if __name__ == "__main__":
    main()
