"""The settings of a cascade: the family's, and those of each stage."""

import json
from pathlib import Path

import pytest

from dreambooth.config import Config
from dreambooth.config.families import FAMILIES
from dreambooth.config.worlds import WORLDS, named


@pytest.fixture
def cascade(tmp_path: Path) -> Path:
    """The folder of a DeepFloyd IF, as far as settings read it."""
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "IFPipeline"}), encoding="utf-8")
    return tmp_path


def test_a_cascade_is_tuned_as_the_paper_tunes_imagen(cascade: Path) -> None:
    for model in (str(cascade), "DeepFloyd/IF-I-XL-v1.0"):
        config = Config.build({"model": model})
        assert config.training.learning_rate == 1e-5 and config.training.max_train_steps == 1000
        assert config.prior.prior_loss_weight == 1 and not config.training.train_text_encoder
        assert config.of_stage("super_resolution") is config.of_stage("base") is config


def test_a_lora_of_a_cascade_has_steps_and_rates_for_each_stage(cascade: Path) -> None:
    config = Config.build({"model": str(cascade), "method": "lora"})
    found = [config.of_stage(name).training for name in ("base", "super_resolution")]
    assert [(its.learning_rate, its.max_train_steps) for its in found] == [(5e-6, 1200), (1e-6, 2000)]
    given = Config.build({"model": str(cascade), "method": "lora", "super_resolution_steps": 7})
    assert given.of_stage("super_resolution").training.max_train_steps == 7


def test_the_embedded_cascade_has_a_preset_of_its_own() -> None:
    config = Config.build(model="toybox-cascade")
    steps = [config.of_stage(name).training.max_train_steps for name in ("base", "super_resolution")]
    assert steps == [800, 400]
    rates = [config.of_stage(name).training.learning_rate for name in ("base", "super_resolution")]
    assert rates == [5e-4, 3e-4]
    assert (config.generation.sampler, config.generation.num_inference_steps) == ("ddpm", 50)
    shorter = Config.build(model="toybox-cascade", max_train_steps=50)
    assert shorter.of_stage("super_resolution").training.max_train_steps == 50
    slower = Config.build(model="toybox-cascade", learning_rate=1e-4)
    assert slower.of_stage("super_resolution").training.learning_rate == 1e-4
    described = Config.build(model="toybox-cascade", method="prompt_only", description="red dog")
    assert described.training.max_train_steps == 0


def test_a_lora_of_the_embedded_cascade_has_the_worlds_rates_and_not_those_of_the_full_size() -> None:
    config = Config.build(model="toybox-cascade", method="lora")
    found = [config.of_stage(name).training for name in ("base", "super_resolution")]
    assert [(its.learning_rate, its.max_train_steps) for its in found] == [(1e-3, 800), (1e-3, 400)]
    assert config.method.rank == Config.build(model="toybox", method="lora").method.rank


@pytest.mark.parametrize("world", WORLDS)
def test_what_suits_a_family_in_a_world_is_of_a_family(world: str) -> None:
    its, known = named(world), {row.pipeline for row in FAMILIES.values() if row.preset}
    assert {*its.pipeline_presets, *(pipeline for pipeline, _ in its.pipeline_method_presets)} <= known
