"""The settings of config.py as command-line flags: one flag a setting, with the setting's own text."""

import argparse
import difflib
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, get_origin

from pydantic.fields import FieldInfo

from dreambooth.config.settings import PRESETS, Config, settings_reference
from dreambooth.errors import ConfigError, DreamBoothError

ALIASES = {"--pretrained-model-name-or-path": "--model"}
"""Names of diffusers' own training scripts, and ours."""

PHOTOS_ALIAS = "--instance-data-dir"
"""The same for the positional folder of photos: its value stands alone."""


class UsageError(DreamBoothError):
    """A command line that cannot be understood."""


class _Help(argparse.HelpFormatter):
    """Help of one width, so that docs/help does not depend on a terminal."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=110)


class Parser(argparse.ArgumentParser):
    """An argument parser that takes both spellings of a flag, never guesses, and complains in one plain sentence."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, allow_abbrev=False, formatter_class=_Help)

    def parse(self, words: Sequence[str]) -> argparse.Namespace:
        """What the command line says; raises UsageError, with the nearest name where a flag or a command is unknown."""
        parsed, unknown = self.parse_known_args(spelled(words))
        if unknown:
            raise UsageError(_not_understood(unknown[0], getattr(parsed, "parser", self)))
        return parsed

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message[0].upper()}{message[1:]}: see `{self.prog} --help`.")


def add_settings(parser: argparse.ArgumentParser, only: str | None = None) -> None:
    """One flag for each setting, or for each of one section; one that is not given leaves no trace in the namespace."""
    groups = {} if only else {"": parser.add_argument_group("settings")}
    for section, name, field in settings_reference():
        if only not in (None, section):
            continue
        if section not in groups:
            summary = (Config.model_fields[section].annotation.__doc__ or "").strip()
            groups[section] = parser.add_argument_group(f"settings: {section}", summary)
        _add_setting(groups[section], name, field)


def given_settings(parsed: argparse.Namespace) -> dict[str, Any]:
    """The settings that were given as flags, over those of --config where the command takes one."""
    names = {name for _, name, _ in settings_reference()}
    flags = {name: _value(value) for name, value in vars(parsed).items() if name in names}
    file: Path | None = getattr(parsed, "config", None)
    return {**read_settings(file), **flags} if file else flags


def read_settings(path: Path) -> dict[str, Any]:
    """The settings of a TOML file, flat or in the tables that a run's config.toml has; raises ConfigError."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"--config {path} cannot be read: {getattr(error, 'strerror', None) or error}"]) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"--config {path} is not valid TOML: {error}"]) from error
    sections = {section for section, _, _ in settings_reference()}
    names = {name for _, name, _ in settings_reference()}
    flat = {name: value for name, value in content.items() if name not in sections}
    for section in sections & content.keys():
        if isinstance(content[section], dict):
            flat |= content[section]
        elif section in names:
            flat[section] = content[section]  # method = "lora" is the setting of that name
        else:
            raise ConfigError([f"--config {path}: {section} is a table of settings, write [{section}]"])
    return flat


def spelled(words: Sequence[str]) -> list[str]:
    """The command line with --learning_rate spelled --learning-rate, and diffusers' names replaced by ours."""
    out = []
    for word in words:
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            name = name.replace("_", "-")
            if name == PHOTOS_ALIAS:
                out += [value] if equals else []
                continue
            word = ALIASES.get(name, name) + equals + value
        out.append(word)
    return out


def _add_setting(group: argparse._ArgumentGroup, name: str, field: FieldInfo) -> None:
    flag, text = "--" + name.replace("_", "-"), f"{field.description} [{_defaults(name, field)}]".replace("%", "%%")
    if field.annotation is bool:
        group.add_argument(flag, dest=name, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=text)
    elif get_origin(field.annotation) is tuple:
        group.add_argument(
            flag, dest=name, nargs="+", action="extend", default=argparse.SUPPRESS, metavar="TEXT", help=text
        )
    else:
        group.add_argument(flag, dest=name, default=argparse.SUPPRESS, metavar=_metavar(field), help=text)


def _metavar(field: FieldInfo) -> str:
    choices = getattr(field.annotation, "__args__", ())
    if choices and all(isinstance(choice, str) for choice in choices):
        return "|".join(choices)
    kinds = {kind for kind in (choices or (field.annotation,)) if kind is not type(None)}
    return "N" if kinds == {int} else "X" if kinds == {float} else "TEXT"


def _defaults(name: str, field: FieldInfo) -> str:
    presets = [f"{' '.join(key)}: {_shown(row[name])}" for key, row in PRESETS.items() if name in row]
    return "; ".join([f"default: {_shown(field.default)}", *presets])


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "none" if value is None or value == () else str(value)


def _value(given: Any) -> Any:
    return tuple(given) if isinstance(given, list) else None if given == "none" else given


def _not_understood(word: str, parser: argparse.ArgumentParser) -> str:
    name = word.partition("=")[0]
    if not name.startswith("-"):
        return f"{word!r} is one word too many: see `{parser.prog} --help`. A value with spaces needs quotes."
    known = [option for option in parser._option_string_actions if option.startswith("--")]
    nearest = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean {nearest[0]}?" if nearest else f"`{parser.prog} --help` lists them all."
    return f"There is no flag {name}. {hint}"
