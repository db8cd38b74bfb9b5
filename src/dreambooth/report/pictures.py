"""The pictures of a run in the order a reader looks at them, each as a data URI without any metadata."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from PIL import Image

from dreambooth.data.pictures import open_image
from dreambooth.errors import PhotoError
from dreambooth.generation.prompts import CLASS_PROMPT
from dreambooth.generation.samples import Sample, drawn_by, opened, read_samples
from dreambooth.generation.sheet import fitted
from dreambooth.run import Run
from dreambooth.run.places import found
from dreambooth.run.records import CLASS_IMAGES
from dreambooth.subject import IDENTIFIER_SLOT, Subject
from dreambooth.support.progress import log

PHOTO_SIDE, SAMPLE_SIDE, STRIP_SIDE = 768, 1024, 512
"""Pixels of the longer side at most; smaller pictures are as they were drawn."""
CLASS_IMAGES_SHOWN, STEPS_SHOWN = 12, 10


@dataclass(frozen=True)
class Picture:
    """An image as a data URI, and what it shows in words."""

    uri: str
    alt: str


@dataclass(frozen=True)
class Stage:
    """The pictures of one prompt at one moment of the run, and what was measured of them, by name."""

    label: str
    pictures: tuple[Picture, ...]
    step: int | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """One prompt at several stages of the run; `words` is the prompt cut at the subject's name."""

    template: str
    words: tuple[str, ...]
    name: str
    kind: str
    stages: tuple[Stage, ...]


def picture(image: Image.Image, side: int, alt: str) -> Picture:
    """The image with its longer side at `side` pixels at most, as a WebP of nothing but pixels."""
    buffer = io.BytesIO()
    fitted(image, min(side, max(image.size))).save(buffer, format="WEBP", quality=86, method=3)
    return Picture(f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}", alt)


def photos(subject: Subject) -> list[Picture]:
    """The subject's photos, without those that have been moved away."""
    pictures = []
    for count, path in enumerate(subject.photos, start=1):
        alt = f"photo {count} of {len(subject.photos)}"
        try:
            pictures.append(picture(open_image(path, PHOTO_SIDE), PHOTO_SIDE, alt))
        except PhotoError as error:
            log.warning("the report leaves out a photo: %s", error)
    return pictures


def class_images(run: Run) -> list[Picture]:
    """Some of the class images that the run was trained with."""
    if (prior := CLASS_IMAGES.find(run.root)) is None:
        return []
    folder, pictures = found(prior.folder, run.root), []
    for path in (folder / file.name for file in prior.files[:CLASS_IMAGES_SHOWN]):
        try:
            image = open_image(path, SAMPLE_SIDE)
        except PhotoError:  # the library was moved or emptied since
            continue
        pictures.append(picture(image, SAMPLE_SIDE, f"{run.subject.class_prompt}, drawn by the base model"))
    return pictures


def before_and_after(run: Run) -> list[Comparison]:
    """Each prompt as the base model drew it, and as the finished one does."""
    return _comparisons(run.subject, {name: read_samples(run.samples / name) for name in ("before", "after")})


def hero(run: Run, samples: Sequence[Sample]) -> list[Picture]:
    """One of the photos, then the samples, each called what it was asked for; nothing where there is no sample."""
    first = photos(replace(run.subject, photos=run.subject.photos[:1])) if samples else []
    name = run.subject.class_noun
    return [
        *(Picture(its.uri, "one of the photos") for its in first),
        *(picture(opened(its), SAMPLE_SIDE, its.template.replace(IDENTIFIER_SLOT, name)) for its in samples),
    ]


def on_request(run: Run) -> list[Comparison]:
    """What was drawn with the finished model afterwards, and with one that it had before (`run.extend`)."""
    own = read_samples(run.samples / "own")
    now = drawn_by(read_samples(run.samples / "after"), own)
    older = [sample for sample in own if sample not in now]
    return _comparisons(run.subject, {"by the model before": older, "after": now})


def together(run: Run) -> list[Comparison]:
    """All subjects of a run in one picture, by the finished model; nothing where there is one alone."""
    drawn = _comparisons(run.subject, {"after": read_samples(run.samples / "together")})
    return [replace(each, words=(each.template,)) for each in drawn]  # no name in it is the only one


def while_training(run: Run, chosen: int | None) -> list[Comparison]:
    """Each prompt that was drawn again and again, at up to STEPS_SHOWN steps spread evenly, and the `chosen` one.

    Step 0 is the base model; it was asked for the class noun in place of the name, which means nothing to it.
    """
    folders = {int(folder.name[5:]): folder for folder in run.samples.glob("step-*") if folder.name[5:].isdigit()}
    samples = {step: read_samples(folders[step]) for step in sorted(folders)}
    steps = [step for step in samples if samples[step]]
    kinds = {s.template: s.kind for step in steps if step for s in samples[step] if s.kind != "class"}
    if 0 in steps:
        samples[0] = [
            sample if sample.template == CLASS_PROMPT.template else replace(sample, kind=kinds[sample.template])
            for sample in samples[0]
            if sample.template in {CLASS_PROMPT.template, *kinds}
        ]
    spread = {steps[round(at * (len(steps) - 1) / (STEPS_SHOWN - 1))] for at in range(STEPS_SHOWN)} if steps else set()
    shown = [step for step in steps if step in spread or step == chosen]
    labels = {"base model" if step == 0 else f"step {step}": step for step in shown}
    compared = _comparisons(run.subject, {label: samples[step] for label, step in labels.items()}, STRIP_SIDE)
    return [
        replace(each, stages=tuple(replace(stage, step=labels[stage.label]) for stage in each.stages))
        for each in compared
    ]


def _comparisons(subject: Subject, stages: Mapping[str, Sequence[Sample]], side: int = SAMPLE_SIDE) -> list[Comparison]:
    asked = dict.fromkeys((s.template, s.kind) for samples in [*stages.values()][::-1] for s in samples)
    comparisons = []
    for template, kind in asked:
        shown = []
        for label, samples in stages.items():
            same = [s for s in samples if (s.template, s.kind) == (template, kind)]
            pictures = tuple(picture(opened(s), side, f"{s.prompt}, {label}, seed {s.seed}") for s in same)
            if pictures:
                shown.append(Stage(label, pictures))
        of_class = template.split(IDENTIFIER_SLOT), subject.class_noun
        words, name = of_class if kind == "class" else (subject.fill(template).split(subject.name), subject.name)
        comparisons.append(Comparison(template, tuple(words), name, kind, tuple(shown)))
    return comparisons
