"""At which learning rate, and after how many steps, does each method know an unseen subject? On the embedded model.

A run for each rate, and 40 pictures of the result: ten scenes, four seeds. A classifier trained on renders alone
(pretraining/classifier.py) reads class and scene off each picture, and the toy's two colours: their RMS distance, in
[0, 2], to the true ones, of the subject in its scenes and of the class alone (sixteen pictures of "a cat").

    python -m benchmarks.method_rates lora learning_rate=5e-4 learning_rate=1e-3,max_train_steps=200
"""

import argparse
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.unseen_subjects import CLASS, SCENES, pictures, tensor
from dreambooth import Config, Run, Subject, recipe
from dreambooth.config import Generation
from dreambooth.generation import generate
from dreambooth.prompts import Prompt
from dreambooth.toybox import captions, world
from dreambooth.toybox.photos import photos
from pretraining import classifier


def measure(judge: classifier.Classifier, toy: world.Toy, out: Path, settings: dict[str, Any]) -> dict[str, float]:
    """One run with `settings` in `out`, and its numbers; a run that is there already is drawn from again."""
    if not (out.parent / "photos").exists():
        photos(toy.class_noun, 11, 4, out.parent / "photos")
    subject = Subject(photos=tuple(sorted((out.parent / "photos").glob("*.png"))), class_noun=toy.class_noun)
    words = {"description": captions.description(toy)} if settings["method"] == "prompt_only" else {}
    run = Run.create(out, subject, Config.build({**settings, **words, "probe": False, "validation_steps": 10_000}))
    began = time.process_time()
    recipe.personalise(run)
    trained = time.process_time() - began
    after = drawn(run, SCENES, 4)
    read = judge.read(after)
    scenes = [prompt.template.removeprefix("a {} ") for prompt in SCENES for _ in range(4)]
    truth = classifier.colours_of(toy)
    return {
        "scene": sum(found["scene"] == scene for found, scene in zip(read, scenes, strict=True)) / len(read),
        "class": sum(found["class_noun"] == toy.class_noun for found in read) / len(read),
        "colours": float((judge.read_colours(after) - truth).square().mean().sqrt()),
        "class colours": float((judge.read_colours(drawn(run, (CLASS,), 16)) - truth).square().mean().sqrt()),
        "CPU seconds": trained,
    }


def drawn(run: Run, prompts: tuple[Prompt, ...], count: int) -> torch.Tensor:
    """(N, 3, H, W) in [0, 1]: `count` pictures of each prompt by the run's model."""
    more: Generation = run.config.generation.model_copy(update={"num_images_per_prompt": count})
    config = run.config.model_copy(update={"generation": more})
    folder = run.samples / f"rates-{len(prompts)}"
    return tensor(pictures(generate(recipe.personal_model(run), run.subject, config, folder, prompts)))


def main() -> None:
    """Measure every variant of one method and print a line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("method")
    parser.add_argument("variants", nargs="*", default=[""], help="settings, as name=value,name=word+word")
    parser.add_argument("--out", type=Path, default=Path("build/rates"), help="folder of the runs")
    options = parser.parse_args()
    judge, toy = classifier.load(), world.Toy.from_seed("cat", 11)
    for variant in options.variants:
        pairs = (part.split("=") for part in variant.split(",") if part)
        given = {name: tuple(value.split("+")) if "+" in value else value for name, value in pairs}
        found = measure(
            judge, toy, options.out / f"{options.method} {variant}".strip(), {**given, "method": options.method}
        )
        print(options.method, variant, {name: round(value, 2) for name, value in found.items()}, flush=True)


if __name__ == "__main__":
    main()
