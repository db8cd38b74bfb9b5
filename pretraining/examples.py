"""What the denoiser trains on: latents of the renders and some wordings of each caption, made once, kept by shard.

`python -m pretraining.examples --minutes 8` makes them while the renders still come, for a denoiser that trains beside
it with --follow.
"""

import argparse
import json
import random
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTokenizer

from dreambooth.support.files import atomic_write
from pretraining import autoencoder, renders, text_encoder
from pretraining.sizes import Size
from pretraining.state import Trained, arguments, log, prepare

EMPTY_CAPTIONS = 0.1
WORDINGS = 6  # of each caption


@torch.no_grad()
def encode(model: AutoencoderKL, images: Tensor) -> Tensor:
    """Posterior means (N, C, h, w) of images (N, 3, H, W) uint8."""
    device = next(model.parameters()).device
    means = []
    for part in images.split(16 if device.type == "cpu" else 256):
        x = (part.to(device).float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
        means.append(model.encode(x).latent_dist.mean.cpu())
    return torch.cat(means).contiguous()


def wordings(options: argparse.Namespace, shard: int, tokenizer: Any) -> Tensor:
    """Token ids (N, WORDINGS, L) int16 of the captions of a shard."""
    rng = random.Random(f"wordings/{shard}")
    truths = renders.load_truths(options.state, shard)
    texts = [truth.caption(rng) for truth in truths for _ in range(WORDINGS)]  # no rare token: see identifiers.py
    return text_encoder.token_ids(tokenizer, texts).view(len(truths), WORDINGS, -1).to(torch.int16)


class Maker(ABC):
    """Makes the examples of a shard from its renders."""

    def __init__(self, options: argparse.Namespace, tokenizer: Any) -> None:
        self.options, self.tokenizer = options, tokenizer

    @abstractmethod
    def encoded(self, images: Tensor) -> Tensor:
        """What is learned to draw (N, C, h, w) of images (N, 3, H, W) uint8."""

    def missing(self) -> list[int]:
        """The shards whose renders are complete and whose examples are not."""
        made = set(shards(self.options))
        return [shard for shard in renders.shards(self.options.state) if shard not in made]

    def make(self, shard: int) -> None:
        """Write the examples of a shard, and before those of the first one the scale that gives them unit variance."""
        latents = self.encoded(renders.load_images(self.options.state, shard)).half()
        factor_path = self.options.state / "scaling_factor.json"
        if not factor_path.exists():
            factor_path.write_text(json.dumps(float(1 / latents.float().std())))
        with atomic_write(example_path(self.options, shard)) as aside:
            save_file({"latents": latents, "ids": wordings(self.options, shard, self.tokenizer)}, aside)


class Latents(Maker):
    """Makes examples of the autoencoder's latents."""

    def __init__(self, options: argparse.Namespace, size: Size, tokenizer: CLIPTokenizer) -> None:
        super().__init__(options, tokenizer)
        self.model = autoencoder.build(size).to(options.device, memory_format=torch.channels_last)
        trained = Trained({"autoencoder": self.model}, 1e-3, decay=0.5)
        trained.load(options.state / "autoencoder.safetensors", weights_only=True)

    def encoded(self, images: Tensor) -> Tensor:
        return encode(self.model, images)


def example_path(options: argparse.Namespace, shard: int) -> Path:
    """Where the examples of a shard are."""
    return Path(options.state / "examples" / f"{shard:05}.safetensors")


def shards(options: argparse.Namespace) -> list[int]:
    """The shards whose examples are complete."""
    return sorted(int(path.stem) for path in example_path(options, 0).parent.glob("*.safetensors"))


class Examples:
    """What is drawn, at unit variance, and captions of any step, as a function of the step's number and the shards."""

    def __init__(self, options: argparse.Namespace, maker: Maker) -> None:
        if not options.follow:
            for shard in maker.missing():
                maker.make(shard)
        self.options = options
        self.factor = float(json.loads((options.state / "scaling_factor.json").read_text()))
        self.silence = text_encoder.token_ids(maker.tokenizer, [""])[0].to(options.device)
        self.taken: list[int] = []
        self.latents, self.ids = torch.empty(0), torch.empty(0)
        self.grow()

    def grow(self) -> None:
        """Take in what another process has made since."""
        new = [shard for shard in shards(self.options) if shard not in self.taken]
        if not new:
            return
        parts = [load_file(example_path(self.options, shard), device=self.options.device) for shard in new]
        latents = [(part["latents"].float() * self.factor).half() for part in parts]
        ids = [part["ids"] for part in parts]
        self.latents = torch.cat([*([self.latents] if self.taken else []), *latents])
        self.ids = torch.cat([*([self.ids] if self.taken else []), *ids])
        self.taken += new

    def batch(self, step: int, count: int) -> tuple[Tensor, Tensor]:
        """x0 (B, C, h, w) float32 and token ids (B, L), on the training's device."""
        device = self.ids.device
        places = torch.Generator(device).manual_seed(step)
        rows = torch.randint(len(self.latents), (count,), generator=places, device=device)
        wording = torch.randint(WORDINGS, (count,), generator=places, device=device)
        silent = torch.rand(count, generator=places, device=device) < EMPTY_CAPTIONS
        ids = torch.where(silent[:, None], self.silence, self.ids[rows, wording].long())
        return self.latents[rows].float(), ids


def making_arguments(description: str | None) -> argparse.ArgumentParser:
    """The flags of a module that makes examples while the renders still come."""
    parser = arguments(description)
    parser.add_argument("--minutes", type=float, default=0.0, help="wait so long for further renders")
    parser.add_argument("--part", default="0/1", help="i/n: this process makes every n-th shard from the i-th")
    return parser


def make_all(options: argparse.Namespace, maker: Maker) -> None:
    """Make what is missing, and go on so for --minutes."""
    part, parts = map(int, options.part.split("/"))
    started = time.time()
    while True:
        for shard in (shard for shard in maker.missing() if shard % parts == part):
            maker.make(shard)
            log(options.state, f"examples: shard {shard}")
        if time.time() - started > 60 * options.minutes:
            return
        time.sleep(1)


def main() -> None:
    """Make the latents' examples."""
    options = making_arguments(__doc__).parse_args()
    size = prepare(options)
    tokenizer = CLIPTokenizer.from_pretrained(options.state / "tokenizer", local_files_only=True)
    make_all(options, Latents(options, size, tokenizer))


if __name__ == "__main__":
    main()
