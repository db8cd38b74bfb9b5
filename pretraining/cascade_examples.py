"""What the cascade trains on: the renders' pixels at its own side, and wordings of each caption in T5's tokens.

`python -m pretraining.cascade_examples --minutes 4` makes them while the renders still come, for stages that train
beside it with --follow.
"""

import argparse
from typing import Any

from torch import Tensor
from torch.nn import functional as F
from transformers import T5Tokenizer

from pretraining import cascade
from pretraining.examples import Maker, make_all, making_arguments
from pretraining.state import prepare


class Pixels(Maker):
    """Makes examples of the pixels themselves at the cascade's side, in [-1, 1]."""

    def __init__(self, options: argparse.Namespace, tokenizer: Any) -> None:
        super().__init__(options, tokenizer)
        (options.state / "scaling_factor.json").write_text("1.0")  # pixels are as they are

    def encoded(self, images: Tensor) -> Tensor:
        return F.interpolate(images.float(), size=(cascade.SIDE, cascade.SIDE), mode="area") / 127.5 - 1


def main() -> None:
    """Make the cascade's examples."""
    options = making_arguments(__doc__).parse_args()
    prepare(options)
    tokenizer = T5Tokenizer.from_pretrained(options.state / "tokenizer", local_files_only=True)
    make_all(options, Pixels(options, tokenizer))


if __name__ == "__main__":
    main()
