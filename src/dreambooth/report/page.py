"""Everything a run made, on one self-contained page that opens anywhere and asks the network for nothing."""

import base64
import hashlib
import importlib.metadata
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from dreambooth.config import Config, settings_reference
from dreambooth.evaluation import CHOICES
from dreambooth.evaluation.names import METRIC_NAMES
from dreambooth.generation.samples import read_samples
from dreambooth.report import measures
from dreambooth.report import pictures as album
from dreambooth.report.best import best, why
from dreambooth.report.card import CARD
from dreambooth.report.snippets import adapter_snippet, base_name, model_snippet
from dreambooth.run import Run
from dreambooth.run.choice import by_hand
from dreambooth.run.companions import each
from dreambooth.run.measured import read_measured
from dreambooth.run.records import LOSSES
from dreambooth.run.timing import STAGES, read_plan, read_timings
from dreambooth.subject import Subject
from dreambooth.support.files import write_text
from dreambooth.support.model_index import MODEL_INDEX
from dreambooth.support.progress import duration

LIBRARIES = ("torch", "diffusers", "transformers", "numpy", "pillow")

SCRIPT = files("dreambooth.report").joinpath("templates", "report.js").read_text(encoding="utf-8")
"""All that runs on the page; its hash is in the page's policy, and nothing else may run."""

LEARNED = {
    "dreambooth": "was fine-tuned on",
    "lora": "was fine-tuned with LoRA on",
    "textual_inversion": "learned a new word from",
    "pivotal": "learned a new word, and what it needs to draw it, from",
}
"""What the base model did with the photos, by method."""


@dataclass(frozen=True)
class Setting:
    """A row of the settings table; `default` is None where the run used it."""

    name: str
    value: str
    default: str | None
    description: str


@dataclass(frozen=True)
class Other:
    """Another subject of the same model, and where its page is, seen from this one."""

    name: str
    page: str


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
    compared = album.before_and_after(run)
    strips = [measures.with_numbers(strip, measured) for strip in album.while_training(run, measured.chosen)]
    verdict = measured.recommendation
    chosen = by_hand(run) is not None
    return {
        "script": Markup(SCRIPT),
        "script_hash": base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode(),
        "hero": album.hero(run, best(read_samples(run.samples / "after"), measured)),
        "why": why(verdict, chosen, measured.samples) if verdict else "",
        "word": "chosen by hand" if chosen else "recommended",
        "share": run.share.name if run.share.is_file() else "",
        "subject": subject,
        "names": METRIC_NAMES,
        "learned": LEARNED.get(config.method.method),
        "name": _name(subject),
        "others": _others(run),
        "base": base_name(config),
        "config": config,
        "photos": album.photos(subject),
        "comparisons": [comparison for comparison in compared if comparison.kind != "class"],
        "together": album.together(run),
        "more": album.on_request(run),
        "drift": [comparison for comparison in compared if comparison.kind == "class"],
        "drifting": [strip for strip in strips if strip.kind == "class"],
        "training": [strip for strip in strips if strip.kind != "class"],
        "measured": measured,
        "metrics": measures.metrics(measured),
        "standing": measures.standing(measured),
        "has_samples": measured.samples is not None and bool(measured.samples.ways),
        "scatter": measures.fidelity_and_prompt(measured),
        "choices": {about: choice for about, choice in CHOICES.items() if about != "interval"},
        "chart": measures.losses(LOSSES.read(run.root)),
        "class_images": album.class_images(run),
        "adapter_files": sorted(file.name for file in run.adapter.glob("*") if file.is_file() and file.name != CARD),
        "settings": _settings(config),
        "versions": _versions(),
        "timings": {STAGES.get(stage, stage): seconds for stage, seconds in read_timings(run).items()},
        "planned": {STAGES[name]: number for name, number in read_plan(run).items() if name in STAGES},
        "snippet": model_snippet(subject, config, run.model) if subject.identifier else "",
        "adapter_snippet": adapter_snippet(subject, config, run.adapter, run.model),
        "of_whole": run.whole is not None,
        "has_model": (run.model / MODEL_INDEX).is_file(),
    }


def _others(run: Run) -> list[Other]:
    """The other subjects of the run, in its order; the first subject's page is the run's."""
    others = [its for its in each(run.whole or run) if its.root != run.root]
    return [Other(_name(its.subject), Path(os.path.relpath(its.report, run.root)).as_posix()) for its in others]


def _name(subject: Subject) -> str:
    return subject.name if subject.identifier else subject.class_noun


def _settings(config: Config) -> list[Setting]:
    """Every setting, those that differ from the defaults of their base model and method first."""
    mine, usual, shown = config.flat(), config.usual(), config.shown()
    rows = [
        Setting(
            name=name,
            value=_said(shown[name]),
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
