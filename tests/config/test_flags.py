"""The help of the settings: short and whole, each default once."""

import re
import shlex
from pathlib import Path
from typing import get_args

import pytest

from dreambooth import __version__
from dreambooth.config import Config, MethodName, preset_of, settings_reference
from dreambooth.config.commands import parser
from dreambooth.config.flags import COMMON, config_of, read_settings
from dreambooth.config.parser import UsageError
from dreambooth.config.switches import unusual, warn_of_idle
from dreambooth.config.worlds import WORLDS, named
from dreambooth.errors import ConfigError

TOP = parser(__version__)
COMMANDS = {" ".join(words): TOP.named(words) for words in (["run"], ["experiment"])}
RUN = ["run", "photos", "--class-noun", "dog"]


def flags_in(text: str) -> set[str]:
    """The flags that a help describes."""
    return set(re.findall(r"^  (--[a-z][a-z0-9-]*)", text, re.MULTILINE))


def defaults_of(name: str) -> str:
    """What the help says that a setting is by default."""
    flag = "--" + name.replace("_", "-")
    text = " ".join(TOP.named(RUN).format_help(everything=True).split())
    found = re.search(rf" {flag}[ ,].*?\[default: (.*?)\]", text)
    assert found
    return found[1]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_short_help_has_the_dozen_that_people_use_and_the_whole_one_all(command: str) -> None:
    every = {"--" + name.replace("_", "-") for _, name, _ in settings_reference()}
    usual = {"--" + name.replace("_", "-") for name in COMMON}
    short, whole = (flags_in(COMMANDS[command].format_help(everything=which)) for which in (False, True))
    assert len(usual) == 12 and short & every == usual
    assert whole >= every | short
    assert "--help-all" in short and "example:" in COMMANDS[command].format_help()


def test_a_table_of_a_file_has_its_own_settings_each_once(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_bytes(b"\xef\xbb\xbf[training]\nlearning_rate = 1e-4\n[base]\nmodel = 'mine'\n")
    (tmp_path / "mine").mkdir()
    assert read_settings(file) == {"learning_rate": 1e-4, "model": str(tmp_path / "mine")}  # seen from the file
    file.write_text("learning_rate = 1e-4\n[training]\nlearning_rate = 2e-4\n[probe]\nrank = 8\n")
    with pytest.raises(ConfigError, match="set twice") as caught:
        read_settings(file)
    assert "rank is a setting of [method], not of [probe]" in str(caught.value)


def test_none_is_no_prompt_and_what_does_nothing_is_told(caplog: pytest.LogCaptureFixture) -> None:
    words = [*RUN, "--prompts", "none", "--no-with-prior-preservation", "--num-class-images"]
    assert config_of(TOP.parse([*words, "100"])).generation.prompts == ()
    assert "--num-class-images does nothing without --with-prior-preservation" in caplog.text
    caplog.clear()
    config = config_of(TOP.parse([*words, "5"]))
    assert not caplog.records, "what is not the usual value is told once, by the run"
    warn_of_idle(config, unusual(config))
    assert "--num-class-images does nothing without --with-prior-preservation" in caplog.text


def test_files_that_a_shell_listed_are_answered_with_their_folder(tmp_path: Path) -> None:
    for name in ("0.png", "1.png"):
        (tmp_path / name).touch()
    with pytest.raises(UsageError, match=f"Give the folder, {tmp_path}"):
        TOP.parse(["run", str(tmp_path / "0.png"), str(tmp_path / "1.png"), "--class-noun", "dog"])


def test_the_examples_are_command_lines_that_work() -> None:
    commands = {"run": TOP, **TOP.commands(), "toybox photos": TOP.named(["toybox", "photos"])}
    examples = {name: command.example for name, command in commands.items() if command.example}
    assert examples.keys() >= {"run", "continue", "generate", "evaluate", "experiment", "toybox photos", "completion"}
    for name, example in examples.items():
        program, *words = shlex.split(example.partition(" >")[0])
        assert program == "dreambooth" and TOP.parse(words).command == name


@pytest.mark.parametrize("name", [name for _, name, _ in settings_reference()])
def test_each_value_of_a_default_is_told_once_and_the_right_one(name: str) -> None:
    """Read back from the words, what the help says is what the presets give, for every base model and method."""
    usual, *others = defaults_of(name).split("; ")
    plain: dict[str, str] = {}
    by_base: dict[str, str] = {}
    pairs: dict[tuple[str, str], str] = {}
    methods = get_args(MethodName)
    for told in others:
        key, _, value = told.rpartition(": ")
        base, _, rest = key.partition(" ") if key.partition(" ")[0] in WORLDS else ("", "", key)
        if base and not rest:
            by_base[base] = value
        elif base:
            pairs |= {(base, method): value for method in rest.split(", ")}
        else:
            plain |= dict.fromkeys(rest.split(", "), value)
    assert len(others) == len(set(others))
    default = Config().flat()[name]
    for world in WORLDS:
        for method in methods:
            meant = preset_of(named(world), method).get(name, default)
            said = pairs.get((world, method), by_base.get(world, plain.get(method, usual)))
            shown = {True: "on", False: "off", None: "none", (): "none"}
            listed = " ".join(meant) if meant and isinstance(meant, tuple) else str(meant)
            word = shown[meant] if isinstance(meant, bool) or meant in (None, ()) else listed
            assert said == word, (world, method)


def test_a_number_that_all_methods_share_is_told_once() -> None:
    assert defaults_of("num_class_images") == "1000; toybox: 100"
    assert defaults_of("with_prior_preservation") == "on; textual_inversion, prompt_only: off"
    assert defaults_of("gradient_accumulation_steps") == "1; textual_inversion: 4; toybox: 1"
