"""All of section 4.2's numbers for pictures of one subject."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from dreambooth.data.pictures import crop_square, open_image, square_scores
from dreambooth.evaluation import metrics
from dreambooth.evaluation.base import Judges, Pictures
from dreambooth.evaluation.masks import Look, alone, look_of
from dreambooth.run.records import Scores
from dreambooth.subject import Subject

LOOKED_AT = 1024
"""Pixels a side that a photo keeps for its judges, who look at 224: all photos of a run are open at a time."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """What the judges see in N pictures. dino, clip: embeddings (N, D).  masked: DINO's of the subject alone (N, D).

    found: whether there is a subject to mask, (N,) bool.
    """

    dino: Tensor
    clip: Tensor
    masked: Tensor
    found: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Photos:
    """A subject's photos to the judges; made once. look: tells the subject from its background in any picture."""

    seen: Seen
    look: Look

    @property
    def real_row(self) -> Scores:
        """Table 1's "Real Images" for this subject: the photos against each other; None throughout for one photo.

        What a picture has against the median photo, or the nearest, is the median photo's against the others. Two
        photos cannot tell how near the nearest of several is.
        """
        seen = self.seen
        return Scores(
            dino=metrics.real_row(seen.dino),
            median_dino=metrics.among_themselves(seen.dino, metrics.median_resemblance),
            clip_i=metrics.real_row(seen.clip),
            masked_dino=metrics.among_themselves(seen.masked[seen.found], metrics.median_resemblance),
            nearest_photo=metrics.among_themselves(seen.dino, metrics.nearest_photo) if len(seen.dino) > 2 else None,
        )


def measure_photos(judges: Judges, photos: Sequence[Path]) -> Photos:
    """Look at a subject's photos, each cut to its square; raises PhotoError for one that cannot be used."""
    squares = open_squares(photos)
    look = look_of(judges.dino.patches(squares))
    return Photos(seen=_see(judges, look, squares), look=look)


def open_squares(photos: Sequence[Path]) -> list[Image.Image]:
    """The square of most detail of each photo; raises PhotoError for one that cannot be used."""
    return [_square(photo) for photo in photos]


def score(
    judges: Judges,
    photos: Photos,
    pictures: Pictures,
    scored_prompts: Sequence[str],
    class_pictures: Pictures | None = None,
) -> Scores:
    """The scores of the pictures together.

    scored_prompts: one for each picture, as `scored_prompt` makes them; pictures of one prompt are the pairs of DIV.
    class_pictures: pictures of "a [class noun]", for PRES.  Raises ValueError where there are no pictures, or not as
    many prompts.
    """
    _require_prompts(pictures, scored_prompts)
    real, seen = photos.seen, _see(judges, photos.look, pictures)
    apart = torch.cat([judges.perceptual.among(those) for those in _by_prompt(pictures, scored_prompts)])
    return Scores(
        dino=metrics.dino(seen.dino, real.dino),
        median_dino=metrics.median_resemblance(seen.dino, real.dino).mean().item(),
        clip_i=metrics.clip_i(seen.clip, real.clip),
        clip_t=metrics.clip_t(seen.clip, judges.clip.texts(scored_prompts)),
        pres=metrics.pres(judges.dino.images(class_pictures), real.dino) if class_pictures else None,
        div=metrics.div(apart) if len(apart) else None,
        masked_dino=_number(_masked(seen, real).nanmean()),
        nearest_photo=metrics.nearest_photo(seen.dino, real.dino).mean().item(),
    )


def score_each(judges: Judges, photos: Photos, pictures: Pictures, scored_prompts: Sequence[str]) -> list[Scores]:
    """The scores of each picture by itself: their means are those of `score`. PRES and DIV take several and are None.

    Raises ValueError as `score` does.
    """
    _require_prompts(pictures, scored_prompts)
    real, seen = photos.seen, _see(judges, photos.look, pictures)
    columns = {
        "dino": metrics.resemblance(seen.dino, real.dino),
        "median_dino": metrics.median_resemblance(seen.dino, real.dino),
        "clip_i": metrics.resemblance(seen.clip, real.clip),
        "clip_t": metrics.agreement(seen.clip, judges.clip.texts(scored_prompts)),
        "masked_dino": _masked(seen, real),
        "nearest_photo": metrics.nearest_photo(seen.dino, real.dino),
    }
    return [Scores(**{name: _number(column[at]) for name, column in columns.items()}) for at in range(len(pictures))]


def scored_prompt(template: str, subject: Subject) -> str:
    """What CLIP-T reads: the class noun where the subject's name stands, "a dog in the snow" (metrics.CHOICES).

    template: with "{}" for the name, or with the name itself in the user's own words.
    """
    return subject.unnamed(template)


def _see(judges: Judges, look: Look, pictures: Pictures) -> Seen:
    evidence = torch.cat([look.evidence(judges.dino.patches([picture])) for picture in pictures])
    return Seen(
        dino=judges.dino.images(pictures),
        clip=judges.clip.images(pictures),
        masked=judges.dino.images(alone(pictures, evidence)),
        found=evidence.amax((1, 2)) > 0,
    )


def _masked(seen: Seen, real: Seen) -> Tensor:
    """The median resemblance (N,) of the subjects alone; NaN for a picture, or for photos, in which there is none."""
    if not real.found.any():
        return torch.full((len(seen.found),), torch.nan)
    return torch.where(seen.found, metrics.median_resemblance(seen.masked, real.masked[real.found]), torch.nan)


def _number(value: Tensor) -> float | None:
    return None if value.isnan() else value.item()


def _by_prompt(pictures: Pictures, scored_prompts: Sequence[str]) -> Iterator[Pictures]:
    for prompt in dict.fromkeys(scored_prompts):
        yield [picture for picture, asked in zip(pictures, scored_prompts, strict=True) if asked == prompt]


def _square(photo: Path) -> Image.Image:
    image = open_image(photo, at_least=LOOKED_AT)
    detail = square_scores(image)
    return crop_square(image, int(detail.argmax()) / max(len(detail) - 1, 1), min(image.size))


def _require_prompts(pictures: Pictures, scored_prompts: Sequence[str]) -> None:
    if not pictures or len(pictures) != len(scored_prompts):
        raise ValueError(f"every picture needs its prompt, got {len(pictures)} pictures, {len(scored_prompts)} prompts")
