"""Every setting, once: the command line's flags, the TOML file and the reference page are derived from here.

Names are the field's (diffusers' where it has one). Defaults are the paper's, for a Stable Diffusion checkpoint; what
another base model or method needs differently is a row of PRESETS.
"""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from dreambooth.config.presets import METHOD_ONLY, USED_BY, MethodName, preset_of
from dreambooth.config.presets import PRESETS as PRESETS
from dreambooth.errors import ConfigError

Sampler = Literal["ddpm", "ddim", "euler", "dpmsolver++"]


PLACES = ("model", "dino_model", "clip_model", "perceptual_model")
"""The settings that may be a folder or a file."""


class Section(BaseModel):
    """A group of settings: frozen, and a name it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Base(Section):
    """The text-to-image model to personalise."""

    model: str = Field(
        "toybox",
        description="base model: toybox (embedded), a diffusers folder, a .safetensors file, or a hub id owner/name",
    )
    revision: str | None = Field(
        None, description="hub revision: a commit, tag or branch; the resolved commit is recorded"
    )
    variant: str | None = Field(None, description="weights variant of the checkpoint, such as fp16")
    dtype: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="of the weights that do not train; bfloat16 takes half the memory",
    )


class Method(Section):
    """What learns the subject: the model's weights, small additions to them, a new word, or nothing."""

    method: MethodName = Field(
        "dreambooth",
        description="all weights; lora: low-rank additions to them; textual_inversion: a new word only; pivotal: a new "
        "word and lora; prompt_only: nothing, the subject is described in words",
    )
    rank: int = Field(4, ge=1, description="lora, pivotal: rank of the additions; of oft the size of its blocks")
    lora_alpha: float | None = Field(
        None, gt=0, description="lora, pivotal: the additions are scaled by alpha / rank; none: the rank, so by 1"
    )
    lora_type: Literal["lora", "dora", "oft"] = Field("lora", description="lora, pivotal: kind of the additions")
    lora_target_modules: tuple[str, ...] = Field(
        (), description="lora, pivotal: ends of the names of the layers added to; none: the attention's projections"
    )
    embedding_lr: float | None = Field(
        None, gt=0, description="textual_inversion, pivotal: learning rate of the new word; none: learning_rate"
    )
    num_vectors: int = Field(
        1, ge=1, le=32, description="textual_inversion, pivotal: tokens that the new word stands for"
    )
    initializer_token: str | None = Field(
        None, description="textual_inversion, pivotal: words that the new word starts from; none: the class noun"
    )
    description: str | None = Field(
        None, description='prompt_only: the subject in words, without an article: "yellow dog with blue ears"'
    )


class Naming(Section):
    """Section 3.2: the identifier."""

    identifier: str | None = Field(
        None,
        description="your own identifier; none: a rare token is chosen from the tokenizer; where a word is learned, it "
        "is <class-noun>",
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

    max_train_steps: int = Field(1000, ge=0, description="optimizer steps")
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
    validation_steps: int = Field(250, ge=1, description="steps between probes, or live samples without them")


class Probe(Section):
    """Measuring while it trains, every validation_steps: the best step's weights become the model."""

    probe: bool = Field(True, description="measure, recommend a step and save its weights; off: the last step's")
    probe_images_per_prompt: int = Field(2, ge=1, description="seeds of each of the five places that a probe draws")
    probe_class_images: int = Field(
        4, ge=1, description="pictures of the class, and as many of the subject, in no place: for drift and variety"
    )
    probe_num_inference_steps: int = Field(20, ge=1, le=1000, description="sampler steps of a probe")
    early_stopping: bool = Field(
        False, description="stop where the subject is learned and its class kept, or where probes no longer get better"
    )
    early_stopping_patience: int = Field(3, ge=1, description="probes in a row that may fall short of the best one")


class Generation(Section):
    """The pictures drawn afterwards."""

    prompts: tuple[str, ...] = Field(
        (), description="prompts with {} for the subject; none: a list of every kind in the paper"
    )
    num_images_per_prompt: int = Field(4, ge=1, description="seeds per prompt")
    sampler: Sampler = Field("ddim", description="sampler of the results")
    num_inference_steps: int = Field(50, ge=1, le=1000, description="sampler steps of a result")
    guidance_scale: float = Field(7.5, ge=1, description="guidance of the results")


class Evaluation(Section):
    """Section 4.2: who measures the pictures."""

    dino_model: str | None = Field(
        None, description="judge of DINO: a folder or hub id; none: embedded for the toybox, else facebook/dino-vits16"
    )
    dino_revision: str | None = Field(
        None,
        description="its hub revision; none: the one that is pinned here, of facebook/dino-vits16 the hub's own "
        "conversion to safetensors",
    )
    clip_model: str | None = Field(
        None,
        description="judge of CLIP-I and CLIP-T: a folder or hub id; none: embedded for the toybox, "
        "else openai/clip-vit-base-patch32",
    )
    clip_revision: str | None = Field(None, description="its hub revision; none: the one that is pinned here")
    perceptual_model: str | None = Field(
        None,
        description="LPIPS weights for DIV: a folder or hub id; none: a distance on the features of the DINO judge",
    )
    perceptual_revision: str | None = Field(None, description="its hub revision; none: the latest")


class Config(Section):
    """All settings of a run; a section per stage."""

    seed: int = Field(0, ge=0, lt=2**31, description="every random choice is a function of it")
    base: Base = Base()
    method: Method = Method()
    naming: Naming = Naming()
    data: Data = Data()
    prior: Prior = Prior()
    training: Training = Training()
    probe: Probe = Probe()
    generation: Generation = Generation()
    evaluation: Evaluation = Evaluation()

    @classmethod
    def build(cls, settings: Mapping[str, Any]) -> Self:
        """A config from flat settings ({"max_train_steps": 400}) over the preset of their base model and method.

        Raises ConfigError with every problem at once.
        """
        settings = {name: located(value) if name in PLACES else value for name, value in settings.items()}
        preset = preset_of(settings.get("model", Base().model), settings.get("method", Method().method))
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
        else:
            problems += config.contradictions()
        if problems:
            raise ConfigError(problems)
        return config

    def contradictions(self) -> list[str]:
        """Settings that the method can do nothing with, a sentence each."""
        name, given = self.method.method, self.flat()
        idle = sorted(METHOD_ONLY - USED_BY[name])
        idle += [] if name in ("dreambooth", "lora") else ["identifier_tokens"]
        idle += ["identifier"] if name == "prompt_only" else []
        defaults = Config().flat()
        problems = [
            f"{setting}: {given[setting]!r} means nothing to method {name}: leave it out"
            for setting in idle
            if given[setting] != defaults[setting]
        ]
        for setting in ("with_prior_preservation", "train_text_encoder"):
            if name in ("textual_inversion", "prompt_only") and given[setting]:
                problems.append(f"{setting}: method {name} trains no weight that it could reach: leave it out")
        if self.method.lora_type == "oft" and self.method.lora_alpha is not None:
            problems.append("lora_alpha: oft turns weights and adds nothing that could be scaled: leave it out")
        if self.method.initializer_token is not None and not self.method.initializer_token.strip():
            problems.append("initializer_token: is blank: give words for the new word to start from, or leave it out")
        if name == "prompt_only" and not (self.method.description or "").strip():
            problems.append('description: method prompt_only needs the subject in words, such as "yellow dog"')
        if (self.training.max_train_steps == 0) != (name == "prompt_only"):
            problems.append(
                f"max_train_steps: must be {'0' if name == 'prompt_only' else 'at least 1'} for method {name}, "
                f"got {self.training.max_train_steps}"
            )
        return problems

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
        return cls.from_toml_text(path.read_text(encoding="utf-8"), path)

    @classmethod
    def from_toml_text(cls, text: str, path: Path) -> Self:
        """The same of the text in a file; raises ConfigError, which names the file."""
        try:
            return cls.model_validate(tomllib.loads(text))
        except tomllib.TOMLDecodeError as error:
            raise ConfigError([f"{path} is not valid TOML: {error}"]) from error
        except ValidationError as error:
            raise ConfigError(
                [f"{path}: {'.'.join(map(str, i['loc']))}: {i['msg']}" for i in error.errors()]
            ) from error


def located(value: Any) -> Any:
    """A folder or file that is there, as it is called from everywhere: a run goes on from another folder too.

    Anything else as it is: "toybox" or a hub id.
    """
    if not isinstance(value, str) or value == Base().model:
        return value
    try:
        path = Path(value).expanduser()
        return str(path.absolute()) if path.exists() else value
    except (OSError, RuntimeError, ValueError):  # too long a name, no such user, a zero byte: told by who opens it
        return value


def settings_reference() -> Iterator[tuple[str, str, FieldInfo]]:
    """Section ("" at the top), name and field of every setting, in order."""
    for name, field in Config.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from ((name, inner, info) for inner, info in field.annotation.model_fields.items())
        else:
            yield "", name, field
