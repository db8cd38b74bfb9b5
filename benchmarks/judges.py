"""Are the embedded judges any good? In a rendered world the truth is known.

DINO: are two pictures of one toy more alike than pictures of two toys of its class? The area under the ROC curve over
all such pairs, class by class and then averaged, when between the two pictures only the pose, only the scene, only the
light or all of them differ; and with all of them different for the same toy, but none for the other ("the same shot").
CLIP-T: is the true caption nearer to its picture than one with a single word (or phrase, as "on the beach") changed?
Last, Spearman's correlation of DINO and CLIP-I between two toys' pictures with the distance of their true parameters.
All toys are held out, but for the famous ones that a quarter of the captioned pictures show.

    python -m benchmarks.judges --results benchmarks/results/judges.json
"""

import argparse
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPTokenizer, ViTModel

from benchmarks.machine import machine
from dreambooth.evaluation.weights import find
from dreambooth.toybox import colours, world
from dreambooth.toybox.photos import SIZE
from pretraining import judge_clip, judge_dino, renders, text_encoder

POSE = ("yaw", "pitch", "offset", "zoom")
LIGHT = ("light_azimuth", "light_elevation", "light_strength")
CHANGES: dict[str, tuple[str, ...]] = {
    "pose": POSE,
    "scene": ("scene", "scene_jitter"),
    "light": LIGHT,
    "all": (*POSE, "scene", "scene_jitter", *LIGHT),
}


def clip(folder: Path = judge_clip.PACKAGED) -> tuple[Any, CLIPTokenizer]:
    """The CLIP in a folder, by default the packaged one, and its tokenizer."""
    return judge_clip.opened(folder), CLIPTokenizer.from_pretrained(folder, local_files_only=True)


def drawn(truths: list[renders.Truth]) -> Tensor:
    """Pictures (N, 3, SIZE, SIZE) in [0, 1], as a PNG would hold them."""
    return renders.draw(truths, SIZE).float() / 255


def area_under_curve(above: Tensor, below: Tensor) -> float:
    """The chance that a value of `above` exceeds one of `below`, a tie counting half."""
    difference = above.flatten()[:, None] - below.flatten()
    return float((difference > 0).float().mean() + (difference == 0).float().mean() / 2)


def _toys(class_noun: str, count: int, rng: random.Random, same_words: bool) -> list[world.Toy]:
    toys = [world.Toy.sample(class_noun, rng) for _ in range(count)]
    first = toys[0]
    return [_worded_like(first, toy, rng) for toy in toys] if same_words else toys


def _worded_like(first: world.Toy, toy: world.Toy, rng: random.Random) -> world.Toy:
    """The toy with what words say of `first`, and a colour of its own that goes by the same name."""
    while toy.colour != first.colour:
        toy = replace(toy, main=colours.sample(rng.choice(tuple(colours.COLOURS)), rng))
    return replace(toy, pattern=first.pattern, material=first.material)


@torch.no_grad()
def subjects_told_apart(model: ViTModel, toys: int, shots: int, same_words: bool) -> dict[str, float]:
    """The area under the curve by what differs between two pictures, for `toys` of each class in `shots` settings.

    same_words: the toys of a class share colour name, pattern word and material, so that no caption tells them apart.
    """
    rng = random.Random("judges held out/subjects")
    found: dict[str, list[float]] = {name: [] for name in (*CHANGES, "the same shot")}
    for class_noun in world.CLASSES:
        group = _toys(class_noun, toys, rng, same_words)
        own = torch.eye(toys, dtype=torch.bool).expand(shots, -1, -1)
        firsts = [world.Shot.sample(class_noun, rng, plain=True) for _ in range(shots)]
        others = [world.Shot.sample(class_noun, rng, plain=True) for _ in range(shots)]

        def embedded(settings: list[world.Shot], group: list[world.Toy] = group) -> Tensor:  # (shots, toys, D)
            pictures = drawn([renders.Truth(toy=toy, shot=shot) for shot in settings for toy in group])
            rows: Tensor = judge_dino.embedded(model, pictures).unflatten(0, (shots, toys))
            return rows

        first = embedded(firsts)
        for name, fields in CHANGES.items():
            second = embedded(
                [replace(a, **{f: getattr(b, f) for f in fields}) for a, b in zip(firsts, others, strict=True)]
            )
            alike = first @ second.mT  # (shots, toys, toys)
            found[name].append(area_under_curve(alike[own], alike[~own]))
        found["the same shot"].append(area_under_curve(alike[own], (first @ first.mT)[~own]))
    return {name: sum(values) / len(values) for name, values in found.items()}


@torch.no_grad()
def captions_told_apart(model: Any, tokenizer: CLIPTokenizer, count: int) -> dict[str, tuple[float, int]]:
    """The share of captions ranked right and their number, by what was changed; over `count` held-out renders."""
    truths = renders.truths_of(renders.CAPTIONED, count)
    images = judge_clip.image_embeddings(model, drawn(truths))
    rows: dict[str, list[tuple[int, str, str]]] = {}
    for row, truth in enumerate(truths):
        seed = f"held out/{row}"
        caption = text_encoder.spoken(truth, random.Random(seed))
        for name, text in judge_clip.changed(truth, seed).items():
            rows.setdefault(name, []).append((row, caption, text))
    right = {}
    for name, found in rows.items():
        pictures = images[[row for row, _, _ in found]]
        true = judge_clip.text_embeddings(model, tokenizer, [text for _, text, _ in found])
        wrong = judge_clip.text_embeddings(model, tokenizer, [text for _, _, text in found])
        right[name] = (float((pictures * (true - wrong)).sum(1).gt(0).float().mean()), len(found))
    total = sum(count for _, count in right.values())
    return right | {"all": (sum(share * count for share, count in right.values()) / total, total)}


def parameters(toy: world.Toy) -> Tensor:
    """(16,) colours, half the proportions and the class, two classes being 1 apart."""
    one_hot = [float(toy.class_noun == name) * 0.5**0.5 for name in world.CLASSES]
    return torch.tensor([*toy.main, *toy.secondary, *(value / 2 for value in toy.proportions), *one_hot])


def spearman(x: Tensor, y: Tensor) -> float:
    """Spearman's rank correlation of two (N,) tensors."""
    ranks = torch.stack([values.argsort().argsort().double() for values in (x, y)])
    return float(torch.corrcoef(ranks)[0, 1])


@torch.no_grad()
def correlations(dino: ViTModel, clip: Any, count: int) -> dict[str, float]:
    """Of each metric with the true distance, over all pairs of `count` toys and over those of one class."""
    rng, truths = random.Random("judges held out/distances"), []
    for row in range(count):
        class_noun = world.CLASSES[row % len(world.CLASSES)]
        toy = world.Toy.sample(class_noun, rng)
        truths.append(renders.Truth(toy=toy, shot=world.Shot.sample(class_noun, rng, plain=True)))
    pictures = drawn(truths)
    true = torch.stack([parameters(truth.toy) for truth in truths])
    first, second = torch.triu_indices(count, count, 1)
    one_class = first % len(world.CLASSES) == second % len(world.CLASSES)
    distance = (true[first] - true[second]).norm(dim=1)
    result = {}
    for name, rows in (
        ("DINO", judge_dino.embedded(dino, pictures)),
        ("CLIP-I", judge_clip.image_embeddings(clip, pictures)),
    ):
        alike = (rows[first] * rows[second]).sum(1)
        result[f"{name}, all pairs"] = spearman(alike, distance)
        result[f"{name}, pairs of one class"] = spearman(alike[one_class], distance[one_class])
    return result


def main() -> None:
    """Print what is found, with n, and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toys", type=int, default=24, help="held-out toys of each class")
    parser.add_argument("--shots", type=int, default=4, help="pairs of settings that each toy is drawn in")
    parser.add_argument("--captions", type=int, default=1024, help="held-out renders with captions")
    parser.add_argument("--clip", type=Path, default=judge_clip.PACKAGED, help="folder of the CLIP [default: packaged]")
    parser.add_argument("--results", type=Path, default=None, help="write the result to this JSON file")
    options = parser.parse_args()
    eyes, (reader, tokenizer) = judge_dino.packaged(), clip(options.clip)
    subjects = {
        kind: subjects_told_apart(eyes, options.toys, options.shots, kind == "same words")
        for kind in ("any toys", "same words")
    }
    captions = captions_told_apart(reader, tokenizer, options.captions)
    alike = correlations(eyes, reader, options.toys * len(world.CLASSES))
    print(f"DINO, one toy above another of its class, {options.toys} toys of each in {options.shots} pairs of shots")
    for kind, areas in subjects.items():
        for name, area in areas.items():
            print(f"  {kind}, {name}: {area:.3f}")
    print(f"CLIP-T, the true caption above the changed one, {options.captions} pictures")
    for name, (share, count) in captions.items():
        print(f"  {name}: {share:.3f} of {count}")
    print(f"Spearman's correlation with the true distance, {options.toys * len(world.CLASSES)} toys")
    for name, value in alike.items():
        print(f"  {name}: {value:.3f}")
    if options.results:
        counts = {"toys of each class": options.toys, "pairs of shots": options.shots, "captions": options.captions}
        judged = find(str(options.clip), None, "clip").name
        payload = {
            "machine": machine(),
            "clip": judged,
            "n": counts,
            "DINO": subjects,
            "CLIP-T": captions,
            "correlation": alike,
        }
        options.results.parent.mkdir(parents=True, exist_ok=True)
        options.results.write_text(json.dumps(payload, indent=2) + "\n")


if __name__ == "__main__":
    main()
