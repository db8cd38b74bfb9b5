"""Section 4: prompts x seeds -> pictures, drawn alike before and after the fine-tuning."""

import re
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

import torch
from PIL import Image

from dreambooth.config import Config
from dreambooth.errors import PhotoError
from dreambooth.files import require_space, written_aside
from dreambooth.models.base import DiffusionModel, Sampling
from dreambooth.photos import open_image
from dreambooth.progress import log, track
from dreambooth.prompts import Prompt, own_prompts, prompts_for
from dreambooth.rng import generator
from dreambooth.samples import Sample as Sample
from dreambooth.samples import opened, sample, save_sample, text_of
from dreambooth.samples import read_samples as read_samples
from dreambooth.sheet import Row, lay_out
from dreambooth.subject import IDENTIFIER_SLOT, Subject


def generate(
    model: DiffusionModel, subject: Subject, config: Config, folder: Path, prompts: Sequence[Prompt] | None = None
) -> list[Sample]:
    """Draw every prompt at every seed into `folder`, named <index>-<slug>-<seed>.png, prompt by prompt.

    The slug of a class prompt begins with "class": "a <dog>" and "a dog" are otherwise the same file.
    prompts: by default those of `chosen_prompts`. Seeds depend on the settings alone, so two folders compare picture
    by picture. What a picture was drawn from is stored inside it as PNG text; one that is there already and was drawn
    from the same weights, words and settings is kept. The stage in the text is the folder's name.
    Raises PromptError for an unusable prompt, DiskError where there is no room.
    """
    chosen = chosen_prompts(config.base.model, subject, config) if prompts is None else prompts
    texts = _texts(model, subject, config, folder, chosen)
    wanted = {path: text for path, text in texts.items() if text_of(path) != text}
    require_space(folder, len(wanted) * 3 * model.resolution**2, "drawing the pictures")
    settings = config.generation
    sampling = Sampling(
        sampler=settings.sampler,
        num_inference_steps=settings.num_inference_steps,
        guidance_scale=settings.guidance_scale,
    )
    paths = list(wanted)
    size = config.prior.sample_batch_size
    batches = [paths[at : at + size] for at in range(0, len(paths), size)]
    for batch in track(batches, f"pictures ({folder.name})", done=(len(texts) - len(wanted)) // size):
        images = model.generate(
            [wanted[path]["prompt"] for path in batch], [int(wanted[path]["seed"]) for path in batch], sampling
        )
        for path, image in zip(batch, images, strict=True):
            save_sample(Image.fromarray(image), path, wanted[path])
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
    model: DiffusionModel, subject: Subject, config: Config, folder: Path, prompts: Sequence[Prompt]
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
        plain = re.sub(r"[^a-z0-9]+", "-", sentence.lower())[:60].strip("-") or "prompt"
        slug = f"class-{plain}" if prompt.kind == "class" else plain
        asked = {"prompt": sentence, "template": prompt.template, "kind": prompt.kind, "seed": str(seed)}
        texts[folder / f"{index:02d}-{slug}-{seed}.png"] = asked | shared
    return texts
