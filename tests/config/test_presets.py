"""--preset: the paper's settings without the world's own, and the toybox in fewer steps."""

from pathlib import Path
from typing import get_args

import pytest

from dreambooth.config import Config
from dreambooth.config.methods import MethodName
from dreambooth.errors import ConfigError


def test_paper_leaves_out_what_suits_the_world() -> None:
    paper = Config.build(preset="paper")
    assert paper.flat() == Config().flat() | {"preset": "paper"}, "of the toybox nothing is left"
    assert paper.usual() | {"preset": "paper"} == paper.flat()
    lora = Config.build(preset="paper", method="lora")
    assert (lora.training.learning_rate, lora.method.rank) == (1e-4, 4), "diffusers' own"


def test_paper_keeps_what_a_family_needs() -> None:
    at = {"model": "owner/name", "family": "flux"}
    assert Config.build(at, preset="paper").flat() == Config.build(at).flat() | {"preset": "paper"}


def test_fast_changes_steps_and_class_images_alone() -> None:
    usual, fast = Config.build(), Config.build(preset="fast")
    changed = {line.split(":")[0] for line in usual.changes(fast)}
    assert changed == {"preset", "max_train_steps", "num_class_images"}
    assert fast.training.max_train_steps < usual.training.max_train_steps
    assert Config.build(preset="fast", max_train_steps=300).training.max_train_steps == 300


@pytest.mark.parametrize("model", ["toybox-cascade", "owner/stable-diffusion-v1-5"])
def test_fast_is_refused_where_it_has_no_settings(model: str) -> None:
    with pytest.raises(ConfigError, match=f"preset: fast has no settings for {model}: leave it out"):
        Config.build(model=model, preset="fast")


def test_fast_goes_with_every_method_card_and_family_of_the_toybox() -> None:
    for method in get_args(MethodName):
        description = "red dog" if method == "prompt_only" else None
        built = Config.build(preset="fast", method=method, description=description)
        assert built.training.max_train_steps == (0 if method == "prompt_only" else 200)
    assert Config.build(preset="fast", memory="8").method.method == "lora"
    assert Config.build(preset="fast", family="stable-diffusion").training.max_train_steps == 200


def test_a_run_keeps_its_preset(tmp_path: Path) -> None:
    config = Config.build(preset="fast", max_train_steps=150)
    assert Config.from_toml_text(config.to_toml(), tmp_path) == config == Config.build(config.flat())
