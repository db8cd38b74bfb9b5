"""The command line: flags derived from the settings, plain sentences for mistakes, exit codes."""

import re
import tomllib
from pathlib import Path

import pytest

from dreambooth import __version__, cli
from dreambooth.config import Config, settings_reference
from dreambooth.config.commands import parser
from dreambooth.config.flags import given_settings, read_settings
from dreambooth.config.zeros import MEANT_BY_ZERO
from dreambooth.data.photos import photos_in
from dreambooth.errors import ConfigError, PromptError, RunError
from dreambooth.run import Run
from dreambooth.run.records import BASE, BaseModel
from dreambooth.subject import Subject, require_class_noun
from dreambooth.support.cache import default_library

RUN = ["run", "photos", "--class-noun", "dog"]
TOYBOX = ["toybox", "photos", "--class-noun", "dog"]


def settings(*words: str) -> dict[str, object]:
    """What `dreambooth run photos --class-noun dog WORDS` sets."""
    return given_settings(parser(__version__).parse([*RUN, *words]))


def test_every_setting_is_a_flag_and_nothing_is_set_unasked() -> None:
    assert settings() == {}
    command = parser(__version__).named(RUN)
    flags = {option for action in command._actions for option in action.option_strings}
    assert {"--" + name.replace("_", "-") for _, name, _ in settings_reference()} <= flags


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--learning-rate", "1e-4"], {"learning_rate": "1e-4"}),
        (["--learning_rate=1e-4"], {"learning_rate": "1e-4"}),
        (["--no-train-text-encoder"], {"train_text_encoder": False}),
        (["--use_ema"], {"use_ema": True}),
        (["--prompts", "a {}", "a red {}", "--prompts", "a_wet {}"], {"prompts": ("a {}", "a red {}", "a_wet {}")}),
        (["--pretrained_model_name_or_path", "owner/na_me"], {"model": "owner/na_me"}),
        (["--pretrained-model-name-or-path=x"], {"model": "x"}),
        (["--snr-gamma", "none"], {"snr_gamma": None}),
    ],
)
def test_spellings(words: list[str], expected: dict[str, object]) -> None:
    assert settings(*words) == expected
    Config.build(settings(*words))


@pytest.mark.parametrize("words", [["--instance_data_dir", "my_photos"], ["--instance-data-dir=my_photos"]])
def test_diffusers_name_of_the_photos(words: list[str]) -> None:
    parsed = parser(__version__).parse(["run", *words, "--class-noun", "dog"])
    assert parsed.photos_dir == Path("my_photos")


def test_flags_override_the_config_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('seed = 3\nlearning_rate = 1e-5\n[training]\nmax_train_steps = 30\n[base]\nmodel = "owner/name"\n')
    given = settings("--config", str(file), "--max-train-steps", "40")
    config = Config.build(given)
    assert (config.seed, config.training.max_train_steps, config.base.model) == (3, 40, "owner/name")
    assert config.training.learning_rate == 1e-5


def test_the_config_of_a_run_can_be_given_again(tmp_path: Path) -> None:
    config = Config.build({"seed": 5, "prompts": ["a {} on the moon"]})
    (tmp_path / "config.toml").write_text(config.to_toml())
    assert Config.build(read_settings(tmp_path / "config.toml")) == config


@pytest.mark.parametrize("content", [None, "[training\n", "training = 3\n"])
def test_an_unreadable_config_file_is_named(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "mine.toml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match=r"mine\.toml"):
        read_settings(file)


@pytest.mark.parametrize(
    ("words", "sentences"),
    [
        ([*RUN, "--learning_rat", "1"], ["no flag --learning-rat", "Did you mean --learning-rate?"]),
        (["run", "photos", "--class-nuon", "dog"], ["no flag --class-nuon", "Did you mean --class-noun?"]),
        ([*RUN, "--zzz"], ["no flag --zzz", "dreambooth run --help"]),
        ([*RUN, "--max-train", "9"], ["no flag --max-train", "There is --max-train-steps."]),
        ([*RUN, "--wandb_api_key", "x"], ["no flag --wandb-api-key", "--report-to tensorboard, wandb or trackio"]),
        ([*RUN, "--report_to", "mlflow"], ["report_to", "'tensorboard', 'wandb' or 'trackio'", "got 'mlflow'"]),
        ([*RUN, "--train_text_encoder=false"], ["--train-text-encoder takes no value such as 'false'", "--no-train-"]),
        ([*RUN, "--num_class_images=0"], ["num_class_images", "got '0'", "--no-with-prior-preservation"]),
        ([*RUN, "--validation_steps", "0", "--snr-gamma=0.0"], ["--no-probe", "--snr-gamma none"]),
        ([*RUN, "sunny"], ["'sunny' is not expected here", "needs quotes"]),
        (["run"], ["required: PHOTOS_DIR", "dreambooth run --help"]),
        (["rum", "photos"], ["rum", "generate"]),
        (["generate", "--prompts", "a {}", "runs/dog"], ["required: RUN_DIR", "What has no flag comes first."]),
        ([*RUN, "--network_dim", "4"], ["rank: 4 means nothing to method dreambooth", "--method lora or pivotal"]),
        ([*RUN, "--rank", "8"], ["rank: 8 means nothing to method dreambooth", "--method lora or pivotal"]),
        ([], ["COMMAND", "dreambooth --help"]),
        ([*RUN, "--max-train-steps", "many", "--seed=-1"], ["max_train_steps", "'many'", "seed", "-1"]),
        ([*RUN, "--config", "nowhere.toml"], ["nowhere.toml", "No such file"]),
        (["report", "nowhere"], ["nowhere is not a run folder", "dreambooth run"]),
        (["run", "nowhere", "--class-noun", "dog"], ["nowhere"]),
        (["toybox", "photos", "--class-noun", "unicorn", "--seed", "1", "--out", "x"], ["unicorn", "dog"]),
    ],
)
def test_a_mistake_is_a_plain_sentence_and_exit_2(
    words: list[str],
    sentences: list[str],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(words, __version__) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and "Traceback" not in printed.err
    for sentence in sentences:
        assert sentence in printed.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flag", "value"), [("--size", "-5"), ("--size", "0"), ("--size", "9000"), ("--count", "0"), ("--seed", "-1")]
)
def test_a_number_that_cannot_be_is_told_with_its_bounds(
    flag: str, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*TOYBOX, "--seed", "1", "--out", str(tmp_path / "out"), f"{flag}={value}"]
    assert cli.main(words, __version__) == 2
    assert f"{flag}: '{value}' is no whole number from" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("noun", ["a dog", "The dog", "my  dog", "an", "a {} dog", "dog\n", " "])
def test_a_class_noun_with_an_article_is_refused_with_the_noun_alone(
    noun: str, photos_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", str(photos_dir), "--class-noun", noun, "--output-dir", str(tmp_path / "run"), "--max-train-steps=1"]
    if noun != "dog\n":  # the command line strips it
        assert cli.main(words, __version__) == 2
        assert "class noun" in (printed := capsys.readouterr().err) and "dog" in printed
    else:
        with pytest.raises(PromptError, match="class noun"):
            require_class_noun(noun)
    assert not (tmp_path / "run").exists()


def test_every_path_is_expanded_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "base").mkdir()
    top = parser(__version__)
    for words in (["--output-dir=~/x"], ["--output-dir", "~/x"]):
        assert top.parse([*RUN, *words]).output_dir == tmp_path / "x"
    assert top.parse(["run", "~/photos", "--class-noun", "dog"]).photos_dir == tmp_path / "photos"
    assert top.parse(["run", "--instance-data-dir=~/photos", "--class-noun", "dog"]).photos_dir == tmp_path / "photos"
    assert top.parse([*RUN, "--config=~/mine.toml"]).config == tmp_path / "mine.toml"
    assert top.parse(["report", "~/run"]).run_dir == tmp_path / "run"
    assert top.parse(["experiment", "table1", "--out=~/x", "--subjects=~/s"]).out == tmp_path / "x"
    evaluated = top.parse(["evaluate", "~/run", "--photos=~/photos", "--out=~/numbers.json"])
    assert evaluated.pictures == tmp_path / "run" and evaluated.photos == tmp_path / "photos"
    assert evaluated.out == tmp_path / "numbers.json"
    for name in ("model", "dino_model", "clip_model", "perceptual_model"):
        assert Config.build({name: "~/base"}).flat()[name] == str(tmp_path / "base")
    monkeypatch.setenv("DREAMBOOTH_CACHE", "~/cache")
    assert default_library() == tmp_path / "cache" / "class-images"


def test_a_model_beside_the_command_is_found_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "owner" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    config = Config.build({"model": "owner/name"})
    monkeypatch.chdir(tmp_path / "owner")
    assert Path(config.base.model).is_dir()
    assert Config.build(config.flat()) == config
    assert Config.build({"model": "owner/name"}).base.model == "owner/name"  # of the hub
    assert Config.build({"model": "toybox"}).base.model == "toybox"


def test_a_run_folder_is_not_taken_for_photos(
    photos_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run.create(tmp_path / "dog", Subject(photos=photos_in(photos_dir), class_noun="dog"), Config.build())
    assert cli.main(["run", str(run.root), "--class-noun", "dog"], __version__) == 2
    assert "is a run folder and holds no photos" in capsys.readouterr().err


def test_many_other_settings_are_told_by_the_first_ones(photos_dir: Path, tmp_path: Path) -> None:
    subject = Subject(photos=photos_in(photos_dir), class_noun="dog")
    run = Run.create(tmp_path / "dog", subject, Config.build())
    BASE.write(run.root, BaseModel(model="toybox", fingerprint="0123"))
    with pytest.raises(RunError) as refused:
        Run.create(tmp_path / "dog", subject, Config.build(model="owner/name"))
    told = str(refused.value).splitlines()
    assert told[1] == "  - model: 'owner/name', was 'toybox'" and len(told) == 1 + 8 + 1 + 1
    assert told[9].startswith("  - and ") and told[9].endswith(" more")


def test_every_setting_that_can_be_no_zero_says_what_is_meant_by_one_where_people_mean_something() -> None:
    names = {name for _, name, _ in settings_reference()}
    assert MEANT_BY_ZERO.keys() <= names
    for name in MEANT_BY_ZERO:
        with pytest.raises(ConfigError, match=re.escape(f"; {MEANT_BY_ZERO[name]}")):
            Config.build({name: 0})
    with pytest.raises(ConfigError, match=r"got 'nought'$"):
        Config.build({"num_class_images": "nought"})


def test_a_setting_of_a_file_that_is_not_known_is_told_with_the_one_that_was_meant() -> None:
    with pytest.raises(ConfigError, match=r"max-train-step: there is no such setting\. Did you mean max_train_steps\?"):
        Config.build({"max-train-step": 3})
    with pytest.raises(ConfigError, match=r"push_to_hub: there is no such setting\.$"):
        Config.build({"push_to_hub": True})


def test_a_flag_is_never_guessed() -> None:
    assert cli.main([*RUN, "--max-train", "3"], __version__) == 2


def test_toybox_photos_are_written_with_their_truth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "dog"
    words = [*TOYBOX, "--seed", "7", "--count", "2", "--size", "32", "--out", str(out)]
    assert cli.main(words, __version__) == 0
    assert sorted(path.suffix for path in out.iterdir()) == [".json", ".png", ".png"]
    assert str(out) in capsys.readouterr().out
    assert cli.main(words, __version__) == 2
    assert "not empty" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"], __version__)
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"dreambooth {__version__}\n"


def test_the_script_is_the_one_in_pyproject() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"dreambooth": "dreambooth.__main__:main"}
