"""The table of families: what is known of a model before it is opened, and which settings suit it."""

import json
from pathlib import Path
from typing import Any, get_args

import diffusers
import pytest

from dreambooth.config import Config, MethodName
from dreambooth.config.families import FAMILIES, FamilyName, FamilyRow, family_of, refusal
from dreambooth.config.published import PUBLISHED, licence
from dreambooth.config.samplers import SAMPLERS
from dreambooth.errors import ConfigError

DIFFUSERS: Any = diffusers
OWN = {name: row for name, row in FAMILIES.items() if row.preset}
"""Those whose settings are not the paper's."""
DRAWN = {name: row for name, row in OWN.items() if "num_inference_steps" in row.preset}
"""Those that draw as their pipeline does, and not as the paper."""


def test_names_are_those_of_the_setting_and_rows_are_apart() -> None:
    assert tuple(FAMILIES) == get_args(FamilyName)
    for column in ("pipeline", "code"):
        values = [getattr(row, column) for row in FAMILIES.values()]
        assert len(values) == len(set(values))
    ids = [model for row in FAMILIES.values() for model in (*row.published, *row.refused)]
    assert len(ids) == len(set(ids)) and all(model.count("/") == 1 for model in ids)


def test_every_base_model_with_settings_of_its_own_has_a_row_for_people() -> None:
    assert {model for row in FAMILIES.values() for model in row.published} <= PUBLISHED.keys()
    assert {model for row in FAMILIES.values() for model in row.refused}.isdisjoint(PUBLISHED)
    assert licence("toybox") == "apache-2.0" and licence("somebody/something") == "other"


@pytest.mark.parametrize("row", DRAWN.values(), ids=DRAWN)
def test_a_family_is_drawn_as_its_pipeline_draws_by_default(row: FamilyRow) -> None:
    """Steps, and a guidance that the pipeline is told as its own default."""
    from inspect import signature

    call = signature(getattr(DIFFUSERS, row.pipeline).__call__).parameters
    assert row.preset["num_inference_steps"] == call["num_inference_steps"].default
    told = dict(row.guidance(row.preset["guidance_scale"]))
    assert set(told) <= set(call)
    (strength,) = {"guidance_scale", "true_cfg_scale"} & told.keys()
    assert told[strength] == call[strength].default
    assert all(hasattr(DIFFUSERS, scheduler) for scheduler in row.schedulers.values())


@pytest.mark.parametrize("method", get_args(MethodName))
@pytest.mark.parametrize("name", OWN)
def test_presets_are_real_settings(name: str, method: str) -> None:
    described = {"description": "red dog"} if method == "prompt_only" else {}
    config = Config.build({"model": "owner/name", "family": name, "method": method, **described})
    own = OWN[name].method_presets.get(method, {})
    assert {setting: config.flat()[setting] for setting in own} == own
    assert config.family is OWN[name] and config.generation.sampler in (OWN[name].schedulers or SAMPLERS)


def test_what_the_user_says_is_stronger_than_the_familys_settings() -> None:
    flux: dict[str, Any] = {"model": "owner/name", "family": "flux"}
    assert Config.build({**flux, "rank": 2}).method.rank == 2
    whole = Config.build({**flux, "method": "dreambooth", "resolution": 768})
    assert (whole.method.method, whole.data.resolution) == ("dreambooth", 768)


def test_a_family_is_known_by_folder_and_published_name_and_not_guessed(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "ZImagePipeline"}))
    assert family_of(str(tmp_path)) == "z-image"
    assert family_of("black-forest-labs/FLUX.1-dev") == "flux"
    assert family_of("someone/FLUX.1-dev") is None
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionXLPipeline"}))
    assert family_of(str(tmp_path)) is None  # the paper's settings suit it
    (tmp_path / "model_index.json").write_text("{")
    assert family_of(str(tmp_path)) is None


def test_a_family_that_is_not_known_is_told() -> None:
    with pytest.raises(ConfigError, match="family"):
        Config.build({"model": "owner/name", "family": "museum"})
    with pytest.raises(ConfigError, match="family"):
        Config.build({"model": "owner/name", "family": ["flux"]})


def test_a_distilled_model_is_refused_before_anything_is_downloaded() -> None:
    assert refusal("black-forest-labs/FLUX.1-dev") is None
    with pytest.raises(
        ConfigError, match=r"model: .*schnell is distilled to a few steps.*train black-forest-labs/FLUX"
    ):
        Config.build({"model": "black-forest-labs/FLUX.1-schnell"})
