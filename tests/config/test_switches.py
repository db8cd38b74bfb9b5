"""Settings that do nothing are told where somebody gave them, and never of what a preset has."""

from itertools import product
from typing import Any, get_args

import pytest

from dreambooth.config import Config, MethodName
from dreambooth.config.cards import CARDS
from dreambooth.config.families import FAMILIES
from dreambooth.config.switches import unusual, warn_of_idle
from dreambooth.errors import ConfigError

CLASS_IMAGES = {
    "num_class_images": 50,
    "class_sampler": "ddim",
    "class_num_inference_steps": 7,
    "class_guidance_scale": 3.0,
}


def told(caplog: pytest.LogCaptureFixture, **settings: Any) -> list[str]:
    """What a run of these settings says of them."""
    caplog.clear()
    config = Config.build(settings)
    warn_of_idle(config, unusual(config))
    return caplog.messages


def idle(why: str, *names: str) -> list[str]:
    return [f"--{name.replace('_', '-')} does nothing {why}" for name in names]


def test_what_is_of_the_probe_does_nothing_without_it(caplog: pytest.LogCaptureFixture) -> None:
    mine = {"probe_images_per_prompt": 3, "probe_class_images": 5, "probe_num_inference_steps": 9}
    assert told(caplog, **mine) == []
    assert told(caplog, **mine, probe=False) == idle("without --probe", *mine)
    assert told(caplog, dino_model="owner/name", probe=False) == [], "evaluate asks it of the run"


def test_class_images_that_nobody_draws_are_told(caplog: pytest.LogCaptureFixture) -> None:
    mine = {"prior_loss_weight": 3.0, **CLASS_IMAGES}
    assert told(caplog, **mine) == []
    assert told(caplog, **mine, with_prior_preservation=False) == idle("without --with-prior-preservation", *mine)
    assert told(caplog, **mine, method="lora", prior_target="base") == idle("with --prior-target base", *CLASS_IMAGES)


def test_what_the_method_leaves_no_use_for_is_told(caplog: pytest.LogCaptureFixture) -> None:
    mine = {"text_encoder_lr": 1e-3, "prior_loss_weight": 3.0, **CLASS_IMAGES}
    assert told(caplog, **mine, method="textual_inversion") == idle("with --method textual_inversion", *mine)


def test_a_warm_up_that_outlasts_the_training_is_told(caplog: pytest.LogCaptureFixture) -> None:
    (message,) = told(caplog, lr_warmup_steps=40, max_train_steps=40)
    assert message == "--lr-warmup-steps 40: the learning rate still rises at the last of 40 steps"
    assert told(caplog, lr_warmup_steps=39, max_train_steps=40) == []


def test_no_preset_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    models = [
        {"model": "toybox"},
        {"model": "toybox-cascade"},
        *({"model": "o/n", "family": name} for name in FAMILIES),
    ]
    built = 0
    for model, method, memory, preset in product(models, get_args(MethodName), (None, *CARDS), (None, "paper", "fast")):
        described = {"description": "red dog"} if method == "prompt_only" else {}
        try:
            config = Config.build({**model, **described, "method": method, "memory": memory, "preset": preset})
        except ConfigError:  # that cannot be
            continue
        built += 1
        warn_of_idle(config, unusual(config))
    assert built > 100 and caplog.messages == []
