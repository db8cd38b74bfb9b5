"""Do class images and samples depend on what was there before? On the embedded model, in batches of 20.

A library and a folder of samples are drawn whole; then a random part of them is removed, as if the drawing had been
killed, begun by another run or damaged there, and the same is asked for again. Every file must be the same to the bit.

    python -m benchmarks.other_histories [--moments 50]
"""

import argparse
import random
import tempfile
from pathlib import Path

from dreambooth import Config, Run, Subject, models
from dreambooth.generation.generate import generate
from dreambooth.models.base import DiffusionModel
from dreambooth.prior import class_prior

SUBJECT = Subject(photos=(), class_noun="dog", identifier="sks")
CONFIG = Config.build(
    {
        "num_class_images": 40,
        "sample_batch_size": 20,
        "class_num_inference_steps": 3,
        "num_inference_steps": 3,
        "num_images_per_prompt": 13,
        "prompts": ("a {}", "a {} in the snow"),
    }
)


def drawn(model: DiffusionModel, root: Path) -> dict[Path, bytes]:
    """The content of all class images and samples, drawing those that are lacking."""
    files = class_prior(model, SUBJECT, CONFIG, Run(root), root / "library")
    samples = generate(model, SUBJECT, CONFIG, root / "samples")
    return {path: path.read_bytes() for path in (*files, *(sample.path for sample in samples))}


def main() -> None:
    """Print in how many of the moments a file came out otherwise."""
    parser = argparse.ArgumentParser(description="Do class images and samples depend on what was there before?")
    parser.add_argument("--moments", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng, other = random.Random(options.seed), 0
    model = models.load(CONFIG.base)
    with tempfile.TemporaryDirectory() as place:
        whole = drawn(model, Path(place))
        for _ in range(options.moments):
            for path in rng.sample(list(whole), rng.randrange(1, 8)):
                path.unlink(missing_ok=True)  # where it came out otherwise its name is another
            other += drawn(model, Path(place)) != whole
    print(f"{other} of {options.moments} moments left other files ({len(whole)} files)")


if __name__ == "__main__":
    main()
