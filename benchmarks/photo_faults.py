"""How well the doctor tells photos that have a fault from those that have none.

Photos that people took (a folder of folders) and toys; each is blurred, moved, cut by a little, or has another toy's
photo put among it. What is printed: how often a good photo is accused, how often a bad one is found, and the numbers
that the limits of doctor/photos.py and doctor/seen.py lie between.

    python -m benchmarks.photo_faults [--photos FOLDER] [--seeds 20] [--results FILE]
"""

import argparse
import json
import random
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter

from benchmarks.machine import machine
from dreambooth.config import Evaluation
from dreambooth.data.pictures import open_image
from dreambooth.doctor.photos import LOOKED_AT, STEEP, THUMB, _one_shot, sharpness
from dreambooth.doctor.seen import others_subject
from dreambooth.evaluation import Judges, load_judges, measure_photos
from dreambooth.support.files import write_json
from dreambooth.toybox.home import TOYBOX
from dreambooth.toybox.photos import photos

FIRST_SEED = 440
"""Of toys; the embedded judges never saw any of them."""


def blurred(by: float, image: Image.Image) -> Image.Image:
    """By a Gaussian of so many pixels."""
    return image.filter(ImageFilter.GaussianBlur(by))


def moved(image: Image.Image) -> Image.Image:
    """By 15 pixels to the side while it was taken."""
    return Image.fromarray(np.mean([np.roll(np.asarray(image), by, 1) for by in range(16)], 0).astype(np.uint8))


BLURS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "as it is": lambda image: image,
    **{f"blurred by {by}": partial(blurred, by) for by in (1, 2, 3, 5)},
    "moved by 15": moved,
}


def at_512(path: Path) -> Image.Image:
    """A photo at the size at which it is looked at."""
    image = open_image(path, LOOKED_AT)
    scale = min(1.0, LOOKED_AT / min(image.size))
    return image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)


def blur(paths: Sequence[Path]) -> dict[str, Any]:
    """The sharpness of photos and of the same blurred: least, median, most, and how many are accused."""
    found = {}
    for name, harm in BLURS.items():
        steep = [sharpness(harm(at_512(path))) or 0.0 for path in paths]
        spread = [round(float(value), 2) for value in np.quantile(steep, [0, 0.5, 1])]
        found[name] = {"sharpness": spread, "accused": sum(value < STEEP for value in steep), "of": len(steep)}
    return found


def thumb(image: Image.Image) -> np.ndarray:
    """As the doctor compares it."""
    return np.asarray(image.resize((THUMB, THUMB), Image.Resampling.BOX), dtype=np.float64)


def near(subjects: Sequence[Sequence[Path]]) -> dict[str, Any]:
    """Pairs of different photos, and of photos with the same cut by 2 %, that are taken for one shot."""
    different = same = pairs = copies = 0
    for paths in subjects:
        images = [open_image(path, 128) for path in paths]
        thumbs = [thumb(image) for image in images]
        for a, b in combinations(thumbs, 2):
            different, pairs = different + int(_one_shot(a, b[None])[0]), pairs + 1
        for image, mine in zip(images, thumbs, strict=True):
            cut = image.crop((image.width // 50, 0, image.width, image.height - image.height // 50))
            same, copies = same + int(_one_shot(mine, thumb(cut)[None])[0]), copies + 1
    return {"different photos accused": different, "of": pairs, "cut by 2 % found": same, "of copies": copies}


def odd(subjects: Sequence[Sequence[Path]], nouns: Sequence[str], judges: Judges) -> dict[str, Any]:
    """Photos of toys that are taken for another subject, alone and with one photo of another toy of the class."""
    seen = [measure_photos(judges, paths).seen for paths in subjects]

    def accused(at: int, other: int | None) -> set[int]:
        parts = [
            torch.cat([mine, theirs[:1]]) if other is not None else mine
            for mine, theirs in (
                (seen[at].dino, seen[other or 0].dino),
                (seen[at].masked, seen[other or 0].masked),
            )
        ]
        return set.intersection(*(set(others_subject(part)) for part in parts))

    false = sum(len(accused(at, None)) for at in range(len(seen)))
    pairs = [(a, b) for a in range(len(seen)) for b in range(len(seen)) if a != b and nouns[a] == nouns[b]]
    found = sum(len(subjects[a]) in accused(a, b) for a, b in pairs)
    return {
        "own photos accused": false,
        "of": sum(map(len, subjects)),
        "another toy of the class found": found,
        "of pairs": len(pairs),
    }


def main() -> None:
    """Print all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="a folder with a folder of photos per subject")
    parser.add_argument("--seeds", type=int, default=20, help="toys of each class")
    parser.add_argument("--results", type=Path, help="write the result to this JSON file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as root:
        made = {
            (noun, seed): photos(noun, seed, 4, Path(root) / f"{noun}-{seed}", 128)
            for seed in range(FIRST_SEED, FIRST_SEED + options.seeds)
            for noun in TOYBOX.nouns
        }
        toys = list(made.values())
        few = random.Random(0).sample([path for paths in toys for path in paths], 90)
        result["toys"] = {"blur": blur(few), "near": near(toys)}
        judges = load_judges(Evaluation(), TOYBOX)
        result["toys"]["another subject"] = odd(toys, [noun for noun, _ in made], judges)
    if options.photos:
        taken = [sorted(folder.glob("*.jpg")) for folder in sorted(options.photos.iterdir()) if folder.is_dir()]
        result["photos"] = {"blur": blur([path for paths in taken for path in paths]), "near": near(taken)}
    print(json.dumps(result, indent=2))
    if options.results:
        write_json(options.results, {"machine": machine(), **result})


if __name__ == "__main__":
    main()
