"""The weak prior of section 3.2: how much an identifier says to the untuned model already, in words and pictures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from dreambooth.config import Config
from dreambooth.errors import ModelError
from dreambooth.evaluation import load_judges
from dreambooth.evaluation.base import ImageEmbedder
from dreambooth.identifier import candidates
from dreambooth.models.base import Conditioning, DiffusionModel, Sampling
from dreambooth.subject import Subject
from dreambooth.support.progress import log


@dataclass(frozen=True, kw_only=True)
class WeakPrior:
    """How much of its own an identifier says to the untuned model, beside the class noun: 0 is nothing.

    words: cosine distance of what "a [identifier] [class noun]" and "a [class noun]" become, each the mean over its
    tokens.  pictures: the mean cosine distance, to a judge, of pictures of both prompts drawn from the same noise.
    """

    identifier: str
    words: float
    pictures: float | None = None


@torch.no_grad()
def weak_priors(
    model: DiffusionModel,
    class_noun: str,
    identifiers: Sequence[str],
    judge: ImageEmbedder | None = None,
    sampling: Sampling | None = None,
    seeds: Sequence[int] = (0, 1),
) -> list[WeakPrior]:
    """The weak prior of section 3.2, measured: the weakest first, by the pictures where there is a judge.

    model: untuned.  judge, sampling: without both nothing is drawn, as pictures take their time.
    """
    plain, named = f"a {class_noun}", [f"a {identifier} {class_noun}" for identifier in identifiers]
    stage = model.stages[0]
    meanings = torch.stack([_meaning(stage.condition([prompt])) for prompt in (plain, *named)])
    words = (1 - F.cosine_similarity(meanings[1:], meanings[:1])).tolist()
    pictures: list[float | None] = [None] * len(identifiers)
    if judge is not None and sampling is not None:
        prompts = [prompt for prompt in (plain, *named) for _ in seeds]
        drawn = model.generate(prompts, list(seeds) * (1 + len(identifiers)), sampling)
        seen = judge.images([Image.fromarray(picture) for picture in drawn]).unflatten(0, (-1, len(seeds)))
        pictures = (
            1 - (seen[1:] * seen[:1]).sum(-1).mean(-1)
        ).tolist()  # (identifiers, seeds, D) against (1, seeds, D)
    found = [WeakPrior(identifier=i, words=w, pictures=p) for i, w, p in zip(identifiers, words, pictures, strict=True)]
    return sorted(found, key=lambda prior: prior.words if prior.pictures is None else prior.pictures)


def _meaning(conditioning: Conditioning) -> Tensor:
    """(D,) the mean of one prompt's embeddings over its tokens."""
    embeds = conditioning.embeds[0].flatten(1).float().cpu()
    return embeds.mean(0) if conditioning.mask is None else embeds[conditioning.mask[0].bool().cpu()].mean(0)


def show_weak_priors(model: DiffusionModel, subject: Subject, config: Config) -> None:
    """Log a table of the subject's identifier and seven others that might have been chosen, the weakest first.

    model: untuned. Where the judge is at hand the table has pictures too, drawn as quickly as those of a probe.
    """
    for line in _table(model, subject, config, _judge(config)):
        log.info("%s", line)


def _table(model: DiffusionModel, subject: Subject, config: Config, judge: ImageEmbedder | None) -> Iterator[str]:
    others = candidates(list(model.tokenizers.values()), config.naming.identifier_tokens, config.seed, 8)
    identifiers = list(dict.fromkeys([str(subject.identifier), *others]))[:8]
    sampling = Sampling(
        sampler=model.samplers[-1],
        num_inference_steps=config.probe.probe_num_inference_steps,
        guidance_scale=config.generation.guidance_scale,
    )
    yield f'what each says beside "a {subject.class_noun}" to the untuned model; 0 is nothing, the weakest is first:'
    yield "identifier        words  pictures"
    for prior in weak_priors(model, subject.class_noun, identifiers, judge, sampling):
        pictures = "       -" if prior.pictures is None else f"{prior.pictures:8.3f}"
        mark = "  chosen" if prior.identifier == subject.identifier else ""
        yield f"{prior.identifier:<16}{prior.words:7.3f}  {pictures}{mark}"


def _judge(config: Config) -> ImageEmbedder | None:
    """Who compares pictures of identifiers: the DINO judge; None where nothing is to be measured, or it is not here."""
    if not config.probe.probe:
        return None
    try:
        return load_judges(config.evaluation, config.world).dino
    except ModelError as error:
        log.warning("%s The identifiers are compared by their words alone.", error)
        return None
