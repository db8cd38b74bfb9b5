"""What is asked of a model: a sentence and the seed of its noise, for every sample."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch

from dreambooth.config import Generation
from dreambooth.models.base import Sampling
from dreambooth.subject import Kind, Prompt, Subject
from dreambooth.support.rng import generator


@dataclass(frozen=True, kw_only=True)
class Request:
    """One sample to be drawn. prompt: what the model reads.  template, kind: the prompt that it was made from."""

    prompt: str
    seed: int
    template: str
    kind: Kind


def requests(prompts: Sequence[Prompt], subject: Subject, seeds: Sequence[int]) -> list[Request]:
    """Every prompt at every seed, prompt by prompt."""
    return [
        Request(prompt=words(prompt, subject), seed=seed, template=prompt.template, kind=prompt.kind)
        for prompt in dict.fromkeys(prompts)
        for seed in seeds
    ]


def words(prompt: Prompt, subject: Subject) -> str:
    """What the model reads: the template with the subject's name, or for the class prompt its class noun alone."""
    if prompt.kind == "class":
        return subject.unnamed(prompt.template)
    return subject.fill(prompt.template)


def seeds(seed: int, count: int) -> list[int]:
    """The first `count` seeds of a run, the same for every prompt: distinct, below a million, a function of `seed`.

    The seeds of class images begin at a million: from the noise of a class image that was trained on, the class prompt
    would hide a drift.
    """
    drawn: list[int] = _million(seed)[:count].tolist()
    return drawn


@lru_cache(1)
def _million(seed: int) -> torch.Tensor:
    return torch.randperm(10**6, generator=generator(seed, "samples"))


def sampling_of(settings: Generation) -> Sampling:
    """How a run's samples are drawn."""
    return Sampling(
        sampler=settings.sampler,
        num_inference_steps=settings.num_inference_steps,
        guidance_scale=settings.guidance_scale,
    )
