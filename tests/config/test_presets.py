"""--preset: the paper's settings without the world's own, and fewer steps where they were measured."""

import pytest

from dreambooth.config import Config
from dreambooth.config.savings import of_time
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


@pytest.mark.parametrize(
    "settings", [{"method": "lora"}, {"model": "toybox-cascade"}, {"model": "stable-diffusion-v1-5/x"}]
)
def test_fast_is_refused_where_it_was_not_measured(settings: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="preset: fast is measured for --model toybox"):
        Config.build(settings, preset="fast")


def test_a_plan_names_fast_once() -> None:
    flags = [saving.flag for saving in of_time(Config.build())]
    assert flags[0] == "--preset fast"
    assert "--preset fast" not in [saving.flag for saving in of_time(Config.build(preset="fast"))]
    assert "--preset fast" not in [saving.flag for saving in of_time(Config.build(method="lora"))]
