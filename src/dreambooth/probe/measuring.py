"""Pictures of one step in, the line of scores.jsonl out."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from dreambooth.evaluation import Judges, Photos, SceneReader, Scores, score_each, scored_prompt, variety
from dreambooth.evaluation.metrics import nearest_photo, pres, scene_blindness, usual_resemblance
from dreambooth.probe.lines import Probed, Prompted, mean
from dreambooth.prompts import CLASS_PROMPT
from dreambooth.samples import Sample, opened
from dreambooth.subject import Subject


def real_row(photos: Photos) -> Scores:
    """The photos among themselves, and how little the judge heeds what is behind their subject.

    usual_dino, masked_dino, nearest_photo: the median photo's against the others, as one may be odd. Two photos cannot
    tell how near the nearest of several is.
    """
    seen = photos.seen
    whole, alone = seen.dino[seen.found], seen.masked[seen.found]
    return replace(
        photos.real_row,
        usual_dino=_against_the_others(seen.dino, usual_resemblance),
        masked_dino=_against_the_others(alone, usual_resemblance),
        nearest_photo=_against_the_others(seen.dino, nearest_photo) if len(seen.dino) > 2 else None,
        scene_blindness=scene_blindness(whole, alone) if len(whole) else None,
    )


def _against_the_others(rows: Tensor, likeness: Callable[[Tensor, Tensor], Tensor]) -> float | None:
    if len(rows) < 2:
        return None
    each = [likeness(row[None], torch.cat([rows[:at], rows[at + 1 :]])) for at, row in enumerate(rows)]
    return torch.cat(each).quantile(0.5).item()


def measure(
    step: int,
    judges: Judges,
    photos: Photos,
    subject: Subject,
    samples: Sequence[Sample],
    of_class: Sequence[Sample],
    reader: SceneReader | None = None,
) -> Probed:
    """What the judges see in `samples` of the subject at `step`, and in pictures of its class.

    Every prompt weighs the same, however many pictures it has. reader: says in which scene a picture is.
    """
    pictures = [opened(sample) for sample in samples]
    templates = list(dict.fromkeys(sample.template for sample in samples))
    texts = {template: scored_prompt(template, subject) for template in templates}
    rows = score_each(judges, photos, pictures, [texts[sample.template] for sample in samples])
    class_pictures = [opened(sample) for sample in of_class]
    drift = pres(judges.dino.images(class_pictures), photos.seen.dino)
    places = [template for template in templates if template != CLASS_PROMPT.template]
    fit = judges.clip.images(pictures) @ judges.clip.texts([texts[place] for place in places]).T  # (N, places)
    prompts = {}
    for template in templates:
        mine = [at for at, sample in enumerate(samples) if sample.template == template]
        elsewhere = _elsewhere(fit[mine], places.index(template)) if template in places else None
        prompts[template] = Prompted(scores=mean([rows[at] for at in mine]), elsewhere=elsewhere)
    alone = [picture for picture, sample in zip(pictures, samples, strict=True) if sample.template not in places]
    varied = {"subject": variety(judges, alone, reader), "class": variety(judges, class_pictures, reader)}
    return Probed(
        step=step,
        scores=replace(mean(its.scores for its in prompts.values()), pres=drift),
        prompts=prompts,
        variety={of: its for of, its in varied.items() if its is not None},
    )


def _elsewhere(fit: Tensor, asked: int) -> float:
    """The mean of `fit` (N, places) without the place that was asked for."""
    return (fit.sum(1) - fit[:, asked]).mean().item() / (fit.shape[1] - 1)
