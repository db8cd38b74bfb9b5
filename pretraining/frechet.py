"""How far a base's pictures are from renders: the Frechet distance on what two nets see (https://arxiv.org/abs/1706.08500).

As many pictures are drawn from captions of held-out renders as there are renders of others; a quarter of all are of
famous toys, which training has seen in other pictures. Features are the classifier's and the embedded DINO judge's,
both trained on renders alone; "renders" is the distance of two sets of renders of this size, which no base can be asked
to undercut, and "decoded" that of renders as the base's autoencoder gives them back, which no denoiser on it can.

    python -m pretraining.frechet --results benchmarks/results/frechet.json
    python -m pretraining.frechet --older ../older

An older checkout draws with its own base, in its own world, and is measured against its own renders; the pictures of
both are brought to the smaller of the two sizes first, and seen by the same nets, which know this tree's world.
"""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from benchmarks.machine import machine
from dreambooth.support.files import write_json
from pretraining import classifier, drawn, judge_dino
from pretraining.state import arguments, prepare

HERE = Path(__file__).parent.parent


def frechet(first: Tensor, second: Tensor) -> float:
    """The distance of two sets of features (N, D) and (M, D), taken for Gaussians."""
    first, second = first.double(), second.double()
    one, two = torch.cov(first.T), torch.cov(second.T)
    values, vectors = torch.linalg.eigh(one)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    shared = torch.linalg.eigvalsh(root @ two @ root).clamp(min=0).sqrt().sum()
    return float((first.mean(0) - second.mean(0)).square().sum() + one.trace() + two.trace() - 2 * shared)


class Eyes:
    """What the two nets see in pictures (N, 3, H, W) uint8."""

    def __init__(self) -> None:
        self.classifier, self.dino = classifier.load(), judge_dino.packaged()

    @torch.no_grad()
    def see(self, pictures: Tensor) -> dict[str, Tensor]:
        """Features (N, D) by the net's name."""
        side = self.dino.config.image_size
        parts = [F.interpolate(part.float() / 255, (side, side), mode="bilinear") for part in pictures.split(100)]
        return {
            "classifier": torch.cat([self.classifier.features(part) for part in parts]),
            "DINO": torch.cat([judge_dino.embedded(self.dino, part) for part in parts]),
        }


def pictures_of(tree: Path, count: int, steps: int, guidance: float) -> dict[str, Tensor]:
    """What `drawn` writes, run by a checkout's own code."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "drawn.safetensors"
        words = [sys.executable, "-W", "ignore", "-c", Path(drawn.__file__).read_text(encoding="utf-8")]
        paths = os.pathsep.join([str(tree / "src"), str(tree)])
        given = [str(path), str(count), str(steps), str(guidance)]
        subprocess.run([*words, *given], check=True, cwd=folder, env={**os.environ, "PYTHONPATH": paths})
        return {name: tensor.clone() for name, tensor in load_file(path).items()}


def distances(eyes: Eyes, sets: dict[str, Tensor], side: int) -> dict[str, dict[str, float]]:
    """By net, how far the base's pictures and the other renders are from the real ones, all at `side` pixels."""
    seen = {}
    for name, pictures in sets.items():
        parts = [F.interpolate(part.float(), (side, side), mode="area") for part in pictures.split(100)]
        seen[name] = eyes.see(torch.cat(parts).round().to(torch.uint8))
    return {
        net: {name: frechet(seen[name][net], seen["real"][net]) for name in sets if name != "real"}
        for net in seen["real"]
    }


def main() -> None:
    """Draw, see, print."""
    parser = arguments(__doc__)
    parser.add_argument("--older", type=Path, default=None, help="a checkout whose base is measured beside this one's")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=15, help="of DPM-Solver++")
    parser.add_argument("--guidance", type=float, default=2.0)
    parser.add_argument("--results", type=Path, default=None, help="write the result to this JSON file")
    options = parser.parse_args()
    prepare(options)
    trees = {"this base": HERE} | ({"the older one": options.older.resolve()} if options.older else {})
    asked = (options.count, options.steps, options.guidance)
    sets = {name: pictures_of(tree, *asked) for name, tree in trees.items()}
    side = min(pictures["model"].shape[-1] for pictures in sets.values())
    eyes = Eyes()
    found = {name: distances(eyes, pictures, side) for name, pictures in sets.items()}
    for name, by_net in found.items():
        for net, rows in by_net.items():
            told = ", ".join(f"{kind} {value:.4f}" for kind, value in rows.items())
            print(f"{name}, features of the {net}, {options.count} pictures at {side} pixels: {told}")
    if options.results:
        sampled = {"n": options.count, "side": side, "steps": options.steps, "guidance": options.guidance}
        write_json(options.results, {"machine": machine(), **sampled, "distances": found})


if __name__ == "__main__":
    main()
