"""A stranger's configuration is bounded by its weights before anything is built of it."""

import json
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import save_file

from dreambooth import models
from dreambooth.config import Base
from dreambooth.errors import ModelError
from dreambooth.models.bounds import TIMES, require_part_in_bounds, require_small
from tiny import tiny_model
from tiny_xl import tiny_xl_model


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    tiny_model().save(tmp_path / "model")
    return tmp_path / "model"


def edit(file: Path, **values: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


@pytest.mark.parametrize(
    ("file", "values"),
    [
        ("text_encoder/config.json", {"num_hidden_layers": 10**6}),
        ("text_encoder/config.json", {"text_config": {"num_hidden_layers": 10**6}}),
        ("text_encoder/config.json", {"vocab_size": 10**9}),
        ("text_encoder/config.json", {"intermediate_size": 10**6}),
        ("text_encoder/config.json", {"max_position_embeddings": 10**9}),
        ("text_encoder/config.json", {"hidden_size": 10**400}),
        ("unet/config.json", {"layers_per_block": 10**6}),
        ("unet/config.json", {"layers_per_block": [10**6, 1]}),
        ("unet/config.json", {"sample_size": 10**9}),
        ("unet/config.json", {"block_out_channels": [8] * 10**5}),
        ("unet/config.json", {"norm_eps": float("nan")}),
        ("vae/config.json", {"latent_channels": 10**7}),
        ("vae/config.json", {"scaling_factor": float("inf")}),
        ("scheduler/scheduler_config.json", {"num_train_timesteps": 10**9}),
        ("scheduler/scheduler_config.json", {"solver_order": 10**9}),
    ],
)
def test_what_no_weights_can_be_is_refused_at_once_and_takes_no_memory(
    saved: Path, file: str, values: dict[str, Any]
) -> None:
    edit(saved / file, **values)
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ModelError, match=rf"cannot be what .*{file} says: [\w.\[\]]+ is \S+, and at most"):
        models.load(Base(model=str(saved)))
    assert time.monotonic() - began < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KB


@pytest.mark.parametrize("length", [10**9, 17, 1, -1, "x", None])
def test_a_tokenizer_that_fills_up_to_more_than_is_read_is_refused(saved: Path, length: Any) -> None:
    edit(saved / "tokenizer" / "tokenizer_config.json", model_max_length=length)
    with pytest.raises(ModelError, match=r"its tokenizer makes .* tokens of a prompt, its text_encoder reads 3 to 16"):
        models.load(Base(model=str(saved)))


@pytest.mark.parametrize(
    ("file", "values"),
    [
        ("scheduler/scheduler_config.json", {"prediction_type": []}),
        ("scheduler/scheduler_config.json", {"timestep_spacing": "x"}),
        ("scheduler/scheduler_config.json", {"trained_betas": [0.1]}),
        ("scheduler/scheduler_config.json", {"num_train_timesteps": 0}),
        ("scheduler/scheduler_config.json", {"beta_start": 2.0}),
        ("tokenizer/tokenizer_config.json", {"pad_token": None}),
        ("unet/config.json", {"downsample_padding": 60_000}),
        ("vae/config.json", {"up_block_types": []}),
    ],
)
def test_parts_that_are_whole_and_do_not_fit_together_are_told_when_they_are_opened(
    saved: Path, file: str, values: dict[str, Any]
) -> None:
    edit(saved / file, **values)
    with pytest.raises(ModelError, match=r"do not fit together|its noise schedule|prediction type|decodes by other"):
        models.load(Base(model=str(saved)))


@pytest.mark.parametrize("make", [tiny_model, tiny_xl_model])
def test_real_models_are_within_the_bounds(make: Callable[[], models.DiffusionModel], tmp_path: Path) -> None:
    make().save(tmp_path / "model")
    models.load(Base(model=str(tmp_path / "model")))
    models.load(Base())


def test_a_configuration_of_megabytes_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "config.json").write_text(" " * (1 << 25) + "{}")
    with pytest.raises(ModelError, match="has 34 MB, too much"):
        require_small("x", tmp_path / "unet" / "config.json", TIMES)


@pytest.mark.parametrize("name", ["Mistral3Config", "T5Config", "CLIPTextConfig", "Gemma2Config", "Qwen3Config"])
def test_the_published_settings_of_text_encoders_are_within_bounds(name: str, tmp_path: Path) -> None:
    """FLUX.2 [dev]'s Mistral turns its positions by a base of 1e9. The weights: as many and as wide as they need be."""
    config = getattr(transformers, name)()
    config.save_pretrained(tmp_path)
    text = config.get_text_config()
    weights = {f"layers.{number}": torch.zeros(1) for number in range(text.num_hidden_layers)}
    save_file(weights | {"embed_tokens": torch.zeros(text.vocab_size, 1)}, tmp_path / "model.safetensors")
    require_part_in_bounds("it", tmp_path / "config.json", [tmp_path / "model.safetensors"])
