"""Pictures to measure a base by: what it draws from captions of held-out renders, and two sets of other renders.

Its own file, since an older checkout runs it too, on its own base and world: it takes nothing of this tree but what
that one has as well.

    python pretraining/drawn.py OUT.safetensors COUNT STEPS GUIDANCE
"""

import random
import sys
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from dreambooth import models
from dreambooth.config import Base
from dreambooth.models.base import Sampling
from pretraining import renders, text_encoder

ASKED = 1_000_020  # the number of a held-out shard
RENDERED = {"real": 1_000_010, "renders": 1_000_030}


def main(path: str, count: int, steps: int, guidance: float) -> None:
    """Write "model", "real", "renders" and, of these, "decoded", each (count, 3, H, W) uint8."""
    model: Any = models.load(Base(model="toybox"))
    rng = random.Random("frechet")
    truths: list[Any] = renders.truths_of(ASKED, count)  # in the first toybox pairs of a toy and a shot,
    spoken: Any = text_encoder.spoken  # which this one took one by one
    texts = [spoken(*(truth if isinstance(truth, tuple) else (truth,)), rng) for truth in truths]
    sampling = Sampling(sampler="dpmsolver++", num_inference_steps=steps, guidance_scale=guidance)
    pictures = [
        torch.from_numpy(model.generate(texts[at : at + 40], list(range(at, min(at + 40, count))), sampling))
        for at in range(0, count, 40)
    ]
    drawn = torch.cat(pictures).permute(0, 3, 1, 2).contiguous()
    sets = {name: renders.draw(renders.truths_of(shard, count), drawn.shape[-1]) for name, shard in RENDERED.items()}
    save_file({"model": drawn, **sets, "decoded": decoded(model.pipeline.vae, sets["renders"])}, path)


@torch.no_grad()
def decoded(autoencoder: Any, pictures: Tensor) -> Tensor:
    """Pictures (N, 3, H, W) uint8 as its latents give them back."""
    parts = [
        autoencoder.decode(autoencoder.encode(part.float() / 127.5 - 1).latent_dist.mean).sample
        for part in pictures.split(40)
    ]
    return ((torch.cat(parts).clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
