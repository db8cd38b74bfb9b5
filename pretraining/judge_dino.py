"""The embedded DINO: a small ViT that tells one toy from another, trained without a label.

Two shots of the same toy are two views; what they share is the toy. The views of a batch are told apart by their
embeddings (SimCLR's loss, https://arxiv.org/abs/2002.05709, which learns faster on two cores than DINO's own
self-distillation), and as a batch holds two classes, its negatives are mostly other toys of the same class. The vector
that is trained is the one that DINO scores are computed from: the class token after the last layer norm, with no head.
"""

import math
import random
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import ViTConfig, ViTImageProcessorPil, ViTModel

from dreambooth.support.files import atomic_write
from pretraining import judge_renders
from pretraining.learning import begun, learn, learning_arguments
from pretraining.sizes import Size
from pretraining.state import prepare

PACKAGED = Path(__file__).parent.parent / "src" / "dreambooth" / "toybox" / "judges" / "dino"
TEMPERATURE = 0.1
SHAPE = {
    "patch_size": 16,
    "hidden_size": 128,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
}


def build(size: Size) -> ViTModel:
    """A fresh ViT."""
    config = ViTConfig(
        image_size=size.resolution,
        **SHAPE,
    )
    return ViTModel(config, add_pooling_layer=False)


def packaged() -> ViTModel:
    """The one that the package ships; as the published ones it has no pooler."""
    return ViTModel.from_pretrained(
        PACKAGED, local_files_only=True, dtype=torch.float32, add_pooling_layer=False
    ).eval()


def embedded(model: ViTModel, images: Tensor) -> Tensor:
    """Unit vectors (N, D) of images (N, 3, H, W) in [0, 1]."""
    states: Tensor = model(judge_renders.normalised(images)).last_hidden_state
    return F.normalize(states[:, 0], dim=-1)


def contrastive_loss(first: Tensor, second: Tensor) -> Tensor:
    """The loss of two views (B, D) each of the same B toys: every view finds its partner among the 2B - 1 others."""
    views = torch.cat([first, second])
    alike = (views @ views.T / TEMPERATURE).fill_diagonal_(-math.inf)
    partners = torch.arange(len(views), device=views.device).roll(len(first))
    return F.cross_entropy(alike, partners)


def pairs(folder: list[Path], step: int, count: int) -> tuple[Tensor, Tensor]:
    """Two shots (B, 3, H, W) uint8 of each of `count` toys, half of them from one shard, half from another."""
    rng = random.Random(f"judge_dino/{step}")
    rows = []
    for path in rng.sample(folder, 2):
        images = judge_renders.load(path)
        for toy in rng.sample(range(judge_renders.TOYS), count // 2):
            rows.append(images[toy, rng.sample(range(judge_renders.SHOTS), 2)])
    first, second = torch.stack(rows).unbind(1)
    return first, second


def main() -> None:
    """Train, or go on; then write the folder that the package ships."""
    parser = learning_arguments(__doc__, steps=300, batch=96)  # toys, in two shots each
    parser.add_argument("--out", type=Path, default=PACKAGED)
    options = parser.parse_args()
    size = prepare(options)
    torch.manual_seed(0)
    model = build(size).to(options.device)
    path = options.state / "judge_dino.safetensors"
    trained = begun(options, {"dino": model}, path, decay=0.95)
    folder = judge_renders.shards(options.state)

    def loss_of(step: int, _: float) -> Tensor:
        generator = torch.Generator().manual_seed(step)
        views = torch.cat(pairs(folder, step, options.batch)).to(options.device).float() / 255
        first, second = embedded(model, judge_renders.worn(views, generator)).chunk(2)
        return contrastive_loss(first, second)

    learn(options, trained, path, range(trained.step, options.steps), loss_of)
    with atomic_write(options.out) as aside:
        model.half().save_pretrained(aside)
        side = {"height": size.resolution, "width": size.resolution}
        ViTImageProcessorPil(
            size=side, resample=3, image_mean=judge_renders.MEAN, image_std=judge_renders.STD
        ).save_pretrained(aside)


if __name__ == "__main__":
    main()
