"""How well an embedded base model draws before any fine-tuning: DINO, as a share of what photos have among themselves.

"known": toys that the model knows by name, drawn in every scene, against photos of them. "decoded": photos of toys that
it does not know, sent through its autoencoder and back, which is the most that its pictures can have.

    python -m benchmarks.base [--model FOLDER] [--toys 12]
"""

import argparse
import random
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image

from benchmarks.pictures import as_pictures, draw, tensor
from benchmarks.quality import TOYS
from dreambooth import Config, models
from dreambooth.evaluation import load_judges, measure_photos, score
from dreambooth.generation.requests import sampling_of
from dreambooth.models.base import DiffusionModel
from dreambooth.toybox import captions, world
from dreambooth.toybox.famous import famous_toys
from dreambooth.toybox.photos import photos
from pretraining import renders

BATCH, PHOTOS = 12, 4


def share(paths: Sequence[Path], pictures: Sequence[Image.Image], noun: str) -> float:
    """The DINO of pictures and photos, of that of the photos among themselves."""
    config = Config.build({})
    judges = load_judges(config.evaluation, config.world)
    taken = measure_photos(judges, paths)
    scored, real = score(judges, taken, pictures, [noun] * len(pictures)).dino, taken.real_row.dino
    assert scored is not None and real is not None
    return scored / real


def photographed(toy: world.Toy, name: str, folder: Path) -> list[Path]:
    """Photos of a known toy, each in another scene."""
    rng = random.Random(name)
    scenes = rng.sample(world.SCENES, PHOTOS)
    shots = [replace(world.Shot.sample(toy.class_noun, rng, plain=True), scene=scene) for scene in scenes]
    drawn = renders.draw([renders.Truth(toy=toy, shot=shot) for shot in shots], world_side())
    paths = [folder / f"{number}.png" for number in range(PHOTOS)]
    for path, picture in zip(paths, as_pictures(drawn / 255), strict=True):
        picture.save(path)
    return paths


def world_side() -> int:
    """The side of the world's photos in pixels."""
    return Config.build({}).world.resolution


def known(model: DiffusionModel, count: int) -> list[tuple[str, float]]:
    """Of toys that the model knows, by name."""
    rows, toys = [], famous_toys()
    for name in random.Random(3).sample(sorted(toys), count):
        noun = toys[name].class_noun
        texts = [f"{captions.article(f'{name} {noun}')} {scene}" for scene in world.SCENES]
        drawn = draw(model, texts, sampling_of(Config.build({}).generation), BATCH)
        with tempfile.TemporaryDirectory() as folder:
            rows.append((f"{name} {noun}", share(photographed(toys[name], name, Path(folder)), drawn, noun)))
    return rows


def decoded(model: DiffusionModel, count: int) -> list[tuple[str, float]]:
    """Of toys that it does not know: eight photos each through the autoencoder, against four others."""
    rows, vae = [], model.weights.parts["vae"]
    for noun, seed in TOYS["unseen"][:count]:
        with tempfile.TemporaryDirectory() as folder:
            paths = photos(noun, seed, 3 * PHOTOS, Path(folder) / "photos")
            others = tensor([Image.open(path) for path in paths[PHOTOS:]])
            with torch.no_grad():
                latents = vae.encode(others * 2 - 1).latent_dist.mean  # type: ignore[operator]
                back = as_pictures((vae.decode(latents).sample / 2 + 0.5).clamp(0, 1))  # type: ignore[operator]
            rows.append((f"{noun} {seed}", share(paths[:PHOTOS], back, noun)))
    return rows


def main() -> None:
    """Print both, toy by toy, and their means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="toybox", help="the embedded one, or a folder of its kind")
    parser.add_argument("--toys", type=int, default=12)
    options = parser.parse_args()
    model = models.load(Config.build({"model": options.model}).base)
    for what, rows in (("known", known(model, options.toys)), ("decoded", decoded(model, options.toys))):
        for name, its in rows:
            print(f"{what}, {name}: {its:.3f}")
        print(f"{what}: {sum(its for _, its in rows) / len(rows):.3f}, worst {min(its for _, its in rows):.3f}")


if __name__ == "__main__":
    main()
