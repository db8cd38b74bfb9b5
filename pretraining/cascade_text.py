"""The cascade's Unigram tokenizer, and its T5 encoder, which learns what a caption says and stays so.

As in IF, and unlike the Stable Diffusion beside it, no denoiser trains the encoder further.
"""

import torch
from torch import Tensor

from pretraining import cascade
from pretraining.state import prepare
from pretraining.text_encoder import Reader, learn_to_read, reading_arguments, save_tokenizer


def main() -> None:
    """Train, or go on."""
    options = reading_arguments(__doc__).parse_args()
    prepare(options)
    torch.manual_seed(0)
    tokenizer = cascade.build_tokenizer()
    if not (options.state / "tokenizer").exists():
        save_tokenizer(tokenizer, options.state / "tokenizer")
    encoder = cascade.build_text_encoder(tokenizer).to(options.device)

    def last_states(texts: list[str]) -> Tensor:
        read = tokenizer(texts, padding=True, return_tensors="pt").to(options.device)
        states: Tensor = encoder(**read).last_hidden_state
        return states[torch.arange(len(texts)), read.attention_mask.sum(1) - 1]  # the end of the sentence

    learn_to_read(options, encoder, Reader(cascade.TEXT_WIDTH).to(options.device), last_states)


if __name__ == "__main__":
    main()
