"""Samples of a run: its prompts, and the quick ones while it trains."""

from collections.abc import Sequence
from dataclasses import replace

from dreambooth.generation.generate import generate_in
from dreambooth.generation.prompts import Prompt, chosen_prompts
from dreambooth.generation.requests import sampling_of
from dreambooth.generation.samples import Sample
from dreambooth.models.base import DiffusionModel
from dreambooth.run import Run


def prompts_of(run: Run) -> Sequence[Prompt]:
    """The prompts that a run draws: its own, or those of its world for the class; the class prompt last."""
    return chosen_prompts(run.config.world, run.subject.class_noun, run.config.generation.prompts)


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
