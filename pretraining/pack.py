"""The Stable-Diffusion-format folder that the package ships: averaged weights in fp16, tokenizer, schedule."""

import json
from pathlib import Path

from diffusers import StableDiffusionPipeline

from dreambooth.support.files import written_aside
from pretraining import autoencoder, denoiser
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
    with written_aside(options.out) as aside:
        pipeline.save_pretrained(aside, safe_serialization=True)
        # Tools on transformers 4 want the two files that transformers 5 no longer writes.
        spec = json.loads((aside / "tokenizer" / "tokenizer.json").read_text())["model"]
        (aside / "tokenizer" / "vocab.json").write_text(json.dumps(spec["vocab"], ensure_ascii=False))
        merges = (pair if isinstance(pair, str) else " ".join(pair) for pair in spec["merges"])
        (aside / "tokenizer" / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
        megabytes = sum(file.stat().st_size for file in aside.rglob("*") if file.is_file()) / 1e6
    log(options.state, f"pack: {options.source} -> {options.out.name}, {megabytes:.1f} MB")


if __name__ == "__main__":
    main()
