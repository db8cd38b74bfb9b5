"""Everything a run made, on one self-contained page that opens anywhere and asks the network for nothing."""

import base64
import importlib.metadata
import io
import json
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from dreambooth.chart import Chart, loss_chart
from dreambooth.config import Config, settings_reference
from dreambooth.errors import PhotoError
from dreambooth.files import write_text
from dreambooth.photos import open_image
from dreambooth.progress import duration, log
from dreambooth.run import Run
from dreambooth.samples import Sample, opened, read_samples
from dreambooth.sheet import fitted
from dreambooth.subject import IDENTIFIER_SLOT, Subject

PHOTO_SIDE, SAMPLE_SIDE = 480, 256
CLASS_IMAGES_SHOWN = 12
LIBRARIES = ("torch", "diffusers", "transformers", "numpy", "pillow")


@dataclass(frozen=True)
class Picture:
    """An image as a data URI, and what it shows in words."""

    uri: str
    alt: str


@dataclass(frozen=True)
class Comparison:
    """One prompt at several stages of the run; `words` is the prompt cut at the subject's name."""

    words: tuple[str, ...]
    name: str
    kind: str
    stages: tuple[tuple[str, tuple[Picture, ...]], ...]


@dataclass(frozen=True)
class Setting:
    """A row of the settings table; `default` is None where the run used it."""

    name: str
    value: str
    default: str | None
    description: str


def write_report(run: Run) -> Path:
    """Write run/report.html from what the run has made so far, and return its path.

    Sections whose stage has not run are left out. Pictures are embedded without any metadata of the original files.
    Raises RunError where a file of the run is damaged, DiskError where the page cannot be written.
    """
    environment = Environment(
        loader=PackageLoader("dreambooth"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["duration"] = duration
    write_text(run.report, environment.get_template("report.html.j2").render(_content(run)))
    return run.report


def _content(run: Run) -> dict[str, Any]:
    subject, config = run.subject, run.config
    stages = _stages(run.samples)
    ends = {label: samples for label, samples in stages.items() if label in ("before", "after")}
    between = {label: samples for label, samples in stages.items() if label not in ends}
    return {
        "subject": subject,
        "name": subject.name if subject.identifier else subject.class_noun,
        "base": Path(config.base.model).name if Path(config.base.model).is_dir() else config.base.model,
        "config": config,
        "photos": _photos(subject),
        "comparisons": [c for c in _comparisons(ends, subject) if c.kind != "class"],
        "training": [c for c in _comparisons(between, subject) if c.kind != "class"],
        "more": _comparisons({"after": read_samples(run.samples / "own")}, subject),
        "drift": [c for c in _comparisons(stages, subject) if c.kind == "class"],
        "chart": _chart(run.losses),
        "class_images": _class_images(run, subject),
        "settings": _settings(config),
        "versions": _versions(),
        "timings": run.read_json("timings.json") if (run.root / "timings.json").is_file() else {},
        "snippet": _snippet(subject, config) if subject.identifier else "",
        "has_model": (run.model / "model_index.json").is_file(),
    }


def _picture(image: Image.Image, side: int, alt: str) -> Picture:
    buffer = io.BytesIO()
    fitted(image, side).save(buffer, format="JPEG", quality=88, subsampling=0)
    return Picture(f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}", alt)


def _photos(subject: Subject) -> list[Picture]:
    pictures = []
    for count, path in enumerate(subject.photos, start=1):
        try:
            pictures.append(
                _picture(open_image(path, PHOTO_SIDE), PHOTO_SIDE, f"photo {count} of {len(subject.photos)}")
            )
        except PhotoError as error:
            log.warning("the report leaves out a photo: %s", error)
    return pictures


def _stages(folder: Path) -> dict[str, list[Sample]]:
    """The samples of each stage that has any, in the order of the run: before, step by step, after."""

    def order(stage: Path) -> tuple[int, int]:
        number = stage.name.removeprefix("step-")
        return ({"before": 0, "after": 2}.get(stage.name, 1), int(number) if number.isdigit() else 0)

    found = sorted((stage for stage in folder.glob("*") if stage.is_dir()), key=order)
    known = [stage for stage in found if stage.name in ("before", "after") or stage.name.startswith("step-")]
    stages = {re.sub("-0*", " ", stage.name): read_samples(stage) for stage in known}
    return {label: samples for label, samples in stages.items() if samples}


def _comparisons(stages: dict[str, list[Sample]], subject: Subject) -> list[Comparison]:
    asked = dict.fromkeys((s.template, s.kind) for samples in stages.values() for s in samples)
    comparisons = []
    for template, kind in asked:
        shown = []
        for label, samples in stages.items():
            same = [s for s in samples if (s.template, s.kind) == (template, kind)]
            pictures = tuple(_picture(opened(s), SAMPLE_SIDE, f"{s.prompt}, {label}, seed {s.seed}") for s in same)
            if pictures:
                shown.append((label, pictures))
        name = subject.class_noun if kind == "class" else subject.name
        comparisons.append(Comparison(tuple(template.split(IDENTIFIER_SLOT)), name, kind, tuple(shown)))
    return comparisons


def _chart(losses: Path) -> Chart | None:
    """The curves of losses.jsonl; a step that was trained again after a resume counts once, as trained last."""
    rows: dict[int, dict[str, Any]] = {}
    for line in losses.read_text(encoding="utf-8").splitlines() if losses.is_file() else []:
        try:
            row = json.loads(line)
        except json.JSONDecodeError:  # the run is writing this line, or was killed while it did
            continue
        rows[row["step"]] = row
    steps = sorted(rows)
    terms: dict[str, Sequence[float]] = {
        name: [rows[step][key] for step in steps]
        for name, key in (("subject", "subject"), ("class prior", "prior"))
        if all(key in rows[step] for step in steps)
    }
    return loss_chart(steps, terms)


def _class_images(run: Run, subject: Subject) -> list[Picture]:
    if not (run.root / "prior.json").is_file():
        return []
    prior = run.read_json("prior.json")
    paths = [Path(prior["folder"]) / file["name"] for file in prior["files"][:CLASS_IMAGES_SHOWN]]
    pictures = []
    for path in filter(Path.is_file, paths):
        with Image.open(path) as image:
            pictures.append(_picture(image, SAMPLE_SIDE, f"{subject.class_prompt}, drawn by the base model"))
    return pictures


def _snippet(subject: Subject, config: Config) -> str:
    prompt = subject.fill("a {} in the snow")
    settings = config.generation
    return (
        "from diffusers import DiffusionPipeline\n\n"
        'pipeline = DiffusionPipeline.from_pretrained("model")\n'
        f"prompt = {json.dumps(prompt, ensure_ascii=False)}\n"
        f"steps, guidance = {settings.num_inference_steps}, {settings.guidance_scale}\n"
        "image = pipeline(prompt, num_inference_steps=steps, guidance_scale=guidance).images[0]\n"
        'image.save("picture.png")'
    )


def _settings(config: Config) -> list[Setting]:
    """Every setting, those that differ from the defaults of their base model first."""
    mine, usual = config.flat(), Config.build({"model": config.base.model}).flat()
    rows = [
        Setting(
            name=name,
            value=_said(mine[name]),
            default=None if mine[name] == usual[name] else _said(usual[name]),
            description=field.description or "",
        )
        for _, name, field in settings_reference()
    ]
    return sorted(rows, key=lambda row: row.default is None)


def _said(value: Any) -> str:
    if value is None or value == ():
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return "; ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _versions() -> dict[str, str]:
    """What wrote this page, as installed now."""
    versions = {"Python": platform.python_version()}
    for library in ("dreambooth", *LIBRARIES):
        try:
            versions[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:  # the package run from its source tree
            continue
    return versions
