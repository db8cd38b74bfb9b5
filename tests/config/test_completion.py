"""Completion, tried out in bash itself; the scripts of other shells hold the same words."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from dreambooth import __version__, cli
from dreambooth.config import settings_reference
from dreambooth.config.commands import parser
from dreambooth.config.completion import SHELLS, script

TOP = parser(__version__)
BASH = shutil.which("bash")

needs_bash = pytest.mark.skipif(BASH is None, reason="there is no bash")


def completed(folder: Path, *words: str) -> list[str]:
    """What bash offers for the last of these words, in `folder`."""
    assert BASH is not None
    asked = (
        'source "$1"; shift; COMP_WORDS=(dreambooth "$@"); COMP_CWORD=$#; _dreambooth; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    file = folder.parent / "completion.bash"
    file.write_text(script("bash", TOP))
    command = [BASH, "--norc", "-eu", "-c", asked, "bash", str(file), *words]
    told = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert told.stderr == ""
    return told.stdout.split("\n")[:-1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with photos in one with a space in its name, and a settings file."""
    (tmp_path / "here" / "my dog").mkdir(parents=True)
    (tmp_path / "here" / "mine.toml").touch()
    return tmp_path / "here"


@needs_bash
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["con"], ["continue"]),
        (["run", "--learning"], ["--learning-rate"]),
        (["run", "--method", ""], ["dreambooth", "lora", "textual_inversion", "pivotal", "prompt_only"]),
        (["run", "--method", "=", "l"], ["lora"]),
        (["run", "--method", "="], ["dreambooth", "lora", "textual_inversion", "pivotal", "prompt_only"]),
        (["run", "photos", "--class-noun", "dog", "--lr-s"], ["--lr-scheduler"]),
        (["run", "--seed", ""], [""]),
        (["run", "my"], ["my dog"]),
        (["run", "my dog", "--config", "mi"], ["mine.toml"]),
        (["run", "--model", "m"], ["mine.toml", "my dog"]),
        (["toybox", ""], ["photos", "--help"]),
        (["toybox", "photos", "--se"], ["--seed"]),
        (["experiment", "table"], ["table1", "table3", "table4", "table5"]),
        (["completion", ""], ["bash", "zsh", "fish", "--help"]),
        (["generate", "my dog", "--device", "c"], ["cuda", "cpu"]),
    ],
)
def test_bash_completes(words: list[str], offered: list[str], folder: Path) -> None:
    assert sorted(completed(folder, *words)) == sorted(offered)


@needs_bash
def test_bash_offers_every_command_and_every_setting_but_no_other_tools_names(folder: Path) -> None:
    assert set(completed(folder, "")) == TOP.commands().keys() | {"--help", "--version"}
    offered = completed(folder, "run", "--")
    assert {"--" + name.replace("_", "-") for _, name, _ in settings_reference()} <= set(offered)
    assert not {"--lr", "--network-dim", "--pretrained-model-name-or-path"} & set(offered)


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_is_told_every_flag(shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", shell], __version__) == 0
    text = capsys.readouterr().out
    assert text == script(shell, TOP)
    for _, name, _ in settings_reference():
        flag = name.replace("_", "-")
        assert re.search(rf"-l {flag} " if shell == "fish" else rf"--{flag}\b", text), flag
    if program := shutil.which(shell):
        (tmp_path / "script").write_text(text)
        subprocess.run([program, "-n", str(tmp_path / "script")], check=True)


def test_fish_quotes_are_closed() -> None:
    for line in script("fish", TOP).splitlines():
        assert len(re.findall(r"(?<!\\)'", line)) % 2 == 0, line
        assert line.startswith("complete -c dreambooth -n '")
