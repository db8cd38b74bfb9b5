"""What the denoiser trains on: latents of the renders and some wordings of each caption, made once, kept by shard."""

import argparse
import json
import random

import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTokenizer

from dreambooth.support.files import written_aside
from pretraining import autoencoder, renders, text_encoder
from pretraining.sizes import Size
from pretraining.state import Trained

EMPTY_CAPTIONS = 0.1
WORDINGS = 6  # of each caption


@torch.no_grad()
def encode(model: AutoencoderKL, images: Tensor) -> Tensor:
    """Posterior means (N, C, h, w) of images (N, 3, H, W) uint8."""
    device = next(model.parameters()).device
    means = []
    for part in images.split(16):
        x = (part.to(device).float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
        means.append(model.encode(x).latent_dist.mean.cpu())
    return torch.cat(means).contiguous()


def wordings(options: argparse.Namespace, shard: int, tokenizer: CLIPTokenizer) -> Tensor:
    """Token ids (N, WORDINGS, L) int16 of the captions of a shard."""
    rng = random.Random(f"wordings/{shard}")
    truths = renders.load_truths(options.state, shard)
    texts = [text_encoder.spoken(truth, rng) for truth in truths for _ in range(WORDINGS)]
    return text_encoder.token_ids(tokenizer, texts).view(len(truths), WORDINGS, -1).to(torch.int16)


class Examples:
    """Latents at unit variance and captions of any training step, as a function of the step's number."""

    def __init__(self, options: argparse.Namespace, size: Size, tokenizer: CLIPTokenizer) -> None:
        model = autoencoder.build(size).to(options.device, memory_format=torch.channels_last)
        trained = Trained({"autoencoder": model}, 1e-3, decay=0.5)
        trained.load(options.state / "autoencoder.safetensors", weights_only=True)
        parts = []
        for shard in renders.shards(options.state):
            path = options.state / "examples" / f"{shard:05}.safetensors"
            if not path.exists():
                latents = encode(model, renders.load_images(options.state, shard)).half()
                with written_aside(path) as aside:
                    save_file({"latents": latents, "ids": wordings(options, shard, tokenizer)}, aside)
            parts.append(load_file(path))
        factor_path = options.state / "scaling_factor.json"
        if not factor_path.exists():
            factor_path.write_text(json.dumps(float(1 / parts[0]["latents"].float().std())))
        factor = float(json.loads(factor_path.read_text()))
        scaled = [(part["latents"].float() * factor).half() for part in parts]
        self.latents = torch.cat(scaled).to(options.device)
        self.ids = torch.cat([part["ids"] for part in parts]).to(options.device)
        self.silence = text_encoder.token_ids(tokenizer, [""])[0].to(options.device)

    def batch(self, step: int, count: int) -> tuple[Tensor, Tensor]:
        """x0 (B, C, h, w) float32 and token ids (B, L), on the training's device."""
        places = torch.Generator().manual_seed(step)
        rows = torch.randint(len(self.latents), (count,), generator=places).to(self.ids.device)
        wording = torch.randint(WORDINGS, (count,), generator=places).to(self.ids.device)
        silent = (torch.rand(count, generator=places) < EMPTY_CAPTIONS).to(self.ids.device)
        ids = torch.where(silent[:, None], self.silence, self.ids[rows, wording].long())
        return self.latents[rows].float(), ids
