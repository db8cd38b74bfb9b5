"""Every setting, once: the command line's flags, the TOML file and the reference page are derived from here.

Names are the field's (diffusers' where it has one). Defaults are the paper's, for a Stable Diffusion checkpoint; what
another base model needs differently is a row of PRESETS.
"""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from dreambooth.errors import ConfigError

Sampler = Literal["ddpm", "ddim", "dpmsolver++"]


class Section(BaseModel):
    """A group of settings: frozen, and a name it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Base(Section):
    """The text-to-image model to personalise."""

    model: str = Field(
        "toybox", description="base model: toybox (embedded), a diffusers folder, or a hub id owner/name"
    )
    revision: str | None = Field(
        None, description="hub revision: a commit, tag or branch; the resolved commit is recorded"
    )
    variant: str | None = Field(None, description="weights variant of the checkpoint, such as fp16")


class Naming(Section):
    """Section 3.2: the identifier."""

    identifier: str | None = Field(
        None, description="your own identifier; none: a rare token is chosen from the tokenizer"
    )
    identifier_tokens: int = Field(1, ge=1, le=3, description="length of the chosen identifier in tokens")


class Data(Section):
    """How photos become training images."""

    resolution: int | None = Field(
        None, ge=16, le=4096, description="side of the training images in pixels; none: the model's own"
    )
    crop: Literal["subject", "center", "random"] = Field(
        "subject",
        description="square cut from a photo: where the detail is, the centre, or random among cuts that show it",
    )


class Prior(Section):
    """Section 3.3: class images, drawn by the frozen model."""

    with_prior_preservation: bool = Field(True, description="keep the class with the prior preservation loss (Eq. 2)")
    num_class_images: int = Field(1000, ge=1, description="class images to draw, once per base model and class")
    prior_loss_weight: float = Field(1.0, ge=0, description="lambda of Eq. 2")
    class_sampler: Sampler = Field("ddpm", description="sampler of class images; ddpm is the paper's ancestral one")
    class_num_inference_steps: int = Field(100, ge=1, le=1000, description="sampler steps of a class image")
    class_guidance_scale: float = Field(7.5, ge=1, description="guidance of class images")
    sample_batch_size: int = Field(4, ge=1, description="images drawn at a time")


class Training(Section):
    """The fine-tuning."""

    max_train_steps: int = Field(1000, ge=1, description="optimizer steps")
    learning_rate: float = Field(5e-6, gt=0, description="learning rate of the denoiser")
    text_encoder_lr: float | None = Field(
        None, gt=0, description="learning rate of the text encoder; none: the denoiser's"
    )
    train_text_encoder: bool = Field(True, description="train the text encoder too")
    train_batch_size: int = Field(
        1, ge=1, description="subject rows in a step; with the prior, as many class rows again"
    )
    gradient_accumulation_steps: int = Field(1, ge=1, description="batches per optimizer step")
    lr_scheduler: Literal["constant", "linear", "cosine"] = Field(
        "constant", description="learning rate after the warm-up"
    )
    lr_warmup_steps: int = Field(0, ge=0, description="steps of linear warm-up")
    adam_beta1: float = Field(0.9, ge=0, lt=1, description="AdamW beta 1")
    adam_beta2: float = Field(0.999, ge=0, lt=1, description="AdamW beta 2")
    adam_weight_decay: float = Field(1e-2, ge=0, description="AdamW weight decay")
    adam_epsilon: float = Field(1e-8, gt=0, description="AdamW epsilon")
    max_grad_norm: float = Field(1.0, gt=0, description="clip the gradient to this norm")
    snr_gamma: float | None = Field(None, gt=0, description="Min-SNR clamp for both terms of Eq. 2; none: unweighted")
    use_ema: bool = Field(False, description="keep and save the running average of the weights")
    ema_decay: float = Field(0.995, gt=0, lt=1, description="decay of the average, a step")
    mixed_precision: Literal["no", "fp16", "bf16"] = Field("no", description="arithmetic of the forward pass, on a GPU")
    gradient_checkpointing: bool = Field(False, description="recompute activations: less memory, slower")
    checkpointing_steps: int = Field(250, ge=1, description="steps between checkpoints")
    checkpoints_total_limit: int = Field(2, ge=1, description="checkpoints to keep")
    validation_steps: int = Field(250, ge=1, description="steps between live samples")


class Generation(Section):
    """The pictures drawn afterwards."""

    prompts: tuple[str, ...] = Field(
        (), description="prompts with {} for the subject; none: a list of every kind in the paper"
    )
    num_images_per_prompt: int = Field(4, ge=1, description="seeds per prompt")
    sampler: Sampler = Field("ddim", description="sampler of the results")
    num_inference_steps: int = Field(50, ge=1, le=1000, description="sampler steps of a result")
    guidance_scale: float = Field(7.5, ge=1, description="guidance of the results")


class Config(Section):
    """All settings of a run; a section per stage."""

    seed: int = Field(0, ge=0, lt=2**31, description="every random choice is a function of it")
    base: Base = Base()
    naming: Naming = Naming()
    data: Data = Data()
    prior: Prior = Prior()
    training: Training = Training()
    generation: Generation = Generation()

    @classmethod
    def build(cls, settings: Mapping[str, Any]) -> Self:
        """A config from flat settings ({"max_train_steps": 400}) over the preset of their base model.

        Raises ConfigError with every problem at once.
        """
        preset = PRESETS.get(str(settings.get("model", Base().model)), {})
        sections: dict[str, Any] = {}
        homes = {name: section for section, name, _ in settings_reference()}
        problems = [f"{name}: there is no such setting" for name in settings if name not in homes]
        for name, value in {**preset, **settings}.items():
            if name in homes:
                home = homes[name]
                (sections.setdefault(home, {}) if home else sections)[name] = value
        try:
            config = cls.model_validate(sections)
        except ValidationError as error:
            problems += [f"{item['loc'][-1]}: {item['msg']}, got {item['input']!r}" for item in error.errors()]
        if problems:
            raise ConfigError(problems)
        return config

    def flat(self) -> dict[str, Any]:
        """All settings as one flat dict, as `build` takes them."""
        values = self.model_dump()
        return {name: values[section][name] if section else values[name] for section, name, _ in settings_reference()}

    def changes(self, other: Self) -> list[str]:
        """What `other` sets differently, a line each: "learning_rate: 0.0001, was 5e-06"."""
        mine = self.flat()
        return [f"{name}: {value!r}, was {mine[name]!r}" for name, value in other.flat().items() if value != mine[name]]

    def to_toml(self) -> str:
        """The settings as TOML, a table per section; what is not set is left out."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))

    @classmethod
    def from_toml(cls, path: Path) -> Self:
        """The settings that `to_toml` wrote; raises ConfigError with every problem at once."""
        try:
            return cls.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        except tomllib.TOMLDecodeError as error:
            raise ConfigError([f"{path} is not valid TOML: {error}"]) from error
        except ValidationError as error:
            raise ConfigError(
                [f"{path}: {'.'.join(map(str, i['loc']))}: {i['msg']}" for i in error.errors()]
            ) from error


def settings_reference() -> Iterator[tuple[str, str, FieldInfo]]:
    """Section ("" at the top), name and field of every setting, in order."""
    for name, field in Config.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from ((name, inner, info) for inner, info in field.annotation.model_fields.items())
        else:
            yield "", name, field


PRESETS: dict[str, dict[str, Any]] = {
    "toybox": {
        "num_class_images": 100,
        "class_num_inference_steps": 25,
        "class_guidance_scale": 1.5,
        "sample_batch_size": 20,
        "max_train_steps": 400,
        "learning_rate": 1e-4,
        "text_encoder_lr": 2.5e-4,
        "checkpointing_steps": 100,
        "validation_steps": 100,
        "num_inference_steps": 25,
        "guidance_scale": 3.0,
    },
}
"""What a base model needs differently from the paper's Stable Diffusion settings, by its `model` name."""
