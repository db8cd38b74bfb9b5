"""Does CLIP read the class noun off the photos, and does it say so where it cannot tell?

Sets of photos of toys that nothing was chosen on, read as `dreambooth class-noun` reads them; then photos of real
things, in the folders of a folder, read by a CLIP with random weights, which knows nothing and has to say so.

    python -m benchmarks.class_nouns DREAMBENCH --results benchmarks/results/class_nouns.json
"""

import argparse
import json
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

from benchmarks.machine import machine
from dreambooth.class_noun import Reading, classified, read_class_noun
from dreambooth.data.photos import photos_in
from dreambooth.evaluation.clip import Clip
from dreambooth.evaluation.scores import open_squares
from dreambooth.generation.photographs import NOUNS
from dreambooth.support.files import write_json
from dreambooth.toybox.home import TOYBOX
from dreambooth.toybox.photos import SIZE, photos
from dreambooth.toybox.world import CLASSES
from pretraining import judge_clip

FIRST_SEED = 1000  # of the toys: nothing else is measured or chosen on these


def of_toys(sets: int, count: int) -> dict[str, Any]:
    """What `sets` sets of `count` photos of a toy each are read as: how many right, and what others are taken for."""
    told: Counter[str] = Counter()
    others = []
    for at in range(sets):
        noun, seed = CLASSES[at % len(CLASSES)], FIRST_SEED + at
        with TemporaryDirectory() as folder:
            reading = read_class_noun(photos(noun, seed, count, Path(folder) / "photos", SIZE), TOYBOX)
        kind = "right" if reading.noun == noun else "cannot tell" if reading.noun is None else "wrong"
        told[kind] += 1
        if kind != "right":
            others.append(f"{noun} {seed}: {kind}, {reading.table(2)!r}{' foreign' * bool(reading.foreign)}")
    return {"sets": sets, "photos": count, **told, "share right": told["right"] / sets, "others": others}


def random_clip() -> Clip:
    """A CLIP that has learned nothing, of the published shape but for its size."""
    torch.manual_seed(0)
    tokenizer = CLIPTokenizer.from_pretrained(judge_clip.PACKAGED, local_files_only=True)
    small = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 4}
    config = CLIPConfig(
        text_config={**small, "vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id},
        vision_config={**small, "image_size": 224, "patch_size": 32},
        projection_dim=128,
    )
    return Clip(CLIPModel(config).eval(), CLIPImageProcessorPil(), tokenizer, "random")


def of_real_things(folder: Path) -> dict[str, Any]:
    """What a random CLIP says of the photos in each folder of `folder`, over the nouns of photographs."""
    clip = random_clip()
    readings = {
        thing.name: Reading(shares=classified(clip, open_squares(photos_in(thing)), NOUNS))
        for thing in sorted(folder.iterdir())
        if thing.is_dir()
    }
    largest = max(share for reading in readings.values() for share in reading.shares.values())
    guessed = sum(reading.noun is not None for reading in readings.values())
    return {"things": len(readings), "nouns": len(NOUNS), "guessed": guessed, "largest share": largest}


def main() -> None:
    """Read them all, print what came out, and write it with --results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("real", type=Path, nargs="?", help="folder with a folder of photos for each real thing")
    parser.add_argument("--sets", type=int, default=200, help="sets of photos of toys")
    parser.add_argument("--count", type=int, default=4, help="photos of each toy")
    parser.add_argument("--results", type=Path, help="write the result to this JSON file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    result = {"toys": of_toys(options.sets, options.count)}
    if options.real:
        result["real things, by a CLIP with random weights"] = of_real_things(options.real)
    print(json.dumps(result, indent=2))
    if options.results:
        write_json(options.results, {"machine": machine(), **result})


if __name__ == "__main__":
    main()
