"""What the toybox is to the models that come from it: prompts in their words, judges, settings, examples."""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from dreambooth.config.worlds import Contents, Examples, World
from dreambooth.subject import CLASS_PROMPT, Prompt, prompts_of
from dreambooth.toybox.captions import description
from dreambooth.toybox.world import CLASSES, SCENES, WEARERS, Toy

_FURTHER = (
    *prompts_of("property modification", "a purple {}", "a shiny {}"),
    *prompts_of("novel view", "a {} seen from behind", "a {} seen from above"),
    *prompts_of("art rendition", "a pencil drawing of a {}", "a cartoon of a {}"),
    CLASS_PROMPT,
)

THING: tuple[Prompt, ...] = (
    *prompts_of("subject", "a {}"),
    *prompts_of("recontextualization", "a {} in the snow", "a {} on the beach", "a {} in the jungle", "a {} at night"),
    *_FURTHER,
)
"""Every application of section 4.3 in the embedded model's own words, for toys that wear nothing."""

WEARER: tuple[Prompt, ...] = (
    *prompts_of("subject", "a {}"),
    *prompts_of("recontextualization", "a {} in the snow", "a {} on the beach"),
    *prompts_of("accessorization", "a {} wearing a red hat", "a {} wearing a yellow scarf"),
    *_FURTHER,
)
"""The same for toys that can wear something."""

PROBE: tuple[Prompt, ...] = (
    *prompts_of("subject", "a {}"),
    *prompts_of("recontextualization", "a {} in the snow", "a {} in the jungle", "a {} on a wooden floor"),
    *prompts_of("recontextualization", "a {} on pink fabric", "a {} at night"),
)
"""The subject alone and in five places, far apart."""

_STEPS = 400
_PRESET = {
    "num_class_images": 100,
    "class_sampler": "dpmsolver++",  # in 8 steps nearer to the world than the ancestral one in 15
    "class_num_inference_steps": 8,
    "class_guidance_scale": 1.5,
    "sample_batch_size": 20,
    "max_train_steps": _STEPS,
    "checkpointing_steps": 100,
    "validation_steps": 100,
    "probe_class_images": 8,
    "probe_num_inference_steps": 4,
    "sampler": "dpmsolver++",
    "num_inference_steps": 15,
    "guidance_scale": 1.75,  # more makes colours louder than the photos
}
# Min-SNR at 1 trains the highest noise, where a prompt without a place finds its scene, least; the mean of the last
# fifty steps' weights keeps variety that a single step's loses. Neither costs time.
_KEEPING_SCENES = {"snr_gamma": 1.0, "use_ema": True, "ema_decay": 0.98}
_ALL_LAYERS = (
    *("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out", "conv1", "conv2"),
    *("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"),
)
"""Of the denoiser and of the text encoder: a LoRA of the attention alone is too small for what a toy has."""

_METHOD_PRESETS: Mapping[str, Mapping[str, Any]] = {
    "dreambooth": {"learning_rate": 3e-4, "text_encoder_lr": 2e-4, "max_train_steps": 500, **_KEEPING_SCENES},
    "lora": {
        "rank": 16,
        "lora_target_modules": _ALL_LAYERS,
        "learning_rate": 1e-3,
        "max_train_steps": _STEPS,
        **_KEEPING_SCENES,
    },
    "textual_inversion": {
        "learning_rate": 1e-2,
        "train_batch_size": 8,
        "gradient_accumulation_steps": 1,
        "max_train_steps": _STEPS,
    },
    "pivotal": {
        "rank": 16,
        "lora_target_modules": _ALL_LAYERS,
        "learning_rate": 1e-3,
        "embedding_lr": 5e-3,
        "max_train_steps": _STEPS,
        **_KEEPING_SCENES,
    },
}
"""Measured: docs/log.md. Textual Inversion's was chosen on the first toybox."""

_PIPELINE_PRESETS = {
    # By DDPM the subjects of the cascade are more like themselves (docs/log.md), and at 16 px its steps are cheap; its
    # class images stay what its settings were chosen with. Super-resolution draws in its own 8 steps.
    "IFPipeline": {
        "class_sampler": "ddpm",
        "class_num_inference_steps": 15,
        "sampler": "ddpm",
        "num_inference_steps": 50,
        "guidance_scale": 2.0,
        "probe_num_inference_steps": 25,
        "super_resolution_steps": _STEPS,
        "validation_steps": 200,
    },
}

_PIPELINE_METHOD_PRESETS: Mapping[tuple[str, str], Mapping[str, Any]] = {
    # Twice the steps bind better. Much of what makes a toy itself at 16 px is learned at noise where Min-SNR at 1
    # hardly looks.
    ("IFPipeline", "dreambooth"): {
        "learning_rate": 5e-4,
        "snr_gamma": 5.0,
        "max_train_steps": 2 * _STEPS,
        "super_resolution_lr": 3e-4,
    },
    ("IFPipeline", "lora"): {
        "lora_target_modules": ("to_q", "to_k", "to_v", "to_out.0", "add_k_proj", "add_v_proj", "conv1", "conv2"),
        "learning_rate": 1e-3,
        "snr_gamma": 5.0,
        "max_train_steps": 2 * _STEPS,
        "super_resolution_lr": None,
        "super_resolution_steps": _STEPS,
    },
}

_FAST = {"max_train_steps": 200, "num_class_images": 50}
"""What it costs in likeness: docs/results.md, for DreamBooth."""

_CELL_SECONDS = {
    "dreambooth": 55,
    "dreambooth without prior": 42,
    "dreambooth (cascade)": 80,
    "lora": 40,
    "textual_inversion": 55,
    "pivotal": 40,
    "prompt_only": 8,
    "untuned": 8,
}
"""Of a cell, two at a time on two cores, where none is done yet; cascade, lora and pivotal by their share of before."""

_FOREIGN = (
    "these photos do not look like toys that the embedded model can draw. It knows a few kinds of rendered toys and "
    "nothing else, and so do its judges: use a real base model with --model. (Their likeness to its world, by its own "
    "CLIP: {likeness:.2f}; that of toys is {limit:.2f} or more.)"
)


CONTENTS = Contents(
    scenes=SCENES,
    sentences=tuple(f"a {class_noun} {scene}" for class_noun in CLASSES for scene in SCENES),
    likeness=0.47,
    foreign=_FOREIGN,
)
"""`python -m benchmarks.foreign_photos` prints how far photos of toys and of real things are from the limit."""


def prompts(class_noun: str) -> tuple[Prompt, ...]:
    """About ten prompts of every kind that fits the class."""
    return WEARER if class_noun in WEARERS else THING


def scored_prompts(class_noun: str, whole: bool) -> tuple[Prompt, ...]:
    """All scenes, and every other prompt of the class's list, or every second accessory and property alone."""
    scenes = tuple(Prompt("recontextualization", f"a {{}} {scene}") for scene in SCENES)
    others = [p for p in prompts(class_noun) if p.kind not in ("subject", "recontextualization", "class")]
    few = [p for p in others if p.kind in ("accessorization", "property modification")][::2]
    return (*scenes, *(others if whole else few))


def _photos(class_noun: str, seed: int, count: int, out: Path, size: int) -> object:
    from dreambooth.toybox.photos import photos  # torch renders them, and settings are read before it is there

    return photos(class_noun, seed, count, out, size)


def _description(class_noun: str, seed: int) -> str:
    return description(Toy.from_seed(class_noun, seed))


TOYBOX = World(
    name="toybox",
    prompts=prompts,
    probe_prompts=PROBE,
    scored_prompts=scored_prompts,
    classes=CLASSES,
    nouns=CLASSES,
    judges={"dino": "toybox", "clip": "toybox"},
    resolution=128,
    preset=_PRESET,
    method_presets=_METHOD_PRESETS,
    pipeline_presets=_PIPELINE_PRESETS,
    pipeline_method_presets=_PIPELINE_METHOD_PRESETS,
    fast=_FAST,
    embedded=Path(str(files("dreambooth.toybox"))),
    contents=CONTENTS,
    examples=Examples(photos=_photos, description=_description),
    cell_seconds=_CELL_SECONDS,
)
"""The world of the embedded model, and of every model tuned from it."""
