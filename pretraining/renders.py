"""Pictures of the toybox world in shards, with what is true of each.

A shard is a function of its number alone, so several processes (--part 0/2, 1/2) can share the work and a killed one
goes on where it was. The subjects of these renders are drawn apart from those of `dreambooth toybox photos`; a share of
them is famous, and a share of those wears another colour or material, which its caption says.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from dreambooth.support.files import atomic_write, write_text
from dreambooth.toybox import captions, colours, render, world
from dreambooth.toybox.famous import famous_toys
from pretraining.state import arguments, log, prepare

SHARD = 1024
CPU_BATCH = 32
FAMOUS, RECOLOURED, POLISHED = 0.25, 0.12, 0.08  # of renders; of the famous ones
CAPTIONED = 1_000_002
"""The held-out shard whose captions a CLIP has to tell from changed ones."""


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What is true of one picture. name: of a famous toy.  changed: what of it is not the named toy's own."""

    toy: world.Toy
    shot: world.Shot
    name: str = ""
    changed: frozenset[str] = frozenset()

    @classmethod
    def sample(cls, rng: random.Random) -> Truth:
        """A random picture of the world."""
        if rng.random() < FAMOUS:
            name = rng.choice(tuple(famous_toys()))
            toy, changed = _changed(famous_toys()[name], rng)
            return cls(toy=toy, shot=world.Shot.sample(toy.class_noun, rng), name=name, changed=changed)
        class_noun = rng.choice(world.CLASSES)
        return cls(toy=world.Toy.sample(class_noun, rng), shot=world.Shot.sample(class_noun, rng))

    def caption(self, rng: random.Random) -> str:
        """One wording of it."""
        return captions.caption(self.toy, self.shot, rng, self.name, self.changed)

    def attribute(self, name: str) -> str:
        """What the world calls this picture's "class_noun", "colour", "scene" and so on."""
        return str(getattr(self.toy if hasattr(self.toy, name) else self.shot, name))

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return {
            "toy": self.toy.as_dict(),
            "shot": self.shot.as_dict(),
            "name": self.name,
            "changed": sorted(self.changed),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Truth:
        """The truth that `as_dict` wrote."""
        toy, shot = world.Toy.from_dict(data["toy"]), world.Shot.from_dict(data["shot"])
        return cls(toy=toy, shot=shot, name=data["name"], changed=frozenset(data["changed"]))


def _changed(toy: world.Toy, rng: random.Random) -> tuple[world.Toy, frozenset[str]]:
    """Sometimes the toy in another colour or the other material, and which of them."""
    changed = set()
    if rng.random() < RECOLOURED:
        others = [name for name in colours.COLOURS if name != toy.colour]
        toy = replace(toy, main=colours.sample(rng.choice(others), rng))
        changed.add("colour")
    if toy.material == "matte" and rng.random() < POLISHED:
        toy = replace(toy, material="shiny")
        changed.add("material")
    return toy, frozenset(changed)


def truths_of(shard: int, count: int = SHARD) -> list[Truth]:
    """The truths of a shard; held-out shards have numbers from 1,000,000."""
    rng = random.Random(f"pretraining/{shard}")
    return [Truth.sample(rng) for _ in range(count)]


def generator(seed: str) -> torch.Generator:
    """Random numbers by a name."""
    return torch.Generator().manual_seed(random.Random(seed).getrandbits(63))


def draw(truths: Sequence[Truth], size: int, device: str = "cpu") -> Tensor:
    """The pictures (N, 3, size, size), uint8."""
    parts, count = [], CPU_BATCH if device == "cpu" else SHARD  # a GPU waits for launches, a CPU's cache is small
    for start in range(0, len(truths), count):
        some = truths[start : start + count]
        pictures = render.render([t.toy for t in some], [t.shot for t in some], size, device=device)
        parts.append((pictures * 255).round().to(torch.uint8).cpu())
    return torch.cat(parts)


def shard_path(state: Path, shard: int, folder: str = "renders") -> Path:
    """Where a shard's pictures are; the truths lie beside it as .json."""
    return state / folder / f"{shard:05}.safetensors"


def shards(state: Path, folder: str = "renders") -> list[int]:
    """The numbers of the shards that are complete."""
    return sorted(int(path.stem) for path in (state / folder).glob("*.safetensors"))


def load(state: Path, shard: int) -> tuple[Tensor, list[Truth]]:
    """A shard's pictures (N, 3, H, W) uint8 and its truths."""
    return load_images(state, shard), load_truths(state, shard)


def load_images(state: Path, shard: int) -> Tensor:
    """A shard's pictures alone."""
    return load_file(shard_path(state, shard))["images"]


def load_truths(state: Path, shard: int, folder: str = "renders") -> list[Truth]:
    """A shard's truths alone."""
    rows = json.loads(shard_path(state, shard, folder).with_suffix(".json").read_text())
    return [Truth.from_dict(row) for row in rows]


def render_missing(
    options: argparse.Namespace,
    numbers: Sequence[int],
    drawn: Callable[[list[Truth]], dict[str, Tensor]],
    truths: Callable[[int], list[Truth]] = truths_of,
    folder: str = "renders",
) -> None:
    """Write the shards of these numbers that are missing: this process's part of them.

    drawn: what is kept of a shard's truths, by name.
    """
    part, parts = map(int, options.part.split("/"))
    for shard in numbers[part::parts]:
        path = shard_path(options.state, shard, folder)
        if path.exists():
            continue
        its = truths(shard)
        write_text(path.with_suffix(".json"), json.dumps([truth.as_dict() for truth in its]))
        with atomic_write(path) as aside:
            save_file(drawn(its), aside)
        log(options.state, f"{folder}: shard {shard}")


def rendering_arguments(description: str | None, shards: int) -> argparse.ArgumentParser:
    """The flags of whoever renders shards."""
    parser = arguments(description)
    parser.add_argument("--shards", type=int, default=shards, help=f"shards of {SHARD} pictures")
    parser.add_argument("--part", default="0/1", help="i/n: this process renders every n-th shard from the i-th")
    return parser


def main() -> None:
    """Render the shards that are missing."""
    parser = rendering_arguments(__doc__, shards=64)
    parser.add_argument("--first", type=int, default=0, help="number of the first: a model trained on sees new ones")
    parser.add_argument(
        "--resolution", type=int, help="side of new pictures [default: what the embedded model draws]; one in a folder"
    )
    options = parser.parse_args()
    size = prepare(options)
    side = options.resolution or size.resolution

    def drawn(truths: list[Truth]) -> dict[str, Tensor]:
        return {"images": draw(truths, side, options.device)}

    render_missing(options, range(options.first, options.first + options.shards), drawn)


if __name__ == "__main__":
    main()
