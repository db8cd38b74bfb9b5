"""Pictures of the toybox world in shards, with what is true of each.

A shard is a function of its number alone, so several processes (--part 0/2, 1/2) can share the work and a killed one
goes on where it was. The subjects of these renders are drawn apart from those of `dreambooth toybox photos`.
"""

import json
import random
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from dreambooth.support.files import atomic_write, write_text
from dreambooth.toybox import render, world
from pretraining.state import arguments, log, prepare

SHARD = 1024
BATCH = 32


def truths_of(shard: int, count: int = SHARD) -> list[tuple[world.Toy, world.Shot]]:
    """The toys and shots of a shard; held-out shards have numbers from 1,000,000."""
    rng = random.Random(f"pretraining/{shard}")
    truths = []
    for _ in range(count):
        class_noun = rng.choice(world.CLASSES)
        truths.append((world.Toy.sample(class_noun, rng), world.Shot.sample(class_noun, rng)))
    return truths


def draw(truths: list[tuple[world.Toy, world.Shot]], size: int, device: str = "cpu") -> Tensor:
    """The pictures (N, 3, size, size), uint8."""
    parts = []
    for start in range(0, len(truths), BATCH):
        toys, shots = zip(*truths[start : start + BATCH], strict=True)
        parts.append((render.render(toys, shots, size, device=device) * 255).round().to(torch.uint8).cpu())
    return torch.cat(parts)


def shard_path(state: Path, shard: int) -> Path:
    """Where a shard's pictures are; the truths lie beside it as .json."""
    return state / "renders" / f"{shard:05}.safetensors"


def shards(state: Path) -> list[int]:
    """The numbers of the shards that are complete."""
    return sorted(int(path.stem) for path in (state / "renders").glob("*.safetensors"))


def load(state: Path, shard: int) -> tuple[Tensor, list[tuple[world.Toy, world.Shot]]]:
    """A shard's pictures (N, 3, H, W) uint8 and its truths."""
    path = shard_path(state, shard)
    rows = json.loads(path.with_suffix(".json").read_text())
    return load_file(path)["images"], [(world.Toy.from_dict(r["toy"]), world.Shot.from_dict(r["shot"])) for r in rows]


def main() -> None:
    """Render the shards that are missing."""
    parser = arguments(__doc__)
    parser.add_argument("--shards", type=int, default=64, help=f"shards of {SHARD} pictures")
    parser.add_argument("--part", default="0/1", help="i/n: this process renders every n-th shard from the i-th")
    options = parser.parse_args()
    size = prepare(options)
    part, parts = map(int, options.part.split("/"))
    for shard in range(part, options.shards, parts):
        path = shard_path(options.state, shard)
        if path.exists():
            continue
        truths = truths_of(shard)
        rows = [{"toy": toy.as_dict(), "shot": shot.as_dict()} for toy, shot in truths]
        write_text(path.with_suffix(".json"), json.dumps(rows))
        with atomic_write(path) as aside:
            save_file({"images": draw(truths, size.resolution, options.device)}, aside)
        log(options.state, f"renders: shard {shard}")


if __name__ == "__main__":
    main()
