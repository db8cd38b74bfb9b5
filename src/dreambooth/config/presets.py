"""What a base model and a method need differently from the paper's settings for Stable Diffusion, as one table."""

from typing import Any, Literal

MethodName = Literal["dreambooth", "lora", "textual_inversion", "pivotal", "prompt_only"]

_LORA = frozenset({"rank", "lora_alpha", "lora_type", "lora_target_modules"})
_WORD = frozenset({"embedding_lr", "num_vectors", "initializer_token"})
USED_BY: dict[MethodName, frozenset[str]] = {
    "dreambooth": frozenset(),
    "lora": _LORA,
    "textual_inversion": _WORD,
    "pivotal": _LORA | _WORD,
    "prompt_only": frozenset({"description"}),
}
"""The settings that belong to some methods only, by method."""

METHOD_ONLY = frozenset().union(*USED_BY.values())
"""All of them."""

_TOYBOX: dict[str, Any] = {
    "num_class_images": 100,
    "class_num_inference_steps": 25,
    "class_guidance_scale": 1.5,
    "sample_batch_size": 20,
    "max_train_steps": 400,
    "checkpointing_steps": 100,
    "validation_steps": 100,
    "probe_class_images": 8,
    "probe_num_inference_steps": 4,
    "sampler": "dpmsolver++",
    "num_inference_steps": 15,
    "guidance_scale": 3.0,
}
_AVERAGED: dict[str, Any] = {"use_ema": True, "ema_decay": 0.98}
"""The mean of the last fifty steps' weights keeps scenes and variety that a single step's lose; it costs no time."""
_NO_PRIOR: dict[str, Any] = {"with_prior_preservation": False, "train_text_encoder": False}
"""Where no weight trains that the class prompt reaches, Eq. 2's second term is a constant."""

PRESETS: dict[tuple[str, MethodName], dict[str, Any]] = {
    # diffusers' examples/dreambooth: its README for LoRA
    ("other", "lora"): {"learning_rate": 1e-4, "max_train_steps": 500},
    # diffusers' examples/textual_inversion: 5e-4 times the four batches of a step (--scale_lr)
    ("other", "textual_inversion"): {
        **_NO_PRIOR,
        "learning_rate": 2e-3,
        "gradient_accumulation_steps": 4,
        "max_train_steps": 3000,
    },
    ("other", "pivotal"): {"learning_rate": 1e-4, "embedding_lr": 5e-4, "max_train_steps": 1000},
    ("other", "prompt_only"): {**_NO_PRIOR, "max_train_steps": 0},
    # measured: docs/log.md; benchmarks/method_rates.py for all but the first
    ("toybox", "dreambooth"): {**_TOYBOX, "learning_rate": 1e-4, "text_encoder_lr": 2.5e-4, **_AVERAGED},
    ("toybox", "lora"): {**_TOYBOX, "rank": 16, "learning_rate": 2e-3},
    ("toybox", "textual_inversion"): {**_TOYBOX, **_NO_PRIOR, "learning_rate": 1e-2, "train_batch_size": 8},
    ("toybox", "pivotal"): {**_TOYBOX, "rank": 16, "learning_rate": 1e-3, "embedding_lr": 5e-3},
    ("toybox", "prompt_only"): {**_TOYBOX, **_NO_PRIOR, "max_train_steps": 0},
}
"""Settings by base model ("other": any that has no rows of its own) and method."""


def preset_of(model: object, method: object) -> dict[str, Any]:
    """The settings of a base model and a method; none where neither needs anything else."""
    known = {base for base, _ in PRESETS}
    wanted = (model if model in known else "other", method)
    return next((row for key, row in PRESETS.items() if key == wanted), {})
