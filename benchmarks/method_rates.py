"""At which learning rate, and after how many steps, does each method know an unseen subject? On the embedded model.

A run for each rate and toy, and 40 pictures of the result: ten scenes, four seeds. The embedded judges score them (DINO
and CLIP-T of section 4.2), and a classifier trained on renders alone (pretraining/classifier.py) reads off each picture
the scene and the toy's two colours: their RMS distance, in [0, 2], to the true ones, for the subject in its scenes and
for the class alone (sixteen pictures of "a cat"). Means over the toys, none of which the experiments' tables use.

    python -m benchmarks.method_rates lora learning_rate=5e-4 learning_rate=1e-3,max_train_steps=200
"""

import argparse
import time
from pathlib import Path
from statistics import fmean
from typing import Any

from PIL import Image
from torch import Tensor

from benchmarks.unseen_subjects import CLASS, SCENES, pictures, tensor
from dreambooth import Config, Run, Subject, recipe
from dreambooth.data.photos import photos_in
from dreambooth.evaluation import load_judges, measure_photos, score
from dreambooth.generation.generate import generate_in
from dreambooth.generation.in_run import personal_model
from dreambooth.generation.prompts import Prompt
from dreambooth.toybox import captions, world
from dreambooth.toybox.photos import photos
from pretraining import classifier

TOYS = (("cat", 61), ("duck", 62), ("car", 63), ("dog", 64), ("robot", 65), ("teapot", 66))

Numbers = dict[str, float]


def measure(judge: classifier.Classifier, toy: world.Toy, seed: int, out: Path, settings: dict[str, Any]) -> Numbers:
    """One run with `settings` in `out`, and its numbers; a run that is there already is drawn from again."""
    taken = out.parent / f"{toy.class_noun}-{seed}-photos"
    if not taken.exists():
        photos(toy.class_noun, seed, 4, taken)
    subject = Subject(photos=photos_in(taken), class_noun=toy.class_noun)
    words = {"description": captions.description(toy)} if settings["method"] == "prompt_only" else {}
    run = Run.create(out, subject, Config.build({**settings, **words, "probe": False, "validation_steps": 10_000}))
    began = time.process_time()
    recipe.personalise(run)
    trained = time.process_time() - began
    after = drawn(run, SCENES, 4)
    read = judge.read(tensor(after))
    scenes = [prompt.template.removeprefix("a {} ") for prompt in SCENES for _ in range(4)]
    truth = classifier.colours_of(toy)
    judges = load_judges(run.config.evaluation, run.config.world)
    asked = [f"a {toy.class_noun} {scene}" for scene in scenes]
    scores = score(judges, measure_photos(judges, subject.photos), after, asked)
    assert scores.dino is not None and scores.clip_t is not None
    return {
        "DINO": scores.dino,
        "CLIP-T": scores.clip_t,
        "scene": sum(found["scene"] == scene for found, scene in zip(read, scenes, strict=True)) / len(read),
        "colours": _distance(judge, after, truth),
        "class colours": _distance(judge, drawn(run, (CLASS,), 16), truth),
        "CPU seconds": trained,
    }


def drawn(run: Run, prompts: tuple[Prompt, ...], count: int) -> list[Image.Image]:
    """`count` pictures of each prompt by the run's model."""
    return pictures(generate_in(run, personal_model(run), f"rates-{len(prompts)}", prompts, count))


def _distance(judge: classifier.Classifier, images: list[Image.Image], truth: Tensor) -> float:
    return float((judge.read_colours(tensor(images)) - truth).square().mean().sqrt())


def main() -> None:
    """Measure every variant of one method and print a line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("method")
    parser.add_argument("variants", nargs="*", default=[""], help="settings, as name=value,name=word+word")
    parser.add_argument("--out", type=Path, default=Path("build/rates"), help="folder of the runs")
    parser.add_argument("--toys", type=int, default=len(TOYS), help="how many of the toys")
    options = parser.parse_args()
    judge = classifier.load()
    for variant in options.variants:
        pairs = (part.split("=") for part in variant.split(",") if part)
        given = {name: tuple(value.split("+")) if "+" in value else value for name, value in pairs}
        rows = []
        for noun, seed in TOYS[: options.toys]:
            folder = options.out / f"{options.method} {variant} {noun} {seed}"
            toy = world.Toy.from_seed(noun, seed)
            rows.append(measure(judge, toy, seed, folder, {**given, "method": options.method}))
        means = {name: round(fmean(row[name] for row in rows), 3) for name in rows[0]}
        print(options.method, variant, f"n={len(rows)}", means, flush=True)


if __name__ == "__main__":
    main()
