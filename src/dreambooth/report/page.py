"""Everything a run made, on one self-contained page that opens anywhere and asks the network for nothing."""

import importlib.metadata
import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from dreambooth.config import Config, settings_reference
from dreambooth.config.presets import preset_of
from dreambooth.evaluation import CHOICES
from dreambooth.evaluation.ways import percent
from dreambooth.report import pictures as album
from dreambooth.report.charts import MetricChart, Scatter, loss_chart, metric_chart, scatter
from dreambooth.report.pictures import Comparison
from dreambooth.run import Run
from dreambooth.run.records import Measured, read_losses, read_measured, read_timings
from dreambooth.subject import Subject
from dreambooth.support.files import write_text
from dreambooth.support.progress import duration

SCHEDULERS = {
    "ddpm": "DDPMScheduler",
    "ddim": "DDIMScheduler",
    "euler": "EulerDiscreteScheduler",
    "dpmsolver++": "DPMSolverMultistepScheduler",
}
"""diffusers' names of our samplers."""
LIBRARIES = ("torch", "diffusers", "transformers", "numpy", "pillow")

METRICS = {
    "dino": ("DINO", "Do the pictures look like the photos? The paper's measure of the subject.", "higher"),
    "usual_dino": ("usual DINO", "DINO against the median photo: one may be odd.", "higher"),
    "clip_i": ("CLIP-I", "The same question, put to CLIP.", "higher"),
    "clip_t": ("CLIP-T", "Do the pictures show what the prompt asks for?", "higher"),
    "pres": ("PRES", "Do pictures of the bare class look like the photos? Then the class has drifted.", "lower"),
    "masked_dino": ("subject DINO", "DINO without what is behind the subject.", "higher"),
    "nearest_photo": ("nearest photo", "How like the one photo nearest to it is a picture? Near 1 it is a copy.", ""),
    "subject_scenes": ("scenes, subject", "In how many scenes is it where the prompt names none? Effective.", "higher"),
    "subject_div": ("DIV, subject", "How different are these pictures from each other?", "higher"),
    "class_scenes": ("scenes, class", "In how many scenes is the bare class? Effective number.", "higher"),
    "class_div": ("DIV, class", "How different are pictures of the bare class from each other?", "higher"),
}
"""What each number of a probe is called, what it says, and which way is better."""

REAL = {"pres": "dino"}
"""The photos' number that another one goes towards."""

STAGES = {
    "load": "opening the model",
    "identifier": "the identifier",
    "prior": "class images",
    "samples before": "pictures before",
    "samples untuned": "pictures without the name",
    "finetune": "fine-tuning",
    "probe": "probes",
    "samples after": "pictures after",
    "score": "scoring the pictures",
}
"""The stages of timings.json in words."""


LEARNED = {
    "dreambooth": "was fine-tuned on",
    "lora": "was fine-tuned with LoRA on",
    "textual_inversion": "learned a new word from",
    "pivotal": "learned a new word, and what it needs to draw it, from",
}
"""What the base model did with the photos, by method."""


@dataclass(frozen=True)
class Metric:
    """One number over the training; `value` is that of the recommended checkpoint, else of the last probe."""

    key: str
    name: str
    says: str
    better: str
    value: float
    chart: MetricChart


@dataclass(frozen=True)
class Change:
    """One number of the untuned and of the recommended weights, and the way between in words."""

    untuned: float | None = None
    now: float | None = None
    says: str = ""


@dataclass(frozen=True)
class Standing:
    """One number of the photos, and its change in the probe's pictures and in the final samples."""

    name: str
    photos: float | None
    changes: tuple[Change, Change]


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
    write_text(run.report, _page().render(_content(run)))
    return run.report


@cache
def _page() -> Template:
    return page_template("report.html.j2", sentence=_sentence)


def page_template(name: str, **filters: Callable[..., str]) -> Template:
    """A page of templates/: every value escaped, a missing one an error; `duration` and `filters` are its filters."""
    environment = Environment(
        loader=PackageLoader("dreambooth.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"duration": duration, **filters}
    return environment.get_template(name)


def _content(run: Run) -> dict[str, Any]:
    subject, config, measured = run.subject, run.config, read_measured(run)
    compared, strips = album.before_and_after(run), _strips(run, measured)
    return {
        "subject": subject,
        "names": {key: name for key, (name, _, _) in METRICS.items()},
        "learned": LEARNED.get(config.method.method),
        "name": subject.name if subject.identifier else subject.class_noun,
        "base": Path(config.base.model).name if Path(config.base.model).is_dir() else config.base.model,
        "config": config,
        "photos": album.photos(subject),
        "comparisons": [comparison for comparison in compared if comparison.kind != "class"],
        "more": album.on_request(run),
        "drift": [comparison for comparison in compared if comparison.kind == "class"],
        "drifting": [strip for strip in strips if strip.kind == "class"],
        "training": [strip for strip in strips if strip.kind != "class"],
        "measured": measured,
        "metrics": _metrics(measured),
        "standing": _standing(measured),
        "has_samples": measured.samples is not None and bool(measured.samples.ways),
        "scatter": _scatter(measured),
        "choices": {about: choice for about, choice in CHOICES.items() if about != "interval"},
        "chart": loss_chart(*read_losses(run)),
        "class_images": album.class_images(run),
        "adapter_files": sorted(file.name for file in run.adapter.glob("*")),
        "settings": _settings(config),
        "versions": _versions(),
        "timings": {STAGES.get(stage, stage): seconds for stage, seconds in read_timings(run).items()},
        "snippet": _snippet(subject, config) if subject.identifier else "",
        "has_model": (run.model / "model_index.json").is_file(),
    }


def _strips(run: Run, measured: Measured) -> list[Comparison]:
    """What was drawn while it trained, with the numbers of the pictures: PRES of the class, else DINO and CLIP-T."""

    def numbers(strip: Comparison, step: int | None) -> dict[str, float]:
        if step is None:
            return {}
        row = measured.prompts.get(step, {}).get(strip.template, {})
        keys, row = (("pres",), measured.probes.get(step, {})) if strip.kind == "class" else (("dino", "clip_t"), row)
        return {METRICS[key][0]: row[key] for key in keys if key in row}

    return [
        replace(strip, stages=tuple(replace(stage, numbers=numbers(strip, stage.step)) for stage in strip.stages))
        for strip in album.while_training(run, measured.chosen)
    ]


def _metrics(measured: Measured) -> list[Metric]:
    metrics = []
    for key, (name, says, better) in METRICS.items():
        values = measured.over_training(key)
        levels = {"the photos": measured.real.get(key), "the base model": values.get(0)}
        known = {level: value for level, value in levels.items() if value is not None}
        if chart := metric_chart(values, known, measured.chosen):
            value = values[max(values)] if measured.chosen not in values else values[measured.chosen]
            metrics.append(Metric(key, name, says, better, value, chart))
    return metrics


def _standing(measured: Measured) -> list[Standing]:
    """How far the recommended checkpoint has gone, and what it has kept, by the probe and by the samples."""
    if not (verdict := measured.recommendation):
        return []
    untuned, now = (measured.probes.get(step, {}) for step in (0, verdict.step))
    probe, samples = _changes(untuned, now, verdict.ways, verdict.kept), {}
    if drawn := measured.samples:
        samples = _changes(drawn.scores("untuned"), drawn.scores("tuned"), drawn.ways, drawn.kept)
    return [
        Standing(name, measured.real.get(REAL.get(key, key)), (probe.get(key, Change()), samples.get(key, Change())))
        for key, (name, _, _) in METRICS.items()
        if key in probe or key in samples
    ]


def _changes(
    untuned: Mapping[str, float],
    now: Mapping[str, float],
    ways: Mapping[str, float | None],
    kept: Mapping[str, float],
) -> dict[str, Change]:
    says = {key: "the base model draws this" if way is None else percent(way) for key, way in ways.items()}
    says |= {key: f"{percent(share)} kept" for key, share in kept.items()}
    return {key: Change(untuned.get(key), now.get(key), told) for key, told in says.items()}


def _scatter(measured: Measured) -> Scatter | None:
    fidelity, following = measured.over_training("dino"), measured.over_training("clip_t")
    both = {step: (following[step], fidelity[step]) for step in fidelity if step in following}
    return scatter(both, measured.real.get("dino"), measured.chosen)


def _snippet(subject: Subject, config: Config) -> str:
    prompt = subject.fill("a {} in the snow")
    settings, scheduler = config.generation, SCHEDULERS[config.generation.sampler]
    return (
        f"from diffusers import DiffusionPipeline, {scheduler}\n\n"
        'pipeline = DiffusionPipeline.from_pretrained("model")\n'
        f"pipeline.scheduler = {scheduler}.from_config(pipeline.scheduler.config)\n"
        f"prompt = {json.dumps(prompt, ensure_ascii=False)}\n"
        f"steps, guidance = {settings.num_inference_steps}, {settings.guidance_scale}\n"
        "image = pipeline(prompt, num_inference_steps=steps, guidance_scale=guidance).images[0]\n"
        'image.save("picture.png")'
    )


def _settings(config: Config) -> list[Setting]:
    """Every setting, those that differ from the defaults of their base model and method first."""
    mine = config.flat()
    usual = Config().flat() | {"model": config.base.model} | preset_of(config.base.model, config.method.method)
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


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


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
