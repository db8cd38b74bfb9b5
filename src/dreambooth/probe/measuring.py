"""Pictures in, what the judges see in them out: of one step, a line of scores.jsonl."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from torch import Tensor

from dreambooth.config import World
from dreambooth.evaluation import (
    Judges,
    Photos,
    SceneReader,
    measure_photos,
    score_each,
    scored_prompt,
    variety,
)
from dreambooth.evaluation.base import Pictures
from dreambooth.evaluation.metrics import background_invariance, pres
from dreambooth.generation.prompts import CLASS_PROMPT
from dreambooth.generation.samples import Sample, opened
from dreambooth.run.records import Probed, PromptScores, Scores, Step, Variety
from dreambooth.subject import Subject


def real_row(photos: Photos) -> Probed:
    """The photos among themselves, and how little the judge depends on their background."""
    seen = photos.seen
    whole, alone = seen.dino[seen.found], seen.masked[seen.found]
    invariance = {"background_invariance": background_invariance(whole, alone) if len(whole) else None}
    return Probed(step="real", **(asdict(photos.real_row) | invariance), pictures=len(seen.dino))


@dataclass(frozen=True, kw_only=True, eq=False)
class Reference:
    """Who measures pictures, and against what. reader: says in which scene a picture is, None where nobody knows."""

    judges: Judges
    photos: Photos
    subject: Subject
    reader: SceneReader | None = None

    @classmethod
    def of(cls, judges: Judges, subject: Subject, world: World) -> Self:
        """That of a subject's own photos; raises PhotoError for one that cannot be used."""
        reader = SceneReader.of(judges, world, subject.class_prompt)
        return cls(judges=judges, photos=measure_photos(judges, subject.photos), subject=subject, reader=reader)


def measure(
    step: Step,
    reference: Reference,
    samples: Sequence[Sample],
    of_class: Sequence[Sample] = (),
    places: Sequence[str] | None = None,
) -> Probed:
    """What the judges see in `samples` of the subject at `step`, and in pictures of its class.

    Every prompt weighs the same, however many pictures it has; an unknown one, with an empty template, has no CLIP-T.
    places: the templates that ask for a place and for nothing else, by default all but that of the class prompt.
    """
    judges, photos, reader = reference.judges, reference.photos, reference.reader
    pictures, class_pictures = ([opened(sample) for sample in those] for those in (samples, of_class))
    templates = list(dict.fromkeys(sample.template for sample in samples))
    alone = CLASS_PROMPT.template
    places = [template for template in templates if template != alone] if places is None else places
    texts = {template: scored_prompt(template, reference.subject) for template in (*templates, *places)}
    rows = score_each(judges, photos, pictures, [texts[sample.template] for sample in samples])
    elsewhere = _elsewhere(judges, pictures, {place: texts[place] for place in places})
    prompts: dict[str, PromptScores] = {}
    varied: dict[str, Variety | None] = {"class": variety(judges, class_pictures, reader)}
    for template in templates:
        mine = [at for at, sample in enumerate(samples) if sample.template == template]
        its = variety(judges, [pictures[at] for at in mine], reader if template == alone else None)
        varied |= {"subject": its} if template == alone else {}
        scores = means(rows[at] for at in mine) | {"div": its.div if its else None}
        prompts[template] = PromptScores(
            **(scores if template else {**scores, "clip_t": None, "div": None}),
            elsewhere=elsewhere[template][mine].mean().item() if template in elsewhere else None,
        )
    drift = pres(judges.dino.images(class_pictures), photos.seen.dino) if class_pictures else None
    return Probed(
        step=step,
        **(means(prompts.values()) | {"pres": drift}),
        prompts=prompts,
        variety={of: its for of, its in varied.items() if its is not None},
        pictures=len(samples),
    )


def means(rows: Iterable[Scores]) -> dict[str, Any]:
    """The mean of each number over the rows that have it."""
    table, found = list(rows), {}
    for metric in fields(Scores):
        values = [value for row in table if (value := getattr(row, metric.name)) is not None]
        found[metric.name] = sum(values) / len(values) if values else None
    return found


def _elsewhere(judges: Judges, pictures: Pictures, places: Mapping[str, str]) -> dict[str, Tensor]:
    """For each template, the CLIP-T of each picture with the other places' sentences (N,); none for a single place."""
    if len(places) < 2:
        return {}
    fit = judges.clip.images(pictures) @ judges.clip.texts(list(places.values())).T  # (N, places)
    others = (fit.sum(1, keepdim=True) - fit) / (len(places) - 1)
    return dict(zip(places, others.T, strict=True))
