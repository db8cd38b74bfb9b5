"""Samples of a run: its prompts, the model that it made, the quick ones while it trains, and more on request."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dreambooth import models
from dreambooth.config import Base, Config
from dreambooth.errors import ConfigError, RunError
from dreambooth.generation.generate import generate as generate_into
from dreambooth.generation.generate import generate_in
from dreambooth.generation.prompts import Prompt, chosen_prompts, own_prompts, warn_of_nameless
from dreambooth.generation.requests import requests, sampling_of, seeds
from dreambooth.generation.samples import Sample
from dreambooth.models.base import DiffusionModel
from dreambooth.run import Run
from dreambooth.run.records import BASE
from dreambooth.support.device import device

DRAWING = ("sampler", "num_inference_steps", "guidance_scale")
"""The settings that samples on request may have of their own."""
LAST_SEED = 2**31 - 1


def prompts_of(run: Run) -> Sequence[Prompt]:
    """The prompts that a run draws: its own, or those of its world for the class; the class prompt last."""
    return chosen_prompts(run.config.world, run.subject.class_noun, run.config.generation.prompts)


def personal_model(run: Run) -> DiffusionModel:
    """The model that the run made; raises RunError where it has not been made yet."""
    base = run.config.base
    folder = str(personal_folder(run))
    model = models.load(
        Base(model=folder, dtype=base.dtype, base_bits=base.base_bits, group_offload=base.group_offload)
    )
    model.to(device())
    model.name = BASE.read(run.root).model  # its samples say what it was tuned from
    return model


def personal_folder(run: Run) -> Path:
    """The folder of that model, as it was written; raises RunError where it has not been made yet."""
    if not run.is_personalised:
        there = "is incomplete or damaged" if run.model.exists() else "has not been made yet"
        raise RunError(f"{run.model} {there}: make it with `dreambooth continue {run.root}`.")
    return run.model


def live_samples(run: Run, step: int, model: DiffusionModel) -> None:
    """The first prompt and the class prompt as `model` draws them at a step of its training."""
    if step < run.config.training.max_train_steps:  # the last step is drawn in full, as "after"
        first, *_, class_prompt = prompts_of(run)
        few = min(2, run.config.generation.num_images_per_prompt)
        generate_in(run, model, f"step-{step:06d}", [first, class_prompt], few)


def probe_samples(run: Run, model: DiffusionModel, stage: str, prompts: Sequence[Prompt], count: int) -> list[Sample]:
    """The samples of a probe, to samples/<stage>: `count` of each prompt, in few sampler steps."""
    steps = run.config.probe.probe_num_inference_steps
    quick = replace(sampling_of(run.config.generation), sampler=model.samplers[-1], num_inference_steps=steps)
    return generate_in(run, model, stage, prompts, count, quick)


def generate(
    run: Run | Path | str,
    prompts: Sequence[str] | str = (),
    *,
    count: int | None = None,
    seed: int | None = None,
    **settings: Any,
) -> list[Sample]:
    """Generate more samples with the personalised model, to samples/own; prompts hold {} where the subject's name goes.

    run: it, or its folder.  prompts: [default: the run's].  count: of each [default: as the run has it].  seed: of the
    first sample, the next ones count on from it [default: the run's seeds].  settings: sampler, num_inference_steps,
    guidance_scale where they are not the run's. Older samples stay. Each is drawn alone: it depends on its words, seed,
    settings and weights, and on nothing else. Raises RunError where the run has no model yet, PromptError or
    ConfigError for what cannot be done.
    """
    run, prompts = Run.at(run), (prompts,) if isinstance(prompts, str) else prompts
    own = own_prompts(prompts)[: len(prompts)]
    warn_of_nameless(own, run.subject)
    if others := settings.keys() - DRAWING:
        raise ConfigError([f"{name}: is no setting of a sampler: {', '.join(DRAWING)} are" for name in sorted(others)])
    asked = settings if count is None else {**settings, "num_images_per_prompt": count}
    config = Config.build({**run.config.flat(), **asked})
    count = config.generation.num_images_per_prompt
    if seed is not None and not 0 <= seed <= LAST_SEED - count + 1:
        raise ConfigError([f"seed: must be from 0 to {LAST_SEED - count + 1} for {count} samples, got {seed}"])
    numbers = seeds(config.seed, count) if seed is None else range(seed, seed + count)
    with run.lock():
        model = personal_model(run)
        models.check(model, config)
        wanted = requests(own or prompts_of(run), run.subject, numbers)
        sampling = sampling_of(config.generation)
        return generate_into(model, wanted, sampling, run.samples / "own", batch_size=1, keep_others=True)
