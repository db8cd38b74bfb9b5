"""How every picture is drawn: in the batch that its place gives it, whatever was drawn before.

A picture's last bit depends on who else is in its batch. So batches are cut from the whole list, never from what is
still to do, and one picture that is lacking is drawn with all of its neighbours: work that was stopped ends as if it
had not been.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dreambooth.models.base import DiffusionModel, Sampling
from dreambooth.support.progress import log


class Drawn(NamedTuple):
    """A picture (H, W, 3), its number, and the x0 (C, h, w) that it was decoded from where the model has one."""

    number: int
    image: NDArray[np.uint8]
    x0: Tensor | None


def draw_in_place(
    model: DiffusionModel,
    prompts: Sequence[str],
    seeds: Sequence[int],
    sampling: Sampling,
    batch_size: int,
    lacking: Collection[int],
) -> Iterator[Drawn]:
    """The pictures with these numbers, in order.

    prompts, seeds: of all pictures, those that are not drawn too.  Raises ModelError where a model draws nothing.
    """
    for first in range(0, len(prompts), batch_size):
        batch = range(first, min(first + batch_size, len(prompts)))
        if wanted := [number for number in batch if number in lacking]:
            asked = [prompts[at] for at in batch], [seeds[at] for at in batch]
            images, x0 = model.generate_with_x0(*asked, sampling)
            for number in wanted:
                yield Drawn(number, images[number - first], None if x0 is None else x0[number - first])


def is_blank(image: NDArray[np.uint8]) -> bool:
    """Whether a picture (H, W, 3) is of one colour throughout: no picture of anything."""
    return bool((image == image[:1, :1]).all())


def warn_of_long(model: DiffusionModel, prompts: Sequence[str]) -> None:
    """Log the prompts whose end no text encoder of the model reads, each with that end."""
    for prompt in dict.fromkeys(prompts):
        ends = [_unread(tokenizer, prompt) for tokenizer in model.tokenizers.values()]
        if unread := min(ends, key=len):
            log.warning(
                "the prompt %r is longer than the model reads: %r is cut off and changes nothing. Use fewer words.",
                prompt,
                unread,
            )


def _unread(tokenizer: Any, prompt: str) -> str:
    """The words of a prompt that do not fit; a new word of several vectors, called "x", "x_1" and so on, is several."""
    ids = tokenizer(prompt, add_special_tokens=False, verbose=False)["input_ids"]
    added = {number: word for word, number in tokenizer.get_added_vocab().items()}
    room = tokenizer.model_max_length - tokenizer.num_special_tokens_to_add()
    for at, number in enumerate(ids):
        word = added.get(number)
        room -= 1 if word is None else 1 + sum(other.startswith(f"{word}_") for other in added.values())
        if room < 0:
            return str(tokenizer.decode(ids[at:])).strip()
    return ""
