"""The settings as command-line flags: one flag a setting, with the setting's own text."""

import argparse
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic.fields import FieldInfo

from dreambooth.config.methods import MethodName
from dreambooth.config.parser import Parser
from dreambooth.config.peers import with_aliases
from dreambooth.config.presets import preset_of
from dreambooth.config.settings import PLACES, Config, located, parsed_toml, settings_reference
from dreambooth.config.switches import unusual, warn_of_idle
from dreambooth.config.worlds import DEFAULT_WORLD, WORLDS, named
from dreambooth.errors import ConfigError

COMMON = (
    *("seed", "memory", "model", "method", "rank", "identifier", "resolution", "num_class_images", "max_train_steps"),
    *("learning_rate", "early_stopping", "prompts"),
)
"""The settings that people use; --help shows these, --help-all all."""


def add_settings(
    parser: Parser, only: Collection[str] | None = None, default: str = "", of_each: Mapping[str, str] = {}
) -> None:
    """One flag for each setting, or for `only` these; one that is not given leaves no trace in the namespace.

    default: what the help says that a setting is then, where it is not that of the presets.  of_each: of settings that
    each subject may have of its own, where the namespace keeps all that were given, in their order.
    """
    every = [(section, name, field) for section, name, field in settings_reference() if only is None or name in only]
    groups: dict[str, argparse._ArgumentGroup] = {}
    for section, name, field in every:
        if section not in groups:
            summary = (Config.model_fields[section].annotation.__doc__ or "").strip() if section else None
            groups[section] = parser.add_argument_group(f"settings: {section}" if section else "settings", summary)
        text = f"{field.description} [default: {default or '; '.join(_defaults(name, field.default))}]"
        _add_setting(groups[section], name, field, text.replace("%", "%%"), of_each.get(name))
    parser.set_defaults(**dict.fromkeys(of_each.values(), ()))
    parser.set_defaults(settings=tuple(name for _, name, _ in every))
    if only is None:
        parser.hide(frozenset(name for _, name, _ in every if name not in COMMON))


def section(name: str) -> tuple[str, ...]:
    """The settings of one section."""
    return tuple(setting for home, setting, _ in settings_reference() if home == name)


def config_of(parsed: argparse.Namespace) -> Config:
    """The settings of a command line; raises ConfigError."""
    file: Path | None = getattr(parsed, "config", None)
    given = _flags(parsed)
    config = Config.build(read_settings(file) if file else {}, **given)
    warn_of_idle(config, given.keys() - unusual(config))  # each run tells the unusual ones, wherever they come from
    return config


def given_settings(parsed: argparse.Namespace) -> dict[str, Any]:
    """The settings that were given as flags, over those of --config where the command takes one."""
    file: Path | None = getattr(parsed, "config", None)
    return {**(read_settings(file) if file else {}), **_flags(parsed)}


def _flags(parsed: argparse.Namespace) -> dict[str, Any]:
    return {name: _value(value) for name, value in vars(parsed).items() if name in parsed.settings}


def read_settings(path: Path) -> dict[str, Any]:
    """The settings of a TOML file, flat or in the tables that a run's config.toml has; raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors begin a file with a mark
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"--config {path} cannot be read: {getattr(error, 'strerror', None) or error}"]) from error
    return flat_settings(parsed_toml(text, f"--config {path}"), f"--config {path}", path.parent)


def flat_settings(content: Mapping[str, Any], called: str, root: Path) -> dict[str, Any]:
    """Settings by name, of a table that has them flat or in sections; raises ConfigError, which calls it as told.

    root: the folder of its file, from which folders and files are seen that are there.
    """
    homes = {name: section for section, name, _ in settings_reference()}
    flat, problems = dict[str, Any](), []
    for key, value in content.items():
        if key not in homes.values() or (key in homes and not isinstance(value, dict)):
            flat[key] = value  # method = "lora" is the setting of that name
        elif not isinstance(value, dict):
            problems.append(f"{called}: {key} is a table of settings, write [{key}]")
        else:
            problems += [
                f"{called}: {name} is a setting of {f'[{homes[name]}]' if homes[name] else 'the top'}, not of [{key}]"
                for name in value
                if homes.get(name, key) != key
            ]
            problems += [f"{called}: {name} is set twice" for name in value if name in flat]
            flat |= value
    if problems:
        raise ConfigError(problems)
    return {name: located(value, root) if name in PLACES else value for name, value in flat.items()}


def _add_setting(group: argparse._ArgumentGroup, name: str, field: FieldInfo, text: str, every_one: str | None) -> None:
    flags = with_aliases("--" + name.replace("_", "-"))
    if every_one:
        group.add_argument(
            *flags,
            dest=name,
            action=_OfEach,
            every_one=every_one,
            default=argparse.SUPPRESS,
            metavar=_metavar(field),
            help=text,
        )
    elif field.annotation is bool:
        group.add_argument(
            *flags, dest=name, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=text
        )
    elif get_origin(field.annotation) is tuple:
        group.add_argument(
            *flags, dest=name, nargs="+", action="extend", default=argparse.SUPPRESS, metavar="TEXT", help=text
        )
    else:
        group.add_argument(*flags, dest=name, default=argparse.SUPPRESS, metavar=_metavar(field), help=text)


class _OfEach(argparse.Action):
    """Keep the last one as the setting, and all of them in `every_one`."""

    def __init__(self, *, every_one: str, **settings: Any) -> None:
        super().__init__(**settings)
        self.every_one = every_one

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, flag: str | None = None
    ) -> None:
        setattr(namespace, self.dest, values)
        setattr(namespace, self.every_one, (*getattr(namespace, self.every_one), _value(values)))


def _metavar(field: FieldInfo) -> str:
    kinds = [kind for kind in get_args(field.annotation) or (field.annotation,) if kind is not type(None)]
    choices = [choice for kind in kinds for choice in get_args(kind) or (kind,)]  # of a choice that may be none, too
    if all(isinstance(choice, str) for choice in choices):
        return "|".join(choices)
    return "N" if kinds == [int] else "X" if kinds == [float] else "TEXT"


def _defaults(name: str, default: Any) -> Iterator[str]:
    """What a setting is where it is not given, each value once: "1000", "lora: 500", "toybox: 400"."""
    methods = get_args(MethodName)
    usual = {method: preset_of(named(DEFAULT_WORLD), method).get(name, default) for method in methods}
    yield _shown(default)
    yield from _exceptions("", usual, dict.fromkeys(methods, default))
    for world in (other for other in WORLDS if other != DEFAULT_WORLD):
        own = {method: preset_of(named(world), method).get(name, default) for method in methods}
        ((most, count),) = Counter(own.values()).most_common(1)
        if count > 1 and any(own[method] == most != usual[method] for method in methods):
            yield f"{world}: {_shown(most)}"
            yield from _exceptions(f"{world} ", own, dict.fromkeys(methods, most))
        else:
            yield from _exceptions(f"{world} ", own, usual)


def _exceptions(of: str, values: Mapping[str, Any], usual: Mapping[str, Any]) -> Iterator[str]:
    """The methods whose value is not the usual one, those of one value together."""
    others = {method: value for method, value in values.items() if value != usual[method]}
    for value in dict.fromkeys(others.values()):
        methods = ", ".join(method for method, its in others.items() if its == value)
        yield f"{of}{methods}: {_shown(value)}"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def _value(given: Any) -> Any:
    if isinstance(given, list):
        return () if given == ["none"] else tuple(given)
    return None if given == "none" else given
