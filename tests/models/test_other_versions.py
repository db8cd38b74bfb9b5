"""What is saved opens in other versions of transformers and diffusers too; benchmarks/opens_elsewhere.py tries them."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from safetensors.torch import load_file

from dreambooth import models
from dreambooth.config import Base
from families import FAMILIES, WITH_TEXT, Family

DIFFUSERS: Any = diffusers
EMBEDDED = Path(str(files("dreambooth.toybox"))) / "weights"


@pytest.fixture(params=WITH_TEXT)
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


def text_encoders(folder: Path) -> list[Path]:
    """The folders of a saved model's text encoders."""
    return sorted(folder.glob("text_encoder*"))


def names(folder: Path) -> set[str]:
    """Of all tensors of a saved part."""
    return {name for file in folder.glob("*.safetensors") for name in load_file(file)}


def drawn(folder: Path) -> Any:
    """A picture (H, W, 3) as a user of diffusers draws one who says nothing of precision."""
    pipeline = DIFFUSERS.DiffusionPipeline.from_pretrained(folder, local_files_only=True)
    assert {part.dtype for part in pipeline.components.values() if hasattr(part, "dtype")} == {torch.float32}
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(0)
    return pipeline("a dog", num_inference_steps=2, generator=generator, output_type="np").images[0]


def test_text_encoders_are_saved_under_the_names_that_transformers_4_and_5_read(family: Family, tmp_path: Path) -> None:
    """4 knows a text encoder's weights as text_model.*, and begins with random ones where it finds none."""
    model = family.model()
    model.save(tmp_path / "model")
    for folder in text_encoders(tmp_path / "model"):
        modules = getattr(model.pipeline, folder.name).state_dict()
        inner = {name.removeprefix("text_model.") for name in modules} - {"text_projection.weight"}
        assert names(folder) - {"text_projection.weight"} == {f"text_model.{name}" for name in inner}


def test_a_model_saved_in_half_precision_draws_for_who_says_nothing_of_precision(
    family: Family, tmp_path: Path
) -> None:
    family.model().save(tmp_path / "base")
    low = models.load(Base(model=str(tmp_path / "base"), dtype="bfloat16"))
    low.save(tmp_path / "low")
    for folder in text_encoders(tmp_path / "low"):
        assert json.loads((folder / "config.json").read_text())["dtype"] == "float32"
        (file,) = folder.glob("*.safetensors")
        assert {tensor.dtype for tensor in load_file(file).values()} == {torch.bfloat16}
    assert drawn(tmp_path / "low").std() > 0


def test_the_embedded_model_draws_for_who_says_nothing_of_precision() -> None:
    assert drawn(EMBEDDED).std() > 0.05
    (folder,) = text_encoders(EMBEDDED)
    assert all(name.startswith("text_model.") for name in names(folder))
