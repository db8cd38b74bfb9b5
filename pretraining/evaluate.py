"""Does "a red car in the snow" show a car, red, snow? Judged by the classifier, over every class and scene."""

import random
from pathlib import Path

import torch
from PIL import Image

from dreambooth import models
from dreambooth.config import Base
from dreambooth.generation.sheet import Row, lay_out
from dreambooth.models.base import Sampling
from dreambooth.toybox import world
from dreambooth.toybox.captions import article
from dreambooth.toybox.colours import COLOURS
from pretraining import classifier
from pretraining.state import arguments, prepare

WORDINGS = ("a photo of {subject} {scene}", "{subject} {scene}", "a picture of {subject} {scene}")


def prompts(count: int) -> list[tuple[str, dict[str, str]]]:
    """Prompts and what their pictures should show: every class in every scene `count` times, a random colour each."""
    rng = random.Random("evaluation")
    rows = []
    for noun in world.CLASSES:
        for scene in world.SCENES:
            for _ in range(count):
                colour = rng.choice(tuple(COLOURS))
                text = rng.choice(WORDINGS).format(subject=article(f"{colour} {noun}"), scene=scene)
                rows.append((text, {"class_noun": noun, "colour": colour, "scene": scene}))
    return rows


def extras(count: int) -> list[tuple[str, dict[str, str]]]:
    """Prompts for what is worn, the views and the styles, `count` of each."""
    rng = random.Random("extras")
    rows = []
    for _ in range(count):
        for worn in world.ACCESSORIES[1:]:
            rows.append(
                (
                    f"a {rng.choice(sorted(world.WEARERS))} wearing {worn} {rng.choice(world.SCENES)}",
                    {"accessory": worn},
                )
            )
        for view in world.VIEWS[1:]:
            rows.append((f"a {rng.choice(world.CLASSES)} seen {view} {rng.choice(world.SCENES)}", {"view": view}))
        for style in world.STYLES[1:]:
            rows.append((f"{style} a {rng.choice(world.CLASSES)} {rng.choice(world.SCENES)}", {"style": style}))
    return rows


def main() -> None:
    """Draw, read, print the shares and write a sheet."""
    parser = arguments(__doc__)
    parser.add_argument("--model", default="toybox", help="toybox or a folder")
    parser.add_argument("--count", type=int, default=4, help="pictures of each class in each scene")
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--sheet", type=Path, default=None, help="where to write a sheet of one picture each")
    options = parser.parse_args()
    prepare(options)
    model = models.load(Base(model=options.model))
    model.to(torch.device(options.device))
    judge = classifier.load()
    rows = [*prompts(options.count), *extras(4 * options.count)]
    images = model.generate(
        [text for text, _ in rows],
        list(range(len(rows))),
        Sampling(sampler="ddim", num_inference_steps=options.steps, guidance_scale=options.guidance),
    )
    found = judge.read(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255)
    hits: dict[str, list[bool]] = {}
    for (_, wanted), seen in zip(rows, found, strict=True):
        for name, value in wanted.items():
            hits.setdefault(name, []).append(seen[name] == value)
    for name, values in hits.items():
        print(f"{name}: {sum(values) / len(values):.3f} of {len(values)}")
    if options.sheet:
        width = len(world.SCENES) * options.count
        first = [images[row * width : (row + 1) * width : options.count] for row in range(len(world.CLASSES))]
        pictures = [tuple(map(Image.fromarray, row)) for row in first]
        lay_out([Row(noun, (("", row),)) for noun, row in zip(world.CLASSES, pictures, strict=True)], 128).save(
            options.sheet
        )


if __name__ == "__main__":
    main()
