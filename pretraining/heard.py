"""How much a name changes what the denoiser predicts: rare tokens, which identifiers are made of, beside famous names.

Told is |prediction by "a NAME dog" - prediction by "a dog"| / |prediction by "a dog"| on pure noise that is taken for
x_t at four times, the mean over some classes. Where a rare token changes little, a fine-tuning has little to bind the
subject to, and the class is drawn after it.

    python -m pretraining.heard [--model FOLDER]
"""

from collections.abc import Sequence
from pathlib import Path

import torch

from dreambooth import models
from dreambooth.config import Base
from dreambooth.models.base import Stage
from dreambooth.support.rng import normal
from dreambooth.toybox.famous import famous_toys
from pretraining.pack import PACKAGED
from pretraining.state import arguments, prepare

TIMES, NOUNS, ROWS = (999, 800, 600, 400), ("dog", "duck", "car", "teapot"), 8
RARE = ("ucx", "tzh", "sks", "ywb")
FAMOUS = 4  # names of each class


@torch.no_grad()
def change(stage: Stage, name: str, noun: str) -> list[float]:
    """At each of TIMES, by how much of itself the prediction differs with the name."""
    words = [stage.stack([stage.condition([prompt])] * ROWS) for prompt in (f"a {noun}", f"a {name} {noun}")]
    x_t = normal((ROWS, *_shape(stage)), "heard")
    found = []
    for time in TIMES:
        plain, named = (stage.predict(x_t, torch.full((ROWS,), time), its) for its in words)
        found.append(float((named - plain).norm() / plain.norm()))
    return found


def _shape(stage: Stage) -> torch.Size:
    """Of what it draws, (C, h, w)."""
    mean, _ = stage.posterior(torch.zeros(1, 3, stage.resolution, stage.resolution))
    return mean.shape[1:]


def names_of(kind: str, noun: str) -> Sequence[str]:
    """Some names of a kind."""
    if kind == "rare tokens":
        return RARE
    of_class = kind == "famous toys of the class"
    return [name for name, toy in famous_toys().items() if (toy.class_noun == noun) == of_class][:FAMOUS]


def main() -> None:
    """Print a line for each kind of name."""
    parser = arguments(__doc__)
    parser.add_argument("--model", type=Path, default=PACKAGED, help="folder of the model")
    options = parser.parse_args()
    prepare(options)
    (stage,) = models.load(Base(model=str(options.model))).stages
    for kind in ("rare tokens", "famous toys of the class", "famous toys of another class"):
        rows = [change(stage, name, noun) for noun in NOUNS for name in names_of(kind, noun)]
        told = ", ".join(
            f"t = {time}: {its.mean():.2f} (least {its.min():.2f})"
            for time, its in zip(TIMES, torch.tensor(rows).T, strict=True)
        )
        print(f"{kind}: {told}")


if __name__ == "__main__":
    main()
