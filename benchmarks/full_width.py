"""Stable Diffusion 1.5 at its real width, with random weights: it loads, trains a step, saves, opens in diffusers, and
comes back from one file.

By hand rather than in the tests: it wants about 20 GB of memory and 30 GB of disk.

    python -m benchmarks.full_width --out /big/disk/full-width [--only-build]
"""

import argparse
import time
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DiffusionPipeline, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from dreambooth import Config, Subject, recipe
from dreambooth.config import Base
from dreambooth.data.photos import photos_in
from dreambooth.export import export_single_file
from dreambooth.models import load
from dreambooth.models.single_file import clip_tokenizer
from dreambooth.run import Run
from dreambooth.toybox.photos import photos


def build(folder: Path) -> None:
    """A checkpoint of Stable Diffusion 1.5's shape (its own config values), randomly initialised."""
    torch.manual_seed(0)
    StableDiffusionPipeline(
        vae=AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
            latent_channels=4,
            sample_size=512,
        ),
        text_encoder=CLIPTextModel(CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_attention_heads=12)),
        tokenizer=clip_tokenizer("<|endoftext|>"),
        unet=UNet2DConditionModel(sample_size=64, cross_attention_dim=768),
        scheduler=PNDMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True, steps_offset=1
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)


def one_file(folder: Path, file: Path) -> None:
    """Export a model, and open it as `--model FILE` does; exits where a weight differs."""
    export_single_file(str(folder), file, "float32")
    before, after = (load(Base(model=str(place))).weights.parts for place in (folder, file))
    for part, module in before.items():
        state = after[part].state_dict()
        for name, tensor in module.state_dict().items():
            if not torch.equal(tensor, state[name]):
                raise SystemExit(f"{part}.{name} differs")


def main() -> None:
    """Build, train one step, save, open, export; print the seconds of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="an empty folder with 30 GB of room")
    parser.add_argument("--only-build", action="store_true", help="OUT/model and no more, for benchmarks.step")
    parser.add_argument("--resolution", type=int, default=128, help="side of the training images: memory grows with it")
    options = parser.parse_args()
    began = time.monotonic()

    def progress(what: str) -> None:
        print(f"{what} after {time.monotonic() - began:.0f} s", flush=True)

    build(options.out / "model")
    progress("built")
    if options.only_build:
        return
    photos("dog", 7, 2, options.out / "photos", 256)
    settings = {
        "model": str(options.out / "model"),
        "with_prior_preservation": False,
        "probe": False,
        "max_train_steps": 1,
        "resolution": options.resolution,
        "gradient_checkpointing": True,
    }
    subject = Subject(photos=photos_in(options.out / "photos"), class_noun="dog", identifier="sks")
    run = Run.create(options.out / "run", subject, Config.build(settings))
    recipe.personalise(run)
    progress("trained a step and saved")
    pipeline = DiffusionPipeline.from_pretrained(run.model)
    parameters = sum(p.numel() for part in (pipeline.unet, pipeline.text_encoder) for p in part.parameters())
    progress(f"opened in diffusers: {type(pipeline).__name__}, {parameters / 1e6:.0f} M trained parameters")
    print(run.losses.read_text())
    one_file(run.model, options.out / "model.safetensors")
    progress("exported to one file and opened again")


if __name__ == "__main__":
    main()
