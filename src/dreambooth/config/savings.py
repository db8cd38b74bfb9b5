"""The settings that make a run take less memory or time, the most helpful first."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dreambooth.config.settings import Config
from dreambooth.errors import ConfigError
from dreambooth.support.model_index import MODEL_INDEX, SIDE, read_model_index

BNB = "pip install 'dreambooth[bnb]'"
"""The extra that 8 and 4 bits need."""


SMALL = 256
"""Side in pixels that is advised where memory lacks."""


class Saving(NamedTuple):
    """A change of the settings. flag: as it is typed.  price: what is lost by it; empty: nothing but time."""

    flag: str
    settings: Mapping[str, Any]
    price: str = ""

    def applied(self, config: Config) -> Config:
        """The settings with the change; raises ConfigError where they contradict each other then."""
        return Config.build({**config.flat(), **self.settings})

    def fits(self, config: Config) -> bool:
        """Whether `applied` raises nothing."""
        try:
            self.applied(config)
        except ConfigError:
            return False
        return True


A_LORA = Saving("--method lora", {"method": "lora", "l2_to_base": 0.0}, "a LoRA in place of all weights")


def of_memory(config: Config, cuda: bool, drawing: bool) -> list[Saving]:
    """What makes it need less of the device's memory while it draws, or while it trains."""
    return _new(config, _drawing(config) if drawing else _training(config, cuda))


def of_time(config: Config) -> list[Saving]:
    """What makes it shorter."""
    return _new(config, _shorter(config))


def _new(config: Config, savings: Iterator[Saving]) -> list[Saving]:
    """Those that change something, and that can be given beside the other settings."""
    now = config.flat()
    new = (saving for saving in savings if any(now[name] != value for name, value in saving.settings.items()))
    return [saving for saving in new if saving.fits(config)]


def _training(config: Config, cuda: bool) -> Iterator[Saving]:
    training, whole = config.training, config.method.method == "dreambooth"
    yield Saving("--gradient-checkpointing", {"gradient_checkpointing": True})
    if whole:
        yield A_LORA
        yield Saving("--use-8bit-adam", {"use_8bit_adam": True}, BNB)
    if training.l2_to_base:
        yield Saving("--l2-to-base 0", {"l2_to_base": 0.0}, "nothing pulls the weights back")
    if cuda and training.mixed_precision == "no":
        yield Saving("--mixed-precision bf16", {"mixed_precision": "bf16"})
    if not whole:
        yield Saving("--dtype bfloat16", {"dtype": "bfloat16"})
    several = config.family is not None and config.family.in_pixels and len(training.stages) != 1  # stages to tune
    if config.method.method in ("lora", "pivotal") and not config.base.base_bits and not several:
        yield Saving("--base-bits 4", {"base_bits": "4"}, BNB)
    if cuda and config.method.method == "lora" and config.family and config.family.in_blocks:
        settings = {"group_offload": True, "gradient_checkpointing": True, "base_bits": None}
        price = "a step waits for its weights" + (", and without --base-bits" if config.base.base_bits else "")
        yield Saving("--group-offload --gradient-checkpointing", settings, price)
    yield Saving("--train-batch-size 1", {"train_batch_size": 1})
    if config.method.method in ("dreambooth", "lora", "pivotal"):
        yield Saving("--no-train-text-encoder", {"train_text_encoder": False}, "words learn less")
    yield Saving("--no-use-ema", {"use_ema": False}, "no running average")
    if _side(config) > SMALL:
        yield Saving(f"--resolution {SMALL}", {"resolution": SMALL}, "softer pictures")


def _side(config: Config) -> int:
    """Side in pixels at which it trains, as far as it is known before the model is opened; 0 where it has no choice."""
    if config.family is not None and config.family.in_pixels:
        return 0
    try:
        tuned_at = int(read_model_index(Path(config.base.model) / MODEL_INDEX).get(SIDE) or 0)
    except (OSError, ValueError):  # no folder, or one that is reported by who opens it
        tuned_at = 0
    return config.data.resolution or tuned_at or config.world.resolution


def _drawing(config: Config) -> Iterator[Saving]:
    yield Saving("--sample-batch-size 1", {"sample_batch_size": 1})
    yield Saving("--dtype bfloat16", {"dtype": "bfloat16"})
    if config.method.method == "dreambooth":
        yield A_LORA
        yield Saving("--use-8bit-adam", {"use_8bit_adam": True}, BNB)
    yield Saving("--no-probe", {"probe": False}, "nothing is measured while it trains")


def _shorter(config: Config) -> Iterator[Saving]:
    prior, each = config.prior, config.generation.num_images_per_prompt
    yield Saving("--no-probe", {"probe": False}, "nothing is measured")
    yield Saving("--num-images-per-prompt 1", {"num_images_per_prompt": 1}, f"1 sample of each prompt, not {each}")
    if prior.draws_class_images:
        fewer, steps = max(1, prior.num_class_images // 2), max(1, prior.class_num_inference_steps // 2)
        yield Saving(f"--num-class-images {fewer}", {"num_class_images": fewer}, "the class may drift")
        yield Saving(
            f"--class-num-inference-steps {steps}", {"class_num_inference_steps": steps}, "softer class images"
        )
