"""What the photos change of the model: a method each, behind one contract."""

from dreambooth.adapters import oft, targets
from dreambooth.adapters.base import Adapter, chosen
from dreambooth.adapters.full import Full
from dreambooth.adapters.pivotal import Pivotal, rare_start
from dreambooth.adapters.prompt_only import PromptOnly
from dreambooth.adapters.textual_inversion import TextualInversion
from dreambooth.config import Config
from dreambooth.errors import ConfigError
from dreambooth.models.base import DENOISER, DiffusionModel, Stage
from dreambooth.subject import Subject

__all__ = ["Adapter", "attach", "check", "tuned"]


def attach(model: DiffusionModel, stage: Stage, subject: Subject, config: Config) -> Adapter:
    """Make what config.method trains of a stage trainable; nothing that the model computes changes by it.

    subject: with its identifier, which with super_resolution_identifier off the stages after the first are not told.
    Raises ConfigError as `check` does.
    """
    check(model, config)
    for later in model.stages[1:] if not config.naming.super_resolution_identifier else ():
        later.unread = subject.identifier or ""
    words = config.method.initializer_token
    match config.method.method:
        case "dreambooth":
            return Full(stage, config.training)
        case "textual_inversion":
            return TextualInversion(model, subject, config, start=words or subject.class_noun)
        case "prompt_only":
            return PromptOnly()
    from dreambooth.adapters.lora import LoRA  # peft takes a second or two to import

    lora = LoRA(model, stage, subject, config)
    if config.method.method == "lora":
        return lora
    start = words or rare_start(model, subject, config)
    return Pivotal(lora, TextualInversion(model, subject, config, start))  # second: peft freezes what it did not make


def tuned(model: DiffusionModel, config: Config) -> list[Stage]:
    """The stages of a model that the settings let train, in their order."""
    names = config.training.stages
    return [stage for stage in model.stages if not names or stage.name in names]


def check(model: DiffusionModel, config: Config) -> None:
    """Raise ConfigError for a method that the model cannot have, layers that do not train, or blocks that do not fit.

    To ask costs nothing, so do it early.
    """
    parts = [part for stage in tuned(model, config) for part in chosen(stage, config.training).values()]
    endings, usual = config.method.lora_target_modules, model.lora_layout.targets[DENOISER]
    from_preset = endings == config.usual()["lora_target_modules"]
    problems = targets.problems(endings, parts, usual, may_be_missing=from_preset)
    if config.method.lora_type == "oft":
        turned = [
            (module, endings or model.lora_layout.targets[part])
            for stage in tuned(model, config)
            for part, module in chosen(stage, config.training).items()
        ]
        problems += oft.problems(config.method.rank, turned)
    if config.base.base_bits and len(tuned(model, config)) > 1:
        problems.append("base_bits: is for one stage of a cascade: give --stages base, or leave it out")
    if not all(stage.text_trains for stage in model.stages):
        if config.method.method in ("textual_inversion", "pivotal"):
            problems.append(
                f"method: {model.name} reads prompts with large language models, whose words no program takes from a "
                "file: choose dreambooth or lora"
            )
        if config.training.train_text_encoder:
            problems.append(f"train_text_encoder: the text encoders of {model.name} stay as they are: it must be off")
    if problems:
        raise ConfigError(problems)
