"""How far a model's pictures are from renders: the Frechet distance on what two nets see (https://arxiv.org/abs/1706.08500).

As many pictures are drawn from captions of held-out renders as there are renders of other held-out toys. Features are
the classifier's and the embedded DINO judge's, both trained on renders alone; "renders" is the distance of two sets of
renders of this size, which no model can be asked to undercut.

    python -m pretraining.frechet --model toybox --count 2000
"""

import random

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import ViTModel

from dreambooth import models
from dreambooth.config import Base
from dreambooth.models.base import Sampling
from pretraining import classifier, judge_dino, renders, text_encoder
from pretraining.state import arguments, prepare

REAL, ASKED, OTHER = 1_000_010, 1_000_020, 1_000_030  # numbers of held-out shards


def frechet(first: Tensor, second: Tensor) -> float:
    """The distance of two sets of features (N, D) and (M, D), taken for Gaussians."""
    first, second = first.double(), second.double()
    one, two = torch.cov(first.T), torch.cov(second.T)
    values, vectors = torch.linalg.eigh(one)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    shared = torch.linalg.eigvalsh(root @ two @ root).clamp(min=0).sqrt().sum()
    return float((first.mean(0) - second.mean(0)).square().sum() + one.trace() + two.trace() - 2 * shared)


class Eyes:
    """What the two nets see in pictures (N, 3, H, W) in [0, 1]."""

    def __init__(self) -> None:
        self.classifier = classifier.load()
        self.dino = ViTModel.from_pretrained(
            judge_dino.PACKAGED, local_files_only=True, dtype=torch.float32, add_pooling_layer=False
        ).eval()

    @torch.no_grad()
    def see(self, images: Tensor) -> dict[str, Tensor]:
        """Features (N, D) by the net's name."""
        side = self.dino.config.image_size
        whole = images if images.shape[-1] == side else F.interpolate(images, (side, side), mode="bilinear")
        return {
            "classifier": torch.cat([self.classifier.features(part) for part in images.split(100)]),
            "DINO": torch.cat([judge_dino.embedded(self.dino, part) for part in whole.split(100)]),
        }


def main() -> None:
    """Draw, see, print."""
    parser = arguments(__doc__)
    parser.add_argument("--model", default="toybox", help="toybox or a folder")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=15, help="of DPM-Solver++")
    parser.add_argument("--guidance", type=float, default=2.0)
    options = parser.parse_args()
    size = prepare(options)
    model = models.load(Base(model=options.model))
    model.to(torch.device(options.device))
    eyes, rng = Eyes(), random.Random("frechet")
    texts = [text_encoder.spoken(truth, rng) for truth in renders.truths_of(ASKED, options.count)]
    sampling = Sampling(sampler="dpmsolver++", num_inference_steps=options.steps, guidance_scale=options.guidance)
    drawn = model.generate(texts, list(range(options.count)), sampling)
    seen = {"model": eyes.see(torch.from_numpy(drawn).permute(0, 3, 1, 2).float() / 255)}
    for name, shard in (("renders", OTHER), ("real", REAL)):
        seen[name] = eyes.see(renders.draw(renders.truths_of(shard, options.count), size.resolution).float() / 255)
    for net in ("classifier", "DINO"):
        told = ", ".join(f"{name} {frechet(seen[name][net], seen['real'][net]):.4f}" for name in ("model", "renders"))
        print(f"Frechet distance, features of the {net}, {options.count} pictures: {told}")


if __name__ == "__main__":
    main()
