"""The first losses of a run on the embedded model, to be what they were: any change of the method shows here.

After a change that is meant, or new weights: `python tests/test_golden.py` writes the file anew; say why in the commit.
"""

import json
import tempfile
from importlib.resources import files
from pathlib import Path

import pytest

from dreambooth.config import Config
from dreambooth.data.photos import photos_in
from dreambooth.recipe import personalise
from dreambooth.run import Run
from dreambooth.subject import Subject
from dreambooth.toybox.photos import photos

GOLDEN = Path(__file__).parent / "golden" / "toybox-losses.txt"
SETTINGS = {
    "max_train_steps": 20,
    "num_class_images": 4,
    "class_sampler": "ddpm",
    "class_num_inference_steps": 4,
    "validation_steps": 1000,
    "checkpointing_steps": 1000,
    "prompts": ("a {}",),
    "num_images_per_prompt": 1,
    "num_inference_steps": 1,
    "identifier": "sks",
    "snr_gamma": None,  # Eq. 1 unweighted: weighted, a loss at high noise is too small to be compared
    "probe": False,
}

needs_weights = pytest.mark.skipif(
    not (files("dreambooth.toybox") / "weights" / "model_index.json").is_file(), reason="the weights are not made yet"
)


def losses(folder: Path) -> list[tuple[float, float]]:
    """Subject and prior term of every step."""
    subject = Subject(photos=photos_in(folder / "photos"), class_noun="dog")
    run = Run.create(folder / "run", subject, Config.build(SETTINGS))
    personalise(run)
    lines = map(json.loads, run.losses.read_text().splitlines())
    return [(line["subject"], line["prior"]) for line in lines]


@needs_weights
def test_the_losses_are_what_they_were(tmp_path: Path) -> None:
    photos("dog", 7, 4, tmp_path / "photos", 64)
    expected = [tuple(map(float, line.split()[1:])) for line in GOLDEN.read_text().splitlines()]
    for step, (found, golden) in enumerate(zip(losses(tmp_path), expected, strict=True), 1):
        assert found == pytest.approx(golden, rel=2e-3), f"step {step}"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        photos("dog", 7, 4, Path(folder) / "photos", 64)
        rows = [f"{step} {mine:.6f} {prior:.6f}" for step, (mine, prior) in enumerate(losses(Path(folder)), 1)]
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text("\n".join(rows) + "\n")
