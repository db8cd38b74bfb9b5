"""The folder of the cascade in DeepFloyd IF's format: averaged weights in fp16, tokenizer, schedules."""

from pathlib import Path

from diffusers import IFPipeline, IFSuperResolutionPipeline, UNet2DConditionModel

from dreambooth.config.worlds import EMBEDDED
from dreambooth.models.deepfloyd_if import DeepFloydIF
from dreambooth.models.refining import Refining
from pretraining import cascade, cascade_stages
from pretraining.identifiers import as_names
from pretraining.state import Trained, arguments, log, prepare

UNCHECKED = {"safety_checker": None, "feature_extractor": None, "watermarker": None, "requires_safety_checker": False}
DRAWN = Refining(guidance_scale=1.0, num_inference_steps=8)  # looked at: guidance of 4 and 15 steps show nothing more


def averaged(stage: str, path: Path) -> UNet2DConditionModel:
    """The U-Net of a stage with the averaged weights of a state, in fp16."""
    unet = cascade_stages.build(stage)
    Trained({"unet": unet}, 1e-3, decay=0.5).load(path, weights_only=True)
    return unet.half()


def main() -> None:
    """Pack what has been trained so far."""
    parser = arguments(__doc__)
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    parser.add_argument("--base", required=True, help="name of a state of the base, such as base-cooled-9000")
    parser.add_argument("--super-resolution", required=True, help="the same of super-resolution")
    options = parser.parse_args()
    prepare(options)
    encoder, tokenizer = cascade_stages.text_parts(options)
    rows = encoder.shared.weight
    rows.data.copy_(as_names(rows.detach(), tokenizer))
    readers = {"tokenizer": tokenizer, "text_encoder": encoder.half()}
    base, larger = (
        options.state / f"{options.base}.safetensors",
        options.state / f"{options.super_resolution}.safetensors",
    )
    model = DeepFloydIF(
        IFPipeline(**readers, unet=averaged("base", base), scheduler=cascade.scheduler(), **UNCHECKED),
        options.out.name,
        IFSuperResolutionPipeline(
            **readers,
            unet=averaged("super_resolution", larger),
            scheduler=cascade.scheduler(),
            image_noising_scheduler=cascade.noising_scheduler(),
            **UNCHECKED,
        ),
        DRAWN,
    )
    model.world = EMBEDDED
    model.save(options.out)
    megabytes = sum(file.stat().st_size for file in options.out.rglob("*") if file.is_file()) / 1e6
    log(options.state, f"cascade_pack: {options.base} -> {options.out.name}, {megabytes:.1f} MB")


if __name__ == "__main__":
    main()
