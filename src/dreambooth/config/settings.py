"""All settings of a run as one frozen tree: made of presets and what is given, checked, written and read."""

import reprlib
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self, Unpack, get_args, get_origin

import tomli_w
from pydantic import Field, ValidationError
from pydantic.fields import FieldInfo

from dreambooth.config.cards import CardSize
from dreambooth.config.families import FAMILIES, FamilyRow, family_of, refusal
from dreambooth.config.judging import Evaluation, Probe
from dreambooth.config.keywords import Settings
from dreambooth.config.methods import FIXED_SETTINGS, OWN_SETTINGS, idle
from dreambooth.config.presets import PresetName, fast_of, preset_of
from dreambooth.config.sections import (
    Base,
    Data,
    Generation,
    Method,
    Naming,
    Prior,
    Section,
    Tracking,
    Training,
)
from dreambooth.config.worlds import EMBEDDED, EMBEDDED_MODELS, World, named, recorded
from dreambooth.config.zeros import zero_hint
from dreambooth.errors import ConfigError
from dreambooth.subject import DETERMINERS
from dreambooth.support.files import at_home
from dreambooth.support.model_index import no_model
from dreambooth.support.spelling import shown, suggestion

PLACES = ("model", "super_resolution", "dino_model", "clip_model", "perceptual_model")
"""The settings that may be a folder or a file."""

OF_SUPER_RESOLUTION = {"max_train_steps": "super_resolution_steps", "learning_rate": "super_resolution_lr"}
"""What a cascade's second stage may have of its own, by what holds for the base."""
OF_A_CASCADE = (
    *("super_resolution", "noise_level", "super_resolution_guidance_scale", "super_resolution_inference_steps"),
    *("super_resolution_identifier", "super_resolution_steps", "super_resolution_lr"),
)
"""The settings that a model of one stage can do nothing with."""


class Config(Section):
    """All settings of a run; a section per stage."""

    seed: int = Field(0, ge=0, lt=2**31, description="every random choice is a function of it")
    memory: CardSize | None = Field(
        None,
        description="GB of the card: 8, 12, 16, 24 or 48, with the settings that suit it; none: the method's own "
        "settings, however much memory they need",
    )
    preset: PresetName | None = Field(
        None,
        description="paper: none of the settings that suit the world of the model, which the toybox alone has; fast: "
        "fewer steps and class images, for the toybox alone; none: what suits model and method",
    )
    base: Base = Base()
    method: Method = Method()
    naming: Naming = Naming()
    data: Data = Data()
    prior: Prior = Prior()
    training: Training = Training()
    probe: Probe = Probe()
    generation: Generation = Generation()
    evaluation: Evaluation = Evaluation()
    tracking: Tracking = Tracking()

    @classmethod
    def build(cls, settings: Mapping[str, Any] | None = None, /, **by_name: Unpack[Settings]) -> Self:
        """A config of settings by name, `build(max_train_steps=400)`, over the preset of their world, family, method.

        settings: the same as a mapping, which files have; those by name go before it, and were asked for even where
        they are the usual ones. The world that the model's folder names becomes a setting: it holds where the folder
        has gone, too. Raises ConfigError with every problem at once.
        """
        kinds = {name: field.annotation for _, name, field in settings_reference()}
        given = {name: as_typed(kinds.get(name), value) for name, value in {**(settings or {}), **by_name}.items()}
        settings = {name: located(value) if name in PLACES else value for name, value in given.items()}
        model = str(settings.get("model", EMBEDDED))
        if settings.get("world") is None and (named_there := recorded(model)):
            settings["world"] = named_there
        if settings.get("family") is None and (family := family_of(model)):
            settings["family"] = family
        world, row = named(str(settings.get("world") or model)), _row(settings.get("family"))
        method, memory, which = (settings.get(name) for name in ("method", "memory", "preset"))
        preset = preset_of(world, method, row, memory, which)
        for of_base, larger in OF_SUPER_RESOLUTION.items():
            if of_base in settings:  # the preset's value for super-resolution goes with its own for the base
                preset.pop(larger, None)
        sections: dict[str, Any] = {}
        homes = {name: section for section, name, _ in settings_reference()}
        elsewhere = "" if model in EMBEDDED_MODELS else no_model(at_home(model))
        problems = [f"model: {reason}"] if (reason := refusal(model) or elsewhere) else []
        problems += [
            f"{shown(name)}: there is no such setting. {suggestion(name, homes)}".rstrip()
            for name in settings
            if name not in homes
        ]
        for name, value in {**preset, **settings}.items():
            if name in homes:
                home = homes[name]
                (sections.setdefault(home, {}) if home else sections)[name] = value
        try:
            config = cls.model_validate(sections)
        except ValidationError as error:
            problems += _problems(error, whole=False)
        else:
            problems += config.contradictions(name for name, value in by_name.items() if value is not None)
        if problems:
            raise ConfigError(problems)
        return config

    @property
    def world(self) -> World:
        """What belongs to the base model beside its weights."""
        return named(self.base.world or self.base.model)

    @property
    def family(self) -> FamilyRow | None:
        """What is known of the base model's family; None where the paper's settings suit it."""
        return _row(self.base.family)

    def usual(self) -> dict[str, Any]:
        """Every setting as its base model, method, card and --preset would have it, with nothing else set."""
        preset = preset_of(self.world, self.method.method, self.family, self.memory, self.preset)
        return Config().flat() | {"model": self.base.model} | preset

    def contradictions(self, asked: Iterable[str] = ()) -> list[str]:
        """Settings that the method can do nothing with, a sentence each.

        asked: names that were given by hand; of a setting of other methods the usual value is one too many then.
        """
        name, given = self.method.method, self.flat()
        usual = {**Config().flat(), **FIXED_SETTINGS[name]}
        foreign = idle(name) & set(asked) - FIXED_SETTINGS[name].keys()
        problems = [
            f"{setting}: {given[setting]!r} means nothing to method {name}: leave it out" + _users(setting)
            for setting in sorted(idle(name))
            if given[setting] != usual[setting] or setting in foreign
        ]
        if self.preset == "fast" and not fast_of(self.world, self.family):
            problems.append(f"preset: fast has no settings for {self.base.model}: leave it out")
        if self.method.lora_type == "oft" and self.method.lora_alpha is not None:
            problems.append("lora_alpha: oft turns weights and adds nothing that could be scaled: leave it out")
        if self.method.initializer_token is not None and not self.method.initializer_token.strip():
            problems.append("initializer_token: is blank: give words for the new word to start from, or leave it out")
        if "description" in OWN_SETTINGS[name] and not (self.method.description or "").strip():
            problems.append(f'description: method {name} needs the subject in words, such as "yellow dog"')
        elif (words := self.method.description) and words.split()[0].lower() in DETERMINERS:
            problems.append(f'description: prompts have an article of their own: leave out "{words.split()[0]}"')
        if self.training.max_train_steps == 0 and "max_train_steps" not in FIXED_SETTINGS[name]:
            problems.append(f"max_train_steps: must be at least 1 for method {name}, got 0")
        if self.prior.prior_target == "base" and self.prior.dco_beta is not None:
            problems.append("prior_target and dco_beta: one model cannot be held by both: leave one out")
        elif self.prior.prior_target == "base" and name != "lora":
            problems.append("prior_target: base is the model with its LoRA set aside: choose --method lora")
        elif self.prior.prior_target == "base" and not self.prior.with_prior_preservation:
            problems.append("prior_target: there is no second term without with_prior_preservation: leave it out")
        elif self.prior.dco_beta is not None and self.prior.with_prior_preservation:
            problems.append("dco_beta: stands in place of class images: add --no-with-prior-preservation")
        if self.training.cuda_graphs and self.training.gradient_checkpointing:
            problems.append(
                "cuda_graphs: a recorded pass cannot recompute activations: leave out gradient_checkpointing"
            )
        if self.training.cuda_graphs and self.family and not self.family.recordable:
            problems.append(f"cuda_graphs: a pass of {self.base.model} cannot be recorded: leave it out")
        if self.base.group_offload and not self.training.gradient_checkpointing:
            problems.append(
                "group_offload: wants gradient_checkpointing too, or the copy of every block would stay until the "
                "backward pass"
            )
        if self.base.group_offload and self.base.base_bits:
            problems.append("group_offload: cannot be combined with base_bits: leave one out")
        return problems

    def of_stage(self, name: str) -> Self:
        """The settings as a stage of a cascade trains by them."""
        mine = self.training
        its = {of_base: getattr(mine, larger) for of_base, larger in OF_SUPER_RESOLUTION.items()}
        own = {key: value for key, value in its.items() if value is not None and name != "base"}
        return self.model_copy(update={"training": mine.model_copy(update=own)}) if own else self

    def flat(self) -> dict[str, Any]:
        """All settings as one flat dict, as `build` takes them."""
        values = self.model_dump()
        return {name: values[section][name] if section else values[name] for section, name, _ in settings_reference()}

    def shown(self) -> dict[str, Any]:
        """The same for pages that travel: a folder or a file by its name alone."""
        return {name: without_place(value) if name in PLACES else value for name, value in self.flat().items()}

    def changes(self, other: Self) -> list[str]:
        """What `other` sets differently, a line each: "learning_rate: 0.0001, was 5e-06"."""
        mine = self.flat()
        return [f"{name}: {value!r}, was {mine[name]!r}" for name, value in other.flat().items() if value != mine[name]]

    def to_toml(self) -> str:
        """The settings as TOML, a table per section; what is not set is left out."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))

    @classmethod
    def from_toml(cls, path: Path | str) -> Self:
        """The settings that `to_toml` wrote; raises ConfigError with every problem at once."""
        return cls.from_toml_text(at_home(path).read_text(encoding="utf-8"), path)

    @classmethod
    def from_toml_text(cls, text: str, path: Path | str) -> Self:
        """The same of the text in a file; raises ConfigError, which names the file."""
        try:
            return cls.model_validate(parsed_toml(text, str(path)))
        except ValidationError as error:
            raise ConfigError([f"{path}: {problem}" for problem in _problems(error)]) from error


def parsed_toml(text: str, called: str) -> dict[str, Any]:
    """The table that a TOML file holds; raises ConfigError, which names the file as it is called."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits is no TOMLDecodeError, nor are deep lists
        raise ConfigError([f"{called} is not valid TOML: {error}"]) from error


def _problems(error: ValidationError, whole: bool = True) -> Iterator[str]:
    """Each setting that cannot be: its name, what is expected and what was given; whole: with its section."""
    for item in error.errors(include_url=False):
        at = item["loc"] if whole or len(item["loc"]) == 1 else item["loc"][1:]
        given = item["input"]
        yield f"{'.'.join(map(str, at))}: {item['msg']}, got {reprlib.repr(given)}{zero_hint(at[-1], given)}"


def _row(family: Any) -> FamilyRow | None:
    return FAMILIES.get(family) if isinstance(family, str) else None  # what is no name is told with other problems


def _users(setting: str) -> str:
    methods = [method for method, own in OWN_SETTINGS.items() if setting in own]
    return f", or choose --method {' or '.join(methods)}" if methods else ""


def located(value: Any, root: Path = Path()) -> Any:
    """The absolute path of a folder or file that exists, so that a run can be resumed from any working directory.

    root: where a relative one is seen from.

    Anything else is returned unchanged: the name of an embedded model, a hub id, or a path that does not exist.
    """
    if not isinstance(value, str) or value in EMBEDDED_MODELS:
        return value
    try:
        path = root / at_home(value)
        return str(path.absolute()) if path.exists() else value
    except (OSError, ValueError):  # too long a name, a zero byte: reported by who opens it
        return value


def without_place(given: Any) -> Any:
    """What `located` made of a folder or a file, as pages and samples that travel tell it: by its name alone.

    Its form tells, not this disk: the run may be on another machine, and the folder may have gone. Anything else is
    returned unchanged.
    """
    if not isinstance(given, str) or not (given[:1] in ("/", ".", "~") or Path(given).is_absolute()):
        return given
    return Path(given).name


def as_typed(kind: Any, value: Any) -> Any:
    """A value as a setting of this type has it, where a file or a caller has the same in another one.

    That is a place as a Path, 8 for the choice "8", and one word for several: prompts = "a {} on the beach".
    """
    if isinstance(value, Path) or (type(value) is int and any(isinstance(its, str) for its in choices_of(kind))):
        return str(value)
    return (value,) if isinstance(value, str) and get_origin(kind) is tuple else value


def choices_of(kind: Any) -> tuple[Any, ...]:
    """What a setting's type, such as Literal["8", "4"] | None, names."""
    return tuple(choice for its in (kind, *get_args(kind)) if get_origin(its) is Literal for choice in get_args(its))


def settings_reference() -> Iterator[tuple[str, str, FieldInfo]]:
    """Section ("" at the top), name and field of every setting, in order."""
    for name, field in Config.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from ((name, inner, info) for inner, info in field.annotation.model_fields.items())
        else:
            yield "", name, field
