"""Photos of one subject on disk, with the truth about them: what a user of DreamBooth would bring along."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image

from dreambooth.support.files import atomic_write
from dreambooth.toybox.captions import caption
from dreambooth.toybox.render import render
from dreambooth.toybox.world import SCENES, Shot, Toy, check_class

SIZE = 128  # side of a photo in pixels, the embedded model's own


def _shots(class_noun: str, count: int, rng: random.Random) -> list[Shot]:
    """Plain shots whose scenes all differ, until every scene has been used."""
    scenes: list[str] = []
    while len(scenes) < count:
        scenes += rng.sample(SCENES, len(SCENES))
    return [replace(Shot.sample(class_noun, rng, plain=True), scene=scene) for scene in scenes[:count]]


def photos(class_noun: str, seed: int, count: int, out: Path, size: int = SIZE) -> list[Path]:
    """Write `count` PNGs of the fresh subject of that seed, and truth.json, to the folder `out`.

    The paths of the PNGs come back. Raises ValueError for an unknown class or a count below 1, and
    FileExistsError when `out` holds something already; no half-written folder is left at `out`.
    """
    check_class(class_noun)
    if count < 1:
        raise ValueError(f"a subject needs at least one photo, not {count}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} exists and is not empty; choose another folder or remove it first.")
    rng = random.Random(f"photos/{class_noun}/{seed}")
    toy = Toy.from_seed(class_noun, seed)
    shots = _shots(class_noun, count, rng)
    pictures = (render([toy] * count, shots, size) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    names = [f"{i:02d}.png" for i in range(count)]
    truth = {
        "class_noun": class_noun,
        "seed": seed,
        "toy": toy.as_dict(),
        "shots": [
            {"file": name, "shot": shot.as_dict(), "caption": caption(toy, shot, rng)}
            for name, shot in zip(names, shots, strict=True)
        ],
    }
    with atomic_write(out) as made:
        made.mkdir()
        for name, picture in zip(names, pictures, strict=True):
            Image.fromarray(picture.numpy()).save(made / name)
        (made / "truth.json").write_text(json.dumps(truth, indent=2) + "\n")
    return [out / name for name in names]
