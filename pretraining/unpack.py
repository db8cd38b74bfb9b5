"""The inverse of `pack`: states made from a packaged model, to go on training where no state was kept.

The averages and the optimizers start anew; renders and latents are made again by their own modules.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

from diffusers import StableDiffusionPipeline
from torch import nn

from pretraining import text_encoder
from pretraining.pack import PACKAGED
from pretraining.state import Trained, arguments, log, prepare


def write_states(parser: argparse.ArgumentParser, folder: Path, states: Mapping[str, Mapping[str, nn.Module]]) -> None:
    """Write the state of each training, of modules that have trained; a state that is there is an error of `parser`."""
    for name, modules in states.items():
        path = folder / f"{name}.safetensors"
        if path.exists():
            parser.error(f"{path} exists: a state that was kept is worth more than one made from packaged weights")
        Trained(modules, 1e-3, decay=0.5).save(path)


def main() -> None:
    """Write the states of autoencoder, text encoder and denoiser, and the tokenizer."""
    parser = arguments(__doc__)
    parser.add_argument("--model", type=Path, default=PACKAGED, help="folder in Stable Diffusion format")
    options = parser.parse_args()
    size = prepare(options)
    pipeline = StableDiffusionPipeline.from_pretrained(options.model, local_files_only=True, use_safetensors=True)
    encoder = pipeline.text_encoder.float()
    states: dict[str, dict[str, nn.Module]] = {
        "autoencoder": {"autoencoder": pipeline.vae.float()},
        "text_encoder": {"text_encoder": encoder, "reader": text_encoder.Reader(size.text_width)},
        "denoiser": {"unet": pipeline.unet.float(), "text_encoder": encoder},
    }
    write_states(parser, options.state, states)
    text_encoder.save_tokenizer(pipeline.tokenizer, options.state / "tokenizer")
    factor = float(pipeline.vae.config.scaling_factor)
    (options.state / "scaling_factor.json").write_text(json.dumps(factor))
    log(options.state, f"unpack: {options.model.name} -> {', '.join(states)}")


if __name__ == "__main__":
    main()
