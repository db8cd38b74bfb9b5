"""A command line that takes both spellings of a flag, never guesses, and complains in one plain sentence."""

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from dreambooth.config.peers import ANSWERS, COMMANDS, POSITIONAL
from dreambooth.errors import DreamBoothError
from dreambooth.support.spelling import suggestion


class UsageError(DreamBoothError):
    """A command line that cannot be understood."""


class _Help(argparse.HelpFormatter):
    """Help of one width, so that docs/help does not depend on a terminal; without the flags' names of other tools."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=110)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        return f"{action.option_strings[0]} {self._format_args(action, action.dest.upper())}"


class Parser(argparse.ArgumentParser):
    """A parser with a short help, which leaves out what is `rare`, and one of everything.

    rare: the `dest` of flags that few people need.  example: a command line that works.  more: the `dest` of folders
    that come after the first one, anywhere between the flags; empty where there is one alone.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, allow_abbrev=False, add_help=False, formatter_class=_Help)
        self.rare: frozenset[str] = frozenset()
        self.example = ""
        self.more = ""
        self.add_argument("-h", "--help", action=_Print, nargs=0, help="show this help and stop")

    def parse(self, words: Sequence[str]) -> argparse.Namespace:
        """What the command line says; raises UsageError, with the right name where a flag is unknown."""
        words = spelled(words)
        if words and words[0] in COMMANDS:
            raise UsageError(f"There is no command {words[0]}. Did you mean `{self.prog} {COMMANDS[words[0]]}`?")
        command = self.named(words)
        names = {word.partition("=")[0] for word in words}
        for name in ANSWERS.keys() & names - command._option_string_actions.keys():
            raise UsageError(f"There is no flag {name}. {ANSWERS[name]}")
        try:
            parsed, unknown = self.parse_known_args(words)
        except UsageError as error:  # a flag that is missing may be there, misspelled
            if (strange := command._unknown_flag(words)) is None:
                raise
            raise UsageError(command._not_understood(strange)) from error
        folders = [word for word in unknown if command.more and not word.startswith("-") and path(word).is_dir()]
        if others := [word for word in unknown if word not in folders]:
            raise UsageError(command._not_understood(others[0]))
        if command.more:
            setattr(parsed, command.more, [path(folder) for folder in folders])
        return parsed

    def commands(self) -> Mapping[str, "Parser"]:
        """The commands below this one, by their names."""
        inner = [action.choices for action in self._actions if isinstance(action, argparse._SubParsersAction)]
        return dict(*inner)

    def named(self, words: Sequence[str]) -> "Parser":
        """The innermost command that the first words name."""
        inner = self.commands().get(words[0]) if words else None
        return inner.named(words[1:]) if inner else self

    def hide(self, rare: frozenset[str]) -> None:
        """Leave these flags to --help-all."""
        self.rare = rare
        self.add_argument("--help-all", action=_Print, nargs=0, help="show every setting and stop")

    def format_help(self, everything: bool = False) -> str:
        """The help: short, or of everything."""
        page = self._get_formatter()
        page.add_usage(self.usage, self._actions, self._mutually_exclusive_groups)
        page.add_text(self.description)
        for (title, description), actions in self._sections(everything or not self.rare).items():
            page.start_section(title)
            page.add_text(description)
            page.add_arguments(actions)
            page.end_section()
        page.add_text(self.epilog)
        example = f"\nexample:\n  {self.example}\n" if self.example else ""
        return page.format_help() + example

    def error(self, message: str) -> NoReturn:
        if switch := re.match(r"argument (--[\w-]+)/--no-[\w-]+: ignored explicit argument (.+)", message):
            flag, given = switch.groups()
            raise UsageError(f"{flag} takes no value such as {given}: give {flag} for yes, --no-{flag[2:]} for no.")
        message = re.sub(r"(--[a-z-]+)(/--[a-z-]+)+", r"\1", message)  # a flag by its own name alone
        first = " What has no flag comes first." if re.search(r"are required: [A-Z_]+", message) else ""
        raise UsageError(f"{message[0].upper()}{message[1:]}: see `{self.prog} --help`.{first}")

    def _sections(self, everything: bool) -> dict[tuple[str | None, str | None], list[argparse.Action]]:
        """Titles and descriptions, and the flags below each; in the short help those of the settings are one."""
        sections: dict[tuple[str | None, str | None], list[argparse.Action]] = {}
        for group in self._action_groups:
            key = (group.title, group.description) if everything else ((group.title or "").partition(":")[0], None)
            shown = [action for action in group._group_actions if everything or action.dest not in self.rare]
            sections.setdefault(key, []).extend(shown)
        return sections

    def _unknown_flag(self, words: Sequence[str]) -> str | None:
        """The first flag that this command lacks; None where there is none, or the command itself is incomplete."""
        flags = [word for word in words if re.match(r"--\w", word)] if not self.commands() else []
        return next((flag for flag in flags if flag.partition("=")[0] not in self._option_string_actions), None)

    def _not_understood(self, word: str) -> str:
        name, known = word.partition("=")[0], [flag for flag in self._option_string_actions if flag.startswith("--")]
        if not name.startswith("-"):
            meant = f'Did you mean --prompts "{word}"?' if " " in word and "--prompts" in known else ""
            photos = f"Give the folder, {path(word).parent}." if self.more and path(word).is_file() else ""
            advice = meant or photos or "A value with spaces needs quotes."
            return f"{word!r} is not expected here: see `{self.prog} --help`. {advice}"
        every = "--help-all" if self.rare else "--help"
        advice = suggestion(name, known) or f"`{self.prog} {every}` lists them all."
        return f"There is no flag {name}. {advice}"


class _Print(argparse.Action):
    """Print the help, short or whole by the flag's name, and end."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{**settings, "dest": argparse.SUPPRESS, "default": argparse.SUPPRESS})

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, flag: str | None = None
    ) -> None:
        assert isinstance(parser, Parser)
        print(parser.format_help(everything=flag == "--help-all"), end="")
        parser.exit()


def spelled(words: Sequence[str]) -> list[str]:
    """The command line with --learning_rate spelled --learning-rate, and without POSITIONAL before the photos."""
    out = []
    for word in words:
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            name = name.replace("_", "-")
            if name == POSITIONAL:
                out += [value] if equals else []
                continue
            word = name + equals + value
        out.append(word)
    return out


def path(text: str) -> Path:
    """Every path of the command line: shells leave a "~" after "=" as it is."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: there is no such user") from error


def between(low: int, high: int) -> Callable[[str], int]:
    """A whole number within these bounds."""

    def number(text: str) -> int:
        if not (text.removeprefix("-").isdecimal() and low <= int(text) <= high):
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {low} to {high}")
        return int(text)

    return number


def numbers(text: str) -> tuple[int, ...]:
    """Whole numbers with commas between them."""
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of whole numbers, such as 11,12,13") from error


def model(text: str) -> str:
    """A model: what is on this disk by its path, and any other name as it is."""
    return str(there) if (there := path(text)).exists() else text


def new_file(text: str) -> Path:
    """A file to write, over an older one at most."""
    if (its := path(text)).is_dir() or not its.name:
        raise argparse.ArgumentTypeError(f"{text!r} is a folder: give the name of a file in it")
    return its


def tensor_file(text: str) -> Path:
    """A .safetensors file to write."""
    if not text.endswith(".safetensors"):
        raise argparse.ArgumentTypeError(f"{text!r} does not end in .safetensors, by which other programs know it")
    return path(text)
