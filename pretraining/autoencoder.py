"""Pixels <-> latents: a small AutoencoderKL.

The loss is the squared error of pixels and of their differences (edges), with a light KL term; L1 learns colours far
more slowly. Residual branches start at zero, so that the net starts as a shallow linear one. It has no attention, so
that it learns from crops as it would from whole pictures. What it reaches is printed as PSNR on renders it never saw.
docs/log.md has the comparison.
"""

import math
import random
import time

import torch
from diffusers import AutoencoderKL
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor
from torch.nn import functional as F

from pretraining import renders
from pretraining.sizes import Size
from pretraining.state import Trained, arguments, log, prepare

KL_WEIGHT = 1e-6
POOL = 8  # shards in memory at once


def build(size: Size) -> AutoencoderKL:
    """A fresh autoencoder of this size."""
    blocks = len(size.autoencoder_channels)
    model = AutoencoderKL(
        block_out_channels=size.autoencoder_channels,
        down_block_types=("DownEncoderBlock2D",) * blocks,
        up_block_types=("UpDecoderBlock2D",) * blocks,
        latent_channels=size.latent_channels,
        layers_per_block=1,
        norm_num_groups=8,
        sample_size=size.resolution,
        mid_block_add_attention=False,
    )
    for module in model.modules():
        if isinstance(module, ResnetBlock2D):
            torch.nn.init.zeros_(module.conv2.weight)
            torch.nn.init.zeros_(module.conv2.bias)
    return model


def reconstruction_loss(model: AutoencoderKL, x: Tensor) -> Tensor:
    """The training loss of images x (B, 3, H, W) in [-1, 1]."""
    posterior = model.encode(x).latent_dist
    y = model.decode(posterior.sample()).sample
    edges = F.mse_loss(y.diff(dim=-1), x.diff(dim=-1)) + F.mse_loss(y.diff(dim=-2), x.diff(dim=-2))
    loss: Tensor = 4 * (F.mse_loss(y, x) + edges) + KL_WEIGHT * posterior.kl().mean()
    return loss


def psnr(model: AutoencoderKL, images: Tensor) -> float:
    """PSNR in dB over images (N, 3, H, W) uint8, peak 1."""
    x = images.to(model.device).float() / 127.5 - 1
    with torch.no_grad():
        y = model.decode(model.encode(x).latent_dist.mean).sample.clamp(-1, 1)
    error = ((y - x) / 2).square().flatten(1).mean(1)
    return float((-10 * error.log10()).mean())


def crops(pool: list[Tensor], step: int, count: int, side: int) -> Tensor:
    """Random crops (B, 3, side, side) in [-1, 1] of random pictures of the pool's shards (N, 3, H, W).

    More of them near the middle, where the toy is.
    """
    rng = random.Random(step)
    rows = []
    for _ in range(count):
        picture = rng.choice(pool)[rng.randrange(renders.SHARD)]
        top, left = (int(rng.triangular(0, picture.shape[-1] - side + 1)) for _ in range(2))
        rows.append(picture[:, top : top + side, left : left + side])
    return torch.stack(rows).float() / 127.5 - 1


def main() -> None:
    """Train, or go on."""
    parser = arguments(__doc__)
    parser.add_argument("--steps", type=int, default=13_000)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="decay to the end in so long")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--crop", type=int, default=64, help="side of the crops in pixels")
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--muon-rate", type=float, default=1.5e-2)
    options = parser.parse_args()
    size = prepare(options)
    torch.manual_seed(0)
    model = build(size).to(options.device, memory_format=torch.channels_last)
    trained = Trained({"autoencoder": model}, options.learning_rate, 0.995, 0.0, options.muon_rate)
    path = options.state / "autoencoder.safetensors"
    if path.exists():
        trained.load(path)
    held_out = renders.draw(renders.truths_of(1_000_000, 64), size.resolution)
    pool: list[Tensor] = []
    started = time.time()
    while (gone := max(trained.step / options.steps, (time.time() - started) / 60 / options.minutes)) < 1:
        if trained.step % 200 == 0:
            some = renders.shards(options.state)
            chosen = random.Random(trained.step).sample(some, min(POOL, len(some)))
            pool = [renders.load_images(options.state, shard) for shard in chosen]
        x = crops(pool, trained.step, options.batch, options.crop).to(options.device)
        fallen = 0.02 + 0.98 * (1 + math.cos(math.pi * gone)) / 2
        loss = reconstruction_loss(model, x.contiguous(memory_format=torch.channels_last))
        trained.update(loss, min(1, trained.step / 50) * fallen)
        if trained.step % 100 == 0:
            log(options.state, f"autoencoder: step {trained.step} loss {loss.item():.4f}")
        if trained.step % 500 == 0:
            trained.save(path)
            log(options.state, f"autoencoder: {psnr(model, held_out):.2f} dB")
    trained.save(path)
    trained.use_average()
    log(options.state, f"autoencoder: {psnr(model, held_out):.2f} dB on held-out renders, averaged weights")


if __name__ == "__main__":
    main()
