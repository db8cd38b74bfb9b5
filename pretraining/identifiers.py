"""What a rare token says before it is anybody's: "a certain one", as a name does.

The denoiser of 3.4 million samples heard rare tokens for toys that nobody knows, so it learned to pass them over, and a
fine-tuning then bound the subject to whatever else told its prompt from the class's: to where the prompt ends, which
another scene moves. It listens to names. So each rare token's embedding becomes the mean of the famous toys' first
names, as long as those are, with a share of its own by which two of them differ.

`pretraining.pack` does it to what it packs; a folder that was packed before:

    python -m pretraining.identifiers --model src/dreambooth/toybox/weights
    python -m pretraining.identifiers --model src/dreambooth/toybox/cascade
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPTokenizer, T5Tokenizer

from dreambooth.identifier import rare_tokens
from dreambooth.support import rng
from dreambooth.support.files import atomic_write
from dreambooth.toybox.famous import FIRST_NAMES
from pretraining.text_encoder import RARE

OWN = 0.3
"""Of a token's length that is its own: two of them have a cosine of about .92."""

ROWS = ("embeddings.token_embedding.weight", "shared.weight")
"""What the token embeddings are called in a CLIP and in a T5."""


def as_names(rows: Tensor, tokenizer: Any) -> Tensor:
    """A copy of the token embeddings (V, D), its rare tokens' rows made names."""
    names = rows[ids_of(tokenizer, FIRST_NAMES)].float()
    length, shared = names.norm(dim=1).mean(), F.normalize(names.mean(0), dim=0)
    rare = sorted({*rare_tokens(tokenizer), *ids_of(tokenizer, RARE)})  # "sks" among the latter
    own = rng.normal((len(rare), rows.shape[1]), "name of nobody", rows=rare)
    own = F.normalize(own - (own @ shared).outer(shared), dim=1)
    made = rows.clone()
    made[rare] = (length * F.normalize(shared + OWN * own, dim=1)).to(rows.dtype)
    return made


def ids_of(tokenizer: Any, words: Sequence[str]) -> list[int]:
    """The tokens that are these whole words, of a CLIP's tokenizer or a T5's."""
    spelled = "▁{}" if isinstance(tokenizer, T5Tokenizer) else "{}</w>"
    ids: list[int] = tokenizer.convert_tokens_to_ids([spelled.format(word) for word in words])
    return ids


def main() -> None:
    """Rewrite the text encoder of a model's folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder of the model, which is changed")
    folder = parser.parse_args().model
    path = folder / "text_encoder" / "model.safetensors"
    with safe_open(path, "pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    (name,) = [name for name in tensors if name.endswith(ROWS)]
    kind = T5Tokenizer if name == ROWS[1] else CLIPTokenizer
    tensors[name] = as_names(tensors[name], kind.from_pretrained(folder / "tokenizer"))
    with atomic_write(path) as aside:
        save_file(tensors, aside, metadata)


if __name__ == "__main__":
    main()
