"""A name is suggested where a typing error explains it, and no other is."""

import time

import pytest

from dreambooth.config import settings_reference
from dreambooth.support.spelling import suggestion

NAMES = [name for _, name, _ in settings_reference()]


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("learning_rat", "learning_rate"),
        ("--lerning-rate", "learning_rate"),
        ("Max-Train-Step", "max_train_steps"),
        ("prompt", "prompts"),
        ("mixed-precison", "mixed_precision"),
        ("min_snr_gamma", "snr_gamma"),
        ("adam_beta", "adam_beta1 or adam_beta2"),
    ],
)
def test_a_typing_error_is_told_with_what_was_meant(word: str, meant: str) -> None:
    assert suggestion(word, NAMES) == f"Did you mean {meant}?"


@pytest.mark.parametrize(
    ("word", "longer"),
    [
        ("max-train", "max_train_steps"),
        ("batch_size", "sample_batch_size and train_batch_size"),
        ("vectors", "num_vectors"),
    ],
)
def test_a_part_of_a_name_is_told_with_the_names_that_have_it(word: str, longer: str) -> None:
    assert suggestion(word, NAMES) == f"There is {longer}."


@pytest.mark.parametrize(
    "word",
    [
        "push_to_hub",
        "device",
        "resume_from_checkpoint",
        "class_prompt",
        "instance_prompt",
        "class_data_dir",
        "validation_prompt",
        "num_train_epochs",
        "steps",  # of six
        "noise_offset",
        "network_alpha",
        "no_prior",
        "",
    ],
)
def test_what_has_no_near_name_is_told_none(word: str) -> None:
    """Letters in common do not make a name near: each of these was once said to be another setting."""
    assert suggestion(word, NAMES) == ""


def test_a_name_of_many_letters_is_near_nothing_at_once() -> None:
    began = time.process_time()
    assert suggestion("{}-a" * 20_000, NAMES) == ""
    assert time.process_time() - began < 0.5


def test_nothing_is_near_where_there_is_nothing() -> None:
    assert suggestion("learning_rate", []) == ""
