"""config.py: one tree of settings, presets over defaults, every problem at once."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from pydantic import ValidationError

from dreambooth.config import Config, preset_of, settings_reference
from dreambooth.config.keywords import Settings
from dreambooth.config.presets import METHODS
from dreambooth.config.samplers import SAMPLERS, Sampler
from dreambooth.config.worlds import WORLDS, named
from dreambooth.errors import ConfigError


def test_defaults_for_a_real_checkpoint_are_the_papers() -> None:
    config = Config.build({"model": "owner/name"})
    assert config.training.max_train_steps == 1000
    assert config.training.learning_rate == 5e-6
    assert config.training.train_text_encoder
    assert config.prior.with_prior_preservation
    assert config.prior.prior_loss_weight == 1.0
    assert config.prior.num_class_images == 1000
    assert config.prior.class_sampler == "ddpm"


def test_the_preset_lies_between_the_defaults_and_what_is_given() -> None:
    preset = preset_of(named("toybox"), "dreambooth")
    assert Config.build({}).training.max_train_steps == preset["max_train_steps"] != 1000
    assert Config.build({"max_train_steps": 7}).training.max_train_steps == 7
    assert Config.build({"max_train_steps": 7}).training.learning_rate == preset["learning_rate"]


def test_settings_are_given_by_name_or_as_a_mapping() -> None:
    assert Config.build(max_train_steps=7) == Config.build({"max_train_steps": 7})
    assert Config.build({"max_train_steps": 7, "seed": 1}, max_train_steps=8).flat()["max_train_steps"] == 8
    with pytest.raises(ConfigError, match="max_steps: there is no such setting"):
        Config.build(max_steps=7)  # type: ignore[call-arg]


def test_the_keywords_are_all_settings_with_their_types() -> None:
    lists: dict[Any, Any] = {tuple[str, ...]: Sequence[str]}
    settings = {name: lists.get(field.annotation, field.annotation) for _, name, field in settings_reference()}
    assert get_type_hints(Settings) == settings and list(get_type_hints(Settings)) == list(settings)


def test_a_sampler_has_its_name_and_its_scheduler() -> None:
    assert get_args(Sampler) == tuple(SAMPLERS)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("method", ["dreambooth", *METHODS])
def test_presets_are_real_settings_and_the_later_layer_is_the_stronger(world: str, method: str) -> None:
    described = {"description": "red dog"} if method == "prompt_only" else {}
    found = Config.build({"model": "owner/name", "world": world, "method": method, **described}).flat()
    layers = [named(world).preset, METHODS.get(method, {}), named(world).method_presets.get(method, {})]
    for name in set().union(*layers):
        assert found[name] == [layer[name] for layer in layers if name in layer][-1], name


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"model": "owner/name"}, (1000, 5e-6, "ddim", False)),
        ({"model": "owner/name", "method": "lora"}, (500, 1e-4, "ddim", False)),
        ({}, (500, 3e-4, "dpmsolver++", True)),
        ({"method": "lora"}, (400, 1e-3, "dpmsolver++", True)),
        ({"method": "prompt_only", "description": "red dog"}, (0, 5e-6, "dpmsolver++", False)),
    ],
)
def test_four_layers_make_a_preset(settings: dict[str, Any], expected: tuple[Any, ...]) -> None:
    """The paper's defaults, the world's, the method's, and those of the pair."""
    config = Config.build(settings)
    training = config.training
    found = (training.max_train_steps, training.learning_rate, config.generation.sampler, training.use_ema)
    assert found == expected


def test_every_problem_is_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        Config.build({"max_train_step": 3, "learning_rate": -1, "crop": "left", "seed": "x"})
    assert len(caught.value.problems) == 4
    for word in ("max_train_step: there is no such setting", "learning_rate", "-1", "'left'", "seed", "'x'"):
        assert word in str(caught.value)


def numbers() -> list[str]:
    return [n for _, n, field in settings_reference() if {int, float} & {field.annotation, *get_args(field.annotation)}]


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan"), "inf", "nan", 1e39, 1e300, 10**19])
def test_a_number_that_is_not_finite_or_beyond_all_bounds_is_refused_wherever_it_stands(value: object) -> None:
    """float32 ends at 3e38, and an int of 64 bits at 9e18."""
    with pytest.raises(ConfigError) as caught:
        Config.build(dict.fromkeys(numbers(), value))
    told = {problem.partition(":")[0]: problem for problem in caught.value.problems}
    assert told.keys() == set(numbers()) and len(told) > 30
    assert all(f"got {value!r}" in problem for problem in told.values())


def test_a_problem_has_its_place_what_is_expected_and_what_was_given_in_few_words(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        Config.build({"prompts": ["a {}", 3], "crop": "left" * 1000})
    assert "prompts.1: Input should be a valid string, got 3" in caught.value.problems
    assert all(len(problem) < 200 for problem in caught.value.problems)
    file = tmp_path / "config.toml"
    file.write_text("[training]\nlearning_rate = inf\n[method]\nrank = 0\n")
    with pytest.raises(ConfigError, match=r"training\.learning_rate: Input should be a finite number, got inf") as both:
        Config.from_toml(file)
    assert f"{file}: method.rank: Input should be greater than or equal to 1, got 0" in both.value.problems


@pytest.mark.parametrize("text", ["[training\n", "rank = " + "9" * 5000, "prompts = " + "[" * 5000, "a = 1\na = 2"])
def test_text_that_is_no_toml_is_told_as_that(text: str, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match="not valid TOML"):
        Config.from_toml(file)


def test_text_becomes_numbers_as_a_command_line_gives_it() -> None:
    config = Config.build({"learning_rate": "2e-6", "max_train_steps": "12", "resolution": None})
    assert (config.training.learning_rate, config.training.max_train_steps, config.data.resolution) == (2e-6, 12, None)


def test_toml_round_trip_keeps_every_setting(tmp_path: Path) -> None:
    odd: dict[str, Any] = {
        "prompts": ("a {} “on” the moon\n", "a {}"),
        "snr_gamma": 5.0,
        "identifier": "sks",
        "seed": 9,
    }
    config = Config.build(odd)
    (tmp_path / "config.toml").write_text(config.to_toml(), encoding="utf-8")
    assert Config.from_toml(tmp_path / "config.toml") == config


def test_toml_with_a_typing_error_is_named(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("[training]\nmax_train_step = 4\nlearning_rate = 0.0\n")
    with pytest.raises(ConfigError) as caught:
        Config.from_toml(file)
    assert len(caught.value.problems) == 2
    assert "training.max_train_step" in str(caught.value)
    file.write_text("[training\n")
    with pytest.raises(ConfigError, match="not valid TOML"):
        Config.from_toml(file)


def test_a_config_cannot_be_changed() -> None:
    config = Config()
    with pytest.raises(ValidationError):
        config.training.max_train_steps = 3  # type: ignore[misc]


def test_flat_names_are_unique_and_described() -> None:
    names = [name for _, name, _ in settings_reference()]
    assert len(names) == len(set(names))
    assert all(field.description for _, _, field in settings_reference())
    assert Config.build(Config.build({}).flat()) == Config.build({})


def test_changes_says_what_differs_and_what_it_was() -> None:
    assert Config.build({}).changes(Config.build({"seed": 3})) == ["seed: 3, was 0"]
    assert Config.build({}).changes(Config.build({})) == []


def test_each_method_has_the_prior_where_it_fits() -> None:
    for method in ("dreambooth", "lora", "pivotal"):
        assert Config.build({"method": method}).prior.with_prior_preservation
    inverted = Config.build({"method": "textual_inversion"})
    described = Config.build({"method": "prompt_only", "description": "red dog"})
    for config in (inverted, described):
        assert not config.prior.with_prior_preservation


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"rank": 8}, ["rank"]),
        ({"method": "lora", "num_vectors": 2, "description": "red dog"}, ["num_vectors", "description"]),
        ({"method": "lora", "lora_type": "oft", "lora_alpha": 2}, ["lora_alpha"]),
        ({"method": "textual_inversion", "with_prior_preservation": True}, ["with_prior_preservation"]),
        ({"method": "textual_inversion", "train_text_encoder": True, "rank": 2}, ["train_text_encoder", "rank"]),
        ({"method": "pivotal", "identifier_tokens": 2}, ["identifier_tokens"]),
        ({"method": "prompt_only"}, ["description"]),
        ({"method": "prompt_only", "description": " ", "identifier": "sks"}, ["identifier", "description"]),
        ({"method": "prompt_only", "description": "red dog", "max_train_steps": 5}, ["max_train_steps"]),
        ({"max_train_steps": 0}, ["max_train_steps"]),
    ],
)
def test_settings_that_a_method_can_do_nothing_with_are_refused(settings: dict[str, Any], named: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        Config.build(settings)
    assert sorted(problem.partition(":")[0] for problem in caught.value.problems) == sorted(named)


def test_a_setting_of_another_method_that_was_asked_for_is_refused_though_it_is_the_usual_one() -> None:
    for by_hand in ({"rank": 4}, {"num_vectors": 1}):
        with pytest.raises(ConfigError, match="means nothing to method dreambooth: leave it out, or choose --method"):
            Config.build(**by_hand)  # type: ignore[arg-type]
        assert Config.build(Config.build({}).flat() | by_hand) == Config.build({})  # as a file has them all
    assert Config.build(method="lora", rank=4).method.rank == 4
    Config.build(lora_alpha=None, method="textual_inversion", train_text_encoder=False)


def test_an_unknown_method_is_one_problem() -> None:
    with pytest.raises(ConfigError, match=r"'lora'.*'pivotal'"):
        Config.build({"method": "lorra"})
