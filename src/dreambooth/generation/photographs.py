"""The world of photographs, which every published base model has seen: the paper's prompts, judges and classes."""

from dreambooth.config.worlds import World
from dreambooth.generation.prompts import LIVE, OBJECT, PAPER_LIVE, PAPER_OBJECT, PROBE, is_live
from dreambooth.subject import Prompt

PAPER_CLASSES = (
    *("backpack", "stuffed animal", "bowl", "can", "candle", "cat", "clock", "sneaker"),
    *("dog", "toy", "boot", "glasses", "cartoon", "teapot", "vase"),
)
"""The 15 classes of the paper's 30 subjects (https://github.com/google/dreambooth)."""


def prompts(class_noun: str) -> tuple[Prompt, ...]:
    """About ten prompts of every application of section 4.3 that fits the class."""
    return LIVE if is_live(class_noun) else OBJECT


def scored_prompts(class_noun: str, whole: bool) -> tuple[Prompt, ...]:
    """The paper's 25 prompts for things or live subjects, or every third of them."""
    listed = PAPER_LIVE if is_live(class_noun) else PAPER_OBJECT
    return listed if whole else listed[::3]


PHOTOGRAPHS = World(
    name="photographs",
    prompts=prompts,
    probe_prompts=PROBE,
    scored_prompts=scored_prompts,
    classes=PAPER_CLASSES,
    # DINO ViT-S/16 is the paper's; it names no CLIP (see metrics.CHOICES)
    judges={"dino": "facebook/dino-vits16", "clip": "openai/clip-vit-base-patch32"},
)
"""Its models' settings are the paper's own."""
