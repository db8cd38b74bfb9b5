"""Pictures of one step in, the line of scores.jsonl out."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from dreambooth.evaluation import Judges, Photos, Scores, score_each, scored_prompt
from dreambooth.evaluation.metrics import nearest_photo, pres, usual_resemblance
from dreambooth.probe.lines import Probed, Prompted, mean
from dreambooth.prompts import CLASS_PROMPT
from dreambooth.samples import Sample, opened
from dreambooth.subject import Subject


def real_row(photos: Photos) -> Scores:
    """The photos among themselves; usual_dino and nearest_photo are those of the median photo against the others."""
    seen = photos.seen.dino
    if len(seen) < 2:
        return photos.real_row
    each = [(photo[None], torch.cat([seen[:at], seen[at + 1 :]])) for at, photo in enumerate(seen)]
    usual, nearest = (torch.cat([likeness(*pair) for pair in each]) for likeness in (usual_resemblance, nearest_photo))
    # the median: one odd photo, like no other, does not make pictures of the usual ones look copied
    return replace(photos.real_row, usual_dino=usual.quantile(0.5).item(), nearest_photo=nearest.quantile(0.5).item())


def measure(
    step: int, judges: Judges, photos: Photos, subject: Subject, samples: Sequence[Sample], of_class: Sequence[Sample]
) -> Probed:
    """What the judges see in `samples` of the subject at `step`, and in pictures of its class."""
    pictures = [opened(sample) for sample in samples]
    templates = list(dict.fromkeys(sample.template for sample in samples))
    texts = {template: scored_prompt(template, subject) for template in templates}
    rows = score_each(judges, photos, pictures, [texts[sample.template] for sample in samples])
    drift = pres(judges.dino.images([opened(sample) for sample in of_class]), photos.seen.dino)
    places = [template for template in templates if template != CLASS_PROMPT.template]
    fit = judges.clip.images(pictures) @ judges.clip.texts([texts[place] for place in places]).T  # (N, places)
    prompts = {}
    for template in templates:
        mine = [at for at, sample in enumerate(samples) if sample.template == template]
        elsewhere = _elsewhere(fit[mine], places.index(template)) if template in places else None
        prompts[template] = Prompted(scores=mean([rows[at] for at in mine]), elsewhere=elsewhere)
    return Probed(step=step, scores=replace(mean(rows), pres=drift), prompts=prompts)


def _elsewhere(fit: Tensor, asked: int) -> float:
    """The mean of `fit` (N, places) without the place that was asked for."""
    return (fit.sum(1) - fit[:, asked]).mean().item() / (fit.shape[1] - 1)
