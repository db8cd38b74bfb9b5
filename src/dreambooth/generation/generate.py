"""Section 4: requests -> samples, from the same noise before and after the fine-tuning."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path

from PIL import Image

from dreambooth.config.settings import without_place
from dreambooth.data.pictures import open_image
from dreambooth.errors import PhotoError
from dreambooth.generation.drawing import draw_in_place, is_blank, warn_of_long
from dreambooth.generation.prompts import Prompt
from dreambooth.generation.requests import Request, requests, sampling_of, seeds
from dreambooth.generation.samples import Sample as Sample
from dreambooth.generation.samples import opened, sample, save_sample, text_of
from dreambooth.generation.samples import read_samples as read_samples
from dreambooth.generation.sheet import Row, lay_out, save_below
from dreambooth.models.base import DiffusionModel, Sampling
from dreambooth.run import Run
from dreambooth.support.files import key_of, require_space
from dreambooth.support.progress import log, track

SHEET = 1_000_000
"""Bytes of a contact sheet at most: more is refused by forums and chats."""
PHOTOS, PROMPTS, ACROSS = 12, 60, 8
"""How many photos, prompts, and pictures of a prompt before and after it shows, the first ones: JPEG ends at 65,500
pixels a side."""


def generate(
    model: DiffusionModel,
    requests: Sequence[Request],
    sampling: Sampling,
    folder: Path,
    batch_size: int,
    *,
    keep_others: bool = False,
) -> list[Sample]:
    """Draw every request into `folder`, in its order; files are named <number of the prompt>-<slug>-<seed>.png.

    The slug of a class prompt begins with "class": "a <dog>" and "a dog" are otherwise the same file.
    batch_size: samples drawn together, cut from all requests; the last bits of a sample depend on the others of its
    batch. What a sample was drawn from is stored inside it as PNG text; one that is there already and was drawn from
    the same weights, words and settings is kept. One of other weights or settings is replaced; with `keep_others` it
    stays, as names then end with a hash of all that a sample was drawn from. The stage in the text is the folder's
    name. Raises DiskError where there is no room, ModelError where the model draws no numbers.
    """
    texts = _texts(model, requests, sampling, folder, keep_others)
    paths = list(texts)
    lacking = [at for at, path in enumerate(paths) if text_of(path) != texts[path]]
    require_space(
        folder, len(lacking) * 3 * model.resolution**2, "drawing the samples", "move the run to a larger disk"
    )
    sentences, numbers = [text["prompt"] for text in texts.values()], [int(text["seed"]) for text in texts.values()]
    warn_of_long(model, sentences)
    if keep_others and len(lacking) < len(paths):
        log.info(
            "%d of %d samples are there already: the same words, seed, settings and model are the same sample. Another "
            "--seed draws others.",
            len(paths) - len(lacking),
            len(paths),
        )
    images = draw_in_place(model, sentences, numbers, sampling, batch_size, set(lacking))
    for _ in track(lacking, f"samples ({folder.name})", len(texts) - len(lacking), batch_size):
        at, image, _ = next(images)
        if is_blank(image):
            log.warning('"%s" with seed %d is one colour throughout: %s', sentences[at], numbers[at], paths[at])
        save_sample(Image.fromarray(image), paths[at], texts[paths[at]])
    return [sample(path, text) for path, text in texts.items()]


def generate_in(
    run: Run,
    model: DiffusionModel,
    stage: str,
    prompts: Sequence[Prompt],
    count: int | None = None,
    sampling: Sampling | None = None,
) -> list[Sample]:
    """The prompts to samples/<stage> of a run, at its seeds and in its batches.

    count: samples of each prompt, sampling: how they are drawn [default: as the run has it].
    """
    config = run.config
    numbers = seeds(config.seed, count or config.generation.num_images_per_prompt)
    wanted = requests(prompts, run.subject, numbers)
    sampling = sampling or sampling_of(config.generation)
    return generate(model, wanted, sampling, run.samples / stage, config.prior.sample_batch_size)


def contact_sheet(target: Path, photos: Sequence[Path], before: Sequence[Sample], after: Sequence[Sample]) -> None:
    """Write one JPEG of at most SHEET bytes: the photos, then a row for each prompt with its pictures before and after.

    Pictures below 128 pixels are doubled or trebled, so that a person can see them. Of many it shows the first. A photo
    that has been moved away is left out; where there is nothing to show, nothing is written.
    """
    rows = []
    prompts = dict.fromkeys((s.template, s.kind, s.prompt) for s in [*before, *after])
    for template, kind, prompt in islice(prompts, PROMPTS):
        pictures = [
            (heading, _drawn(samples, template, kind)) for heading, samples in (("before", before), ("after", after))
        ]
        rows.append(Row(f"{prompt}   ({kind})", tuple(group for group in pictures if group[1])))
    sides = [max(picture.size) for row in rows for _, pictures in row.groups for picture in pictures]
    tile = _tile(max(sides, default=192))
    found = tuple(islice(_found(photos, tile), PHOTOS))
    if found:
        label = f"the first {PHOTOS} of {len(photos)} photos" if len(found) == PHOTOS < len(photos) else "the photos"
        rows.insert(0, Row(label, (("", found),)))
    if rows:
        save_below(lay_out(rows, tile), target, SHEET)


def _drawn(samples: Sequence[Sample], template: str, kind: str) -> tuple[Image.Image, ...]:
    its = (sample for sample in samples if (sample.template, sample.kind) == (template, kind))
    return tuple(map(opened, islice(its, ACROSS)))


def _found(photos: Sequence[Path], side: int) -> Iterator[Image.Image]:
    for photo in photos:
        try:
            yield open_image(photo, at_least=side)
        except PhotoError as error:
            log.warning("the contact sheet leaves out a photo: %s", error)


def _tile(side: int) -> int:
    return side * 3 if side < 96 else side * 2 if side < 128 else min(side, 256)


def _texts(
    model: DiffusionModel, requests: Sequence[Request], sampling: Sampling, folder: Path, keep_others: bool
) -> dict[Path, dict[str, str]]:
    """The text of every sample to be had, by its path; of a local model only its own name, as samples travel."""
    shared = {
        "model": without_place(model.name),
        "world": model.world,
        "weights": model.fingerprint(),
        "stage": folder.name,
        **{name: str(value) for name, value in asdict(sampling).items()},
    }
    places: dict[str, int] = {}
    texts = {}
    for request in requests:
        text = {name: str(value) for name, value in asdict(request).items()} | shared
        place = places.setdefault(f"{request.kind} {request.template}", len(places))
        name = f"{_slug(request)}-{request.seed}"
        texts[folder / (f"{name}-{key_of(text, 5)}.png" if keep_others else f"{place:02d}-{name}.png")] = text
    return texts


def _slug(request: Request) -> str:
    plain = re.sub(r"[^a-z0-9]+", "-", request.prompt.lower())[:60].strip("-") or "prompt"
    return f"class-{plain}" if request.kind == "class" else plain
