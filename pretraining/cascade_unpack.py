"""The inverse of `cascade_pack`: states made from a packaged cascade, to go on training where no state was kept.

Averages and optimizers start anew. Its base needs no larger renders than those of 64 px, which are four times as quick:

    python -m pretraining.cascade_unpack --state FOLDER
    python -m pretraining.renders --state FOLDER --resolution 64 --first 5000 --shards 40
    python -m pretraining.cascade_stages --state FOLDER --stage base --batch 64 --minutes 60 --cooldown-minutes 20
    python -m pretraining.cascade_pack --state FOLDER --base base-cooled-N --super-resolution super_resolution --out OUT
"""

from pathlib import Path
from typing import cast

from torch import nn

from dreambooth.config import Config
from dreambooth.config.worlds import embedded_folder
from dreambooth.models import load
from dreambooth.models.base import DENOISER
from dreambooth.models.deepfloyd_if import DeepFloydIF
from pretraining import cascade, text_encoder
from pretraining.state import arguments, log, prepare
from pretraining.unpack import write_states


def main() -> None:
    """Write the states of both stages and of the text encoder, and the tokenizer."""
    parser = arguments(__doc__)
    parser.add_argument("--model", type=Path, default=embedded_folder("toybox-cascade"), help="folder of a cascade")
    options = parser.parse_args()
    prepare(options)
    model = cast(DeepFloydIF, load(Config.build(model=str(options.model)).base))
    pipeline = model.pipeline
    reader = text_encoder.Reader(cascade.TEXT_WIDTH)
    states: dict[str, dict[str, nn.Module]] = {
        "text_encoder": {"text_encoder": pipeline.text_encoder.float(), "reader": reader},
        **{stage.name: {"unet": stage.parts[DENOISER].float()} for stage in model.stages},
    }
    write_states(parser, options.state, states)
    text_encoder.save_tokenizer(pipeline.tokenizer, options.state / "tokenizer")
    log(options.state, f"cascade_unpack: {options.model} -> {', '.join(states)}")


if __name__ == "__main__":
    main()
