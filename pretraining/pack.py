"""The Stable-Diffusion-format folder that the package ships: averaged weights in fp16, tokenizer, schedule.

Its rare tokens are made names (`pretraining.identifiers`).
"""

import json
from pathlib import Path

from diffusers import StableDiffusionPipeline

from dreambooth.config.worlds import EMBEDDED
from dreambooth.models import pipelines
from dreambooth.models.stable_diffusion import READERS
from pretraining import autoencoder, denoiser
from pretraining.identifiers import as_names
from pretraining.state import Trained, arguments, log, prepare

PACKAGED = Path(__file__).parent.parent / "src" / "dreambooth" / "toybox" / "weights"


def main() -> None:
    """Pack what has been trained so far."""
    parser = arguments(__doc__)
    parser.add_argument("--out", type=Path, default=PACKAGED)
    parser.add_argument("--from", dest="source", required=True, help="name of a denoiser's state, such as denoiser")
    options = parser.parse_args()
    size = prepare(options)
    vae = autoencoder.build(size)
    trained = Trained({"autoencoder": vae}, 1e-3, decay=0.5)
    trained.load(options.state / "autoencoder.safetensors", weights_only=True)
    unet, encoder, tokenizer = denoiser.modules(options, size)
    trained = Trained({"unet": unet, "text_encoder": encoder}, 1e-3, decay=0.5)
    trained.load(options.state / f"{options.source}.safetensors", weights_only=True)
    rows = encoder.get_input_embeddings().weight
    rows.data.copy_(as_names(rows.detach(), tokenizer))
    vae.register_to_config(scaling_factor=json.loads((options.state / "scaling_factor.json").read_text()))
    pipeline = StableDiffusionPipeline(
        vae=vae.half(),
        text_encoder=encoder.half(),
        tokenizer=tokenizer,
        unet=unet.half(),
        scheduler=denoiser.scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipelines.save(pipeline, READERS, options.out, EMBEDDED)
    megabytes = sum(file.stat().st_size for file in options.out.rglob("*") if file.is_file()) / 1e6
    log(options.state, f"pack: {options.source} -> {options.out.name}, {megabytes:.1f} MB")


if __name__ == "__main__":
    main()
