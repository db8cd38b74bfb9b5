"""The rows of --memory: settings that every method and family takes, which what is given goes before."""

from pathlib import Path
from typing import Any, get_args

import pytest

from dreambooth.config import Config
from dreambooth.config.cards import CARDS, CardSize
from dreambooth.config.families import FAMILIES
from dreambooth.config.methods import MethodName
from dreambooth.errors import ConfigError


def test_a_row_of_every_size_suits_every_method_and_family() -> None:
    assert list(CARDS) == sorted(get_args(CardSize), key=int, reverse=True)
    for card, its in CARDS.items():
        assert Config.build({"memory": card}).flat().items() >= its.items()
        for method in get_args(MethodName):
            description = "yellow dog" if method == "prompt_only" else None
            assert Config.build({"memory": card, "method": method, "description": description}).method.method == method
        for family in FAMILIES:
            Config.build({"model": "owner/name", "family": family, "memory": card})


def test_what_is_given_goes_before_the_row_and_a_run_keeps_both(tmp_path: Path) -> None:
    config = Config.build(memory="8", dtype="float32", train_batch_size=3)
    assert (config.base.dtype, config.training.train_batch_size, config.method.method) == ("float32", 3, "lora")
    assert config.training.learning_rate == Config.build(method="lora").training.learning_rate, "that of the method"
    assert Config.from_toml_text(config.to_toml(), tmp_path) == config


def test_a_file_may_have_the_size_as_a_number() -> None:
    assert Config.build({"memory": 12}) == Config.build(memory="12")


def test_what_a_file_or_a_caller_has_in_another_type_is_taken(tmp_path: Path) -> None:
    given: dict[str, Any] = {"method": "lora", "base_bits": 4, "model": tmp_path, "prompts": "a {} on the moon"}
    config = Config.build(given)
    assert (config.base.base_bits, config.base.model) == ("4", str(tmp_path))
    assert config.generation.prompts == ("a {} on the moon",)
    with pytest.raises(ConfigError, match='leave out "an"'):
        Config.build(method="prompt_only", description="an orange cat")


def test_a_size_without_a_row_is_told() -> None:
    with pytest.raises(ConfigError, match="memory: Input should be '8', '12', '16', '24' or '48', got '13'"):
        Config.build({"memory": "13"})
