"""Section 4: prompts x seeds -> pictures, drawn alike before and after the fine-tuning."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path

import torch
from PIL import Image

from dreambooth.config import Config
from dreambooth.data.photos import open_image
from dreambooth.errors import PhotoError
from dreambooth.generation.drawing import draw_in_place, is_blank, warn_of_long
from dreambooth.generation.prompts import Prompt, own_prompts, prompts_for
from dreambooth.generation.samples import Sample as Sample
from dreambooth.generation.samples import opened, sample, save_sample, text_of
from dreambooth.generation.samples import read_samples as read_samples
from dreambooth.generation.sheet import Row, lay_out
from dreambooth.models.base import DiffusionModel, Sampling
from dreambooth.subject import IDENTIFIER_SLOT, Subject
from dreambooth.support.files import require_space, written_aside
from dreambooth.support.progress import log, track
from dreambooth.support.rng import generator


def generate(
    model: DiffusionModel,
    subject: Subject,
    config: Config,
    folder: Path,
    prompts: Sequence[Prompt] | None = None,
    *,
    keep_others: bool = False,
) -> list[Sample]:
    """Draw every prompt at every seed into `folder`, named <index>-<slug>-<seed>.png, prompt by prompt.

    The slug of a class prompt begins with "class": "a <dog>" and "a dog" are otherwise the same file.
    prompts: by default those of `chosen_prompts`. Seeds depend on the settings alone, so two folders compare picture
    by picture. What a picture was drawn from is stored inside it as PNG text; one that is there already and was drawn
    from the same weights, words and settings is kept. One of other weights or settings is replaced; with `keep_others`
    it stays, as names then end with a hash of all that a picture was drawn from. The stage in the text is the folder's
    name. Raises PromptError for an unusable prompt, DiskError where there is no room, ModelError where the model draws
    no numbers.
    """
    chosen = chosen_prompts(config.base.model, subject, config) if prompts is None else prompts
    texts = _texts(model, subject, config, folder, chosen, keep_others)
    paths, size = list(texts), config.prior.sample_batch_size
    lacking = [at for at, path in enumerate(paths) if text_of(path) != texts[path]]
    require_space(folder, len(lacking) * 3 * model.resolution**2, "drawing the pictures")
    settings = config.generation
    sampling = Sampling(
        sampler=settings.sampler,
        num_inference_steps=settings.num_inference_steps,
        guidance_scale=settings.guidance_scale,
    )
    sentences, numbers = [text["prompt"] for text in texts.values()], [int(text["seed"]) for text in texts.values()]
    warn_of_long(model, sentences)
    images = draw_in_place(model, sentences, numbers, sampling, size, set(lacking))
    for _ in track(lacking, f"pictures ({folder.name})", done=len(texts) - len(lacking)):
        at, image = next(images)
        if is_blank(image):
            log.warning('"%s" with seed %d is one colour throughout: %s', sentences[at], numbers[at], paths[at])
        save_sample(Image.fromarray(image), paths[at], texts[paths[at]])
    return [sample(path, text) for path, text in texts.items()]


def chosen_prompts(model_name: str, subject: Subject, config: Config) -> tuple[Prompt, ...]:
    """The user's prompts, or those that fit the model and the class; either way the class prompt is the last.

    Raises PromptError for a prompt that cannot be used.
    """
    own = config.generation.prompts
    return own_prompts(own) if own else prompts_for(model_name, subject.class_noun)


def words(prompt: Prompt, subject: Subject) -> str:
    """What the model reads: the template with the subject's name, or for the class prompt its class noun alone."""
    if prompt.kind == "class":
        return prompt.template.replace(IDENTIFIER_SLOT, subject.class_noun)
    return subject.fill(prompt.template)


def seeds(config: Config) -> list[int]:
    """The seeds of every prompt: distinct, below a million, and a function of config.seed.

    The seeds of class images begin at a million: from the noise of a class image that was trained on, the class prompt
    would hide a drift.
    """
    order = torch.randperm(10**6, generator=generator(config.seed, "samples"))
    return [int(seed) for seed in order[: config.generation.num_images_per_prompt]]


def contact_sheet(target: Path, photos: Sequence[Path], before: Sequence[Sample], after: Sequence[Sample]) -> None:
    """Write one PNG: the photos, then a row for each prompt with its pictures before and after.

    Pictures below 128 pixels are doubled or trebled, so that a person can see them. A photo that has been moved away is
    left out; where there is nothing to show, nothing is written.
    """
    rows = []
    for template, kind, prompt in dict.fromkeys((s.template, s.kind, s.prompt) for s in [*before, *after]):
        groups = [("before", before), ("after", after)]
        pictures = [
            (heading, tuple(opened(s) for s in samples if (s.template, s.kind) == (template, kind)))
            for heading, samples in groups
        ]
        rows.append(Row(f"{prompt}   ({kind})", tuple(group for group in pictures if group[1])))
    sides = [max(picture.size) for row in rows for _, pictures in row.groups for picture in pictures]
    found = tuple(_found(photos))
    if found:
        rows.insert(0, Row("the photos", (("", found),)))
    if rows:
        with written_aside(target) as aside:
            lay_out(rows, _tile(max(sides, default=192))).save(aside, format="PNG")


def _found(photos: Sequence[Path]) -> Iterator[Image.Image]:
    for photo in photos:
        try:
            yield open_image(photo)
        except PhotoError as error:
            log.warning("the contact sheet leaves out a photo: %s", error)


def _tile(side: int) -> int:
    return side * 3 if side < 96 else side * 2 if side < 128 else min(side, 256)


def _texts(
    model: DiffusionModel,
    subject: Subject,
    config: Config,
    folder: Path,
    prompts: Sequence[Prompt],
    keep_others: bool,
) -> dict[Path, dict[str, str]]:
    """The text of every picture to be had, by its path; of a local model only its own name, as pictures travel."""
    settings, base = config.generation, config.base.model
    shared = {
        "model": Path(base).name if Path(base).exists() else base,
        "weights": model.fingerprint(),
        "stage": folder.name,
        "sampler": settings.sampler,
        "num_inference_steps": str(settings.num_inference_steps),
        "guidance_scale": str(settings.guidance_scale),
    }
    texts = {}
    for (index, prompt), seed in product(enumerate(prompts), seeds(config)):
        sentence = words(prompt, subject)
        asked = {"prompt": sentence, "template": prompt.template, "kind": prompt.kind, "seed": str(seed)}
        text = asked | shared
        mark = f"-{_digest(text)}" if keep_others else ""
        texts[folder / f"{index:02d}-{_slug(sentence, prompt)}-{seed}{mark}.png"] = text
    return texts


def _slug(sentence: str, prompt: Prompt) -> str:
    plain = re.sub(r"[^a-z0-9]+", "-", sentence.lower())[:60].strip("-") or "prompt"
    return f"class-{plain}" if prompt.kind == "class" else plain


def _digest(text: Mapping[str, str]) -> str:
    return hashlib.blake2b(json.dumps(text, sort_keys=True).encode(), digest_size=5).hexdigest()
