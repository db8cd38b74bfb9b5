"""Is it that subject, in the scene asked for, and does the class survive? On subjects the base model never saw.

For each subject: photos, a whole run, ten scenes x four seeds. A classifier trained on renders alone reads class and
scene off each picture (pretraining/classifier.py). Three distances to 64 true renders of the subject in the same scene:
of the toy's two colours, as the classifier reads them off both; of colour and shape, as the embedded DINO sees both
(1 - cosine; trained on renders of other toys, AUC by `python -m benchmarks.judges`); and the mean difference of pixels
over the toy's place, to the nearest render. All are compared with the untuned model prompted with a full description of
the subject, and with fresh true renders, which show what the measures themselves leave. A second run without the class
prior shows what becomes of the class.

    python -m benchmarks.unseen_subjects --out build/unseen
"""

import argparse
import json
import random
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Self

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from benchmarks.machine import machine
from dreambooth import Config, Run, Subject, recipe
from dreambooth.config import Evaluation
from dreambooth.evaluation import load_judges
from dreambooth.evaluation.base import PatchEmbedder
from dreambooth.generation.generate import generate_in
from dreambooth.generation.in_run import personal_model
from dreambooth.generation.prompts import Prompt
from dreambooth.generation.requests import sampling_of
from dreambooth.generation.samples import Sample, opened
from dreambooth.generation.sheet import Row, lay_out
from dreambooth.models.base import DiffusionModel
from dreambooth.run.records import TIMINGS
from dreambooth.toybox import captions, world
from dreambooth.toybox.home import TOYBOX
from dreambooth.toybox.photos import photos
from dreambooth.toybox.render import render, render_mask
from pretraining import classifier

SUBJECTS = (("dog", 7), ("cat", 11), ("duck", 12), ("car", 13), ("robot", 14))
SCENES = tuple(Prompt("own", f"a {{}} {scene}") for scene in world.SCENES)
CLASS = Prompt("class", "a {}")


def tensor(pictures: list[Image.Image]) -> Tensor:
    """(N, 3, H, W) in [0, 1]."""
    rows = [
        torch.frombuffer(bytearray(p.convert("RGB").tobytes()), dtype=torch.uint8).view(*p.size[::-1], 3)
        for p in pictures
    ]
    return torch.stack(rows).permute(0, 3, 1, 2).float() / 255


@dataclass(frozen=True)
class Truth:
    """What the subject looks like in each scene: 64 renders (64, 3, 64, 64) and their toys' masks (64, 1, 64, 64)."""

    renders: tuple[Tensor, ...]
    masks: tuple[Tensor, ...]

    @classmethod
    def of(cls, toy: world.Toy) -> Self:
        """The truth of a toy."""
        rng = random.Random("nearest renders")
        shots = [
            [replace(world.Shot.sample(toy.class_noun, rng, plain=True), scene=scene) for _ in range(64)]
            for scene in world.SCENES
        ]
        return cls(
            tuple(render([toy] * 64, scene) for scene in shots),
            tuple(render_mask([toy] * 64, scene) for scene in shots),
        )

    def colours(self, judge: classifier.Classifier) -> Tensor:
        """(scenes, 6) mean colours that the judge reads off the renders of each scene."""
        return torch.stack([judge.read_colours(renders).mean(0) for renders in self.renders])


def as_pictures(images: Tensor) -> list[Image.Image]:
    """Images (N, 3, H, W) in [0, 1] as pictures."""
    return [Image.fromarray((row * 255).round().byte().permute(1, 2, 0).numpy()) for row in images]


def colour_distance(judge: classifier.Classifier, images: Tensor, truth: Tensor) -> float:
    """RMS distance in [0, 2] of the colours read off images (N, 3, H, W) to the true ones, (6,) or (N, 6)."""
    return float((judge.read_colours(images) - truth).square().mean().sqrt())


def judged_distance(judge: PatchEmbedder, images: Tensor, truth: Truth) -> float:
    """Mean 1 - cosine, in [0, 2], of images (4 x scenes, 3, H, W), scene by scene, to the true renders."""
    found = [
        judge.images(as_pictures(four)) @ judge.images(as_pictures(renders)).T
        for four, renders in zip(images.split(4), truth.renders, strict=True)
    ]
    return 1 - float(torch.stack(found).mean())


def render_distance(images: Tensor, truth: Truth) -> float:
    """Mean difference in [0, 1] of images (4 x scenes, 3, 64, 64), scene by scene, to the nearest true render.

    Taken over the render's toy and a margin around it, so that another outline counts too, at half the resolution.
    """
    found = []
    for four, renders, masks in zip(images.split(4), truth.renders, truth.masks, strict=True):
        mask = F.max_pool2d(masks, 6, 2, 2)
        difference = (F.avg_pool2d(four, 2)[:, None] - F.avg_pool2d(renders, 2)).abs().mean(2) * mask[:, 0]
        found.append((difference.sum((2, 3)) / mask.sum((1, 2, 3))).amin(1))
    return float(torch.cat(found).mean())


def diversity(judge: classifier.Classifier, images: Tensor) -> float:
    """RMS spread of the colours of the toys in the images around their mean."""
    return float(judge.read_colours(images).var(0).mean().sqrt())


def described(model: DiffusionModel, toy: world.Toy, config: Config) -> Tensor:
    """What the untuned model draws when told all that words can say of the toy, in every scene, four seeds each."""
    noun = captions.description(toy)
    article = "an" if noun[0] in "aeiou" else "a"
    texts = [f"{article} {noun} {scene}" for scene in world.SCENES for _ in range(4)]
    sampling = sampling_of(config.generation)
    return torch.from_numpy(model.generate(texts, list(range(len(texts))), sampling)).permute(0, 3, 1, 2).float() / 255


def true_renders(toy: world.Toy) -> Tensor:
    """The subject itself in fresh shots, four in every scene."""
    rng = random.Random("true renders")
    scenes = [scene for scene in world.SCENES for _ in range(4)]
    shots = [replace(world.Shot.sample(toy.class_noun, rng, plain=True), scene=scene) for scene in scenes]
    return render([toy] * len(shots), shots)


def pictures(samples: list[Sample]) -> list[Image.Image]:
    """The samples as pictures."""
    return [opened(sample) for sample in samples]


def class_samples(run: Run, model: DiffusionModel, stage: str) -> list[Sample]:
    """Sixteen pictures of the class prompt."""
    return generate_in(run, model, stage, [CLASS], 16)


def measure(class_noun: str, seed: int, out: Path) -> dict[str, float]:
    """Run one subject, with the prior and without, and return its numbers."""
    torch.set_num_threads(1)
    judge, dino = classifier.load(), load_judges(Evaluation(), TOYBOX).dino
    toy = world.Toy.from_seed(class_noun, seed)
    folder = out / f"{class_noun}-{seed}"
    if not (folder / "photos").exists():
        photos(class_noun, seed, 4, folder / "photos")
    subject = Subject(photos=tuple(sorted((folder / "photos").glob("*.png"))), class_noun=class_noun)
    # no probe: both runs are taken at their last step, whatever became of the class
    scenes = {"prompts": tuple(prompt.template for prompt in SCENES), "probe": False}
    run = recipe.dreambooth(subject, Config.build(scenes), folder / "run")
    without = recipe.dreambooth(
        subject, Config.build({**scenes, "with_prior_preservation": False}), folder / "run-without-prior"
    )
    base, tuned, drifted = recipe.base_model(run), personal_model(run), personal_model(without)
    after = generate_in(run, tuned, "after", SCENES)
    found = judge.read(tensor(pictures(after)))
    wanted = [prompt.template.removeprefix("a {} ") for prompt in SCENES for _ in range(4)]
    result = {
        "scene": sum(f["scene"] == w for f, w in zip(found, wanted, strict=True)) / len(found),
        "class": sum(f["class_noun"] == class_noun for f in found) / len(found),
        "seconds": sum(TIMINGS.read(run.root).values()),
    }
    truth = Truth.of(toy)
    colours = truth.colours(judge)
    described_before = described(base, toy, run.config)
    without_prior = generate_in(without, drifted, "after", SCENES)
    for name, images in (
        ("tuned", tensor(pictures(after))),
        ("described", described_before),
        ("true", true_renders(toy)),
        ("without prior", tensor(pictures(without_prior))),
    ):
        result[f"colours {name}"] = colour_distance(judge, images, colours.repeat_interleave(4, 0))
        result[f"judged {name}"] = judged_distance(dino, images, truth)
        result[f"renders {name}"] = render_distance(images, truth)
    drift = {
        "before": class_samples(run, base, "class-before"),
        "with the prior": class_samples(run, tuned, "class-after"),
        "without the prior": class_samples(without, drifted, "class-after"),
    }
    for name, samples in drift.items():
        images = tensor(pictures(samples))
        result[f"class colours {name}"] = colour_distance(judge, images, colours.mean(0))
        result[f"class diversity {name}"] = diversity(judge, images)
    draw_figures(folder, run, after, drift, described_before)
    return result


def draw_figures(
    folder: Path, run: Run, after: list[Sample], drift: dict[str, list[Sample]], described_before: Tensor
) -> None:
    """subject.png: photos, the tuned model and the described one; drift.png: the class prompt three times."""
    shown = [Image.open(photo).convert("RGB") for photo in run.subject.photos]
    untuned = as_pictures(described_before)
    rows = [Row("the photos", (("", tuple(shown)),))]
    for index, prompt in enumerate(SCENES):
        own = slice(4 * index, 4 * index + 4)
        groups = (("tuned", tuple(pictures(after[own]))), ("untuned, described in words", tuple(untuned[own])))
        rows.append(Row(run.subject.fill(prompt.template), groups))
    lay_out(rows, 128).save(folder / "subject.png")
    strips = [Row("the photos", (("", tuple(shown)),))]
    strips += [
        Row(f'"{run.subject.class_prompt}" {name}', (("", tuple(pictures(samples)[:8])),))
        for name, samples in drift.items()
    ]
    lay_out(strips, 128).save(folder / "drift.png")


def main() -> None:
    """Measure the subjects, print each and the means, and write them with machine, versions and n."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, default=Path("build/unseen"), help="folder of the runs; going on is possible"
    )
    parser.add_argument("--subjects", type=int, default=len(SUBJECTS), help="how many of the subjects")
    parser.add_argument("--results", type=Path, default=None, help="write the result to this JSON file")
    parser.add_argument("--jobs", type=int, default=2, help="subjects at a time, one thread each")
    options = parser.parse_args()
    nouns, seeds = zip(*SUBJECTS[: options.subjects], strict=True)
    with ProcessPoolExecutor(options.jobs, get_context("spawn")) as pool:
        measured = list(pool.map(measure, nouns, seeds, [options.out] * len(nouns)))
    results = {f"{noun} {seed}": found for noun, seed, found in zip(nouns, seeds, measured, strict=True)}
    means = {key: sum(r[key] for r in results.values()) / len(results) for key in next(iter(results.values()))}
    for name, result in {**results, "mean": means}.items():
        print(name, {key: round(value, 3) for key, value in result.items()})
    for part in ("colours", "judged", "renders"):
        tuned, described, true = (means[f"{part} {name}"] for name in ("tuned", "described", "true"))
        above = (tuned - true) / (described - true)
        print(f"{part}: tuned / described = {tuned / described:.2f}, above what true renders have: {above:.2f}")
    if options.results:
        payload = {
            "machine": machine(),
            "pictures of each subject": 4 * len(SCENES),
            "mean": means,
            "subjects": results,
        }
        options.results.write_text(json.dumps(payload, indent=2) + "\n")


if __name__ == "__main__":
    main()
