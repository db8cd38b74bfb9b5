"""Prompts read by a frozen T5 encoder, as DeepFloyd IF reads them."""

from collections.abc import Sequence
from typing import Any, final

from torch import Tensor

from dreambooth.support.device import onto

TOKENS = 77
"""What diffusers' IF pads every prompt to, whatever the tokenizer says."""


@final
class Reader:
    """The frozen T5 of a pipeline and its tokenizer."""

    def __init__(self, pipeline: Any) -> None:
        self.tokenizer, self.encoder = pipeline.tokenizer, pipeline.text_encoder
        self.tokenizer.model_max_length = TOKENS

    def spelled(self, prompts: Sequence[str], unread: str = "") -> list[str]:
        """The prompts as IF knows them, in small letters, without the word `unread`."""
        return [" ".join(word for word in prompt.lower().split() if word != unread.lower()) for prompt in prompts]

    def __call__(self, prompts: Sequence[str], unread: str = "") -> Tensor:
        """(B, L, D) the states of the prompts' tokens, the padded ones too: the U-Nets are told no mask."""
        told = {"padding": "max_length", "max_length": TOKENS, "truncation": True, "return_tensors": "pt"}
        read = self.tokenizer(self.spelled(prompts, unread), **told)
        device = self.encoder.device
        states: Tensor = self.encoder(onto(read.input_ids, device), attention_mask=onto(read.attention_mask, device))[0]
        return states
