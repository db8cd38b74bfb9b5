"""One cell carried out: learn the subject, draw, measure, and keep the pictures and the numbers alone."""

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from dreambooth import recipe
from dreambooth.config import Evaluation
from dreambooth.evaluation import Judges, measure_photos, score, score_each, scored_prompt
from dreambooth.experiments.cells import Cell
from dreambooth.generation.generate import generate
from dreambooth.generation.in_run import personal_model
from dreambooth.generation.prompts import CLASS_PROMPT
from dreambooth.generation.requests import requests, sampling_of, seeds
from dreambooth.generation.samples import Sample, opened, read_samples
from dreambooth.run import Run
from dreambooth.run.records import Scores
from dreambooth.run.timing import read_timings, timed
from dreambooth.support.files import write_json

PICTURES, CLASS_PICTURES = "after", "class"
"""Folders of a cell's samples."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What cell.json says of a finished cell.

    scores: of all pictures together.  real: the same of the photos among themselves.  pictures: how many were scored.
    judges: who measured, by metric.  seconds: all stages together.
    """

    folder: Path
    scores: Scores
    real: Scores
    pictures: int
    judges: Mapping[str, str]
    seconds: float

    @classmethod
    def read(cls, folder: Path) -> "Result | None":
        """The result in a cell's folder; None where it is unfinished, or its record is damaged."""
        try:
            payload = json.loads((folder / "cell.json").read_text(encoding="utf-8"))
            return cls(
                folder=folder,
                scores=Scores(**payload["scores"]),
                real=Scores(**payload["real"]),
                pictures=len(payload["pictures"]),
                judges=payload["judges"],
                seconds=payload["seconds"],
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None


def carry_out(cell: Cell, folder: Path, judges: Judges) -> None:
    """Compute what `folder` lacks of the cell and write its cell.json; progress goes to log.txt there.

    Weights and checkpoints are removed once all is measured. Raises DreamBoothError, and Interrupted after saving.
    """
    base = cell.config.model_copy(update={"evaluation": Evaluation()})  # other judges need no other pictures
    run = Run(folder)
    if not _is_drawn(cell, run):
        _follow_photos(cell, run)
        run = Run.create(folder, cell.learned, base)
    # a process of an experiment that was killed may be about to end
    with run.lock(patience=20), (folder / "log.txt").open("a", encoding="utf-8") as log_file, redirect_stderr(log_file):
        if not _is_drawn(cell, run):
            _draw(cell, run)
        with timed(run, "measure"):
            record = _measured(cell, run, judges)
        seconds = round(sum(read_timings(run).values()), 3)
        write_json(folder / "cell.json", {"cell": cell.label, **record, "seconds": seconds})
        for heavy in (run.checkpoints, run.model, run.adapter):
            shutil.rmtree(heavy, ignore_errors=True)


def _follow_photos(cell: Cell, run: Run) -> None:
    """Note where the photos of a begun cell lie now: its address knows their content, and experiments are moved."""
    if (run.root / "config.toml").exists():
        run.save_subject(replace(cell.learned, identifier=run.subject.identifier))
        run.save_photos(cell.learned)


def _draw(cell: Cell, run: Run) -> None:
    model = recipe.base_model(run)
    recipe.name_subject(run, model)
    if run.config.training.max_train_steps:
        recipe.personalise(run, model)
        model = personal_model(run)
    with timed(run, "pictures"):
        config, sampling = run.config, sampling_of(run.config.generation)
        asked = {
            PICTURES: (cell.prompts, run.subject, config.generation.num_images_per_prompt),
            CLASS_PICTURES: ([CLASS_PROMPT], cell.judged, cell.class_pictures),
        }
        for folder, (prompts, subject, count) in asked.items():
            wanted = requests(prompts, subject, seeds(config.seed, count))
            generate(model, wanted, sampling, run.samples / folder, config.prior.sample_batch_size)


def _is_drawn(cell: Cell, run: Run) -> bool:
    """Whether all pictures are there."""
    wanted = len(cell.prompts) * cell.config.generation.num_images_per_prompt
    found = (len(read_samples(run.samples / folder)) for folder in (PICTURES, CLASS_PICTURES))
    return tuple(found) == (wanted, cell.class_pictures)


def _measured(cell: Cell, run: Run, judges: Judges) -> dict[str, Any]:
    """The numbers of each picture and of all together, as JSON."""
    photos = measure_photos(judges, cell.judged.photos)
    samples, of_class = (read_samples(run.samples / folder) for folder in (PICTURES, CLASS_PICTURES))
    pictures, class_pictures = [opened(s) for s in samples], [opened(s) for s in of_class]
    asked = [scored_prompt(sample.template, cell.judged) for sample in samples]
    each = score_each(judges, photos, pictures, asked)
    class_asked = [scored_prompt(sample.template, cell.judged) for sample in of_class]
    return {
        "judges": judges.names,
        "scores": asdict(score(judges, photos, pictures, asked, class_pictures)),
        "real": asdict(photos.real_row),
        "pictures": _each(run, samples, asked, each),
        "class_pictures": _each(run, of_class, class_asked, score_each(judges, photos, class_pictures, class_asked)),
    }


def _each(run: Run, samples: Sequence[Sample], asked: Sequence[str], each: Sequence[Scores]) -> list[dict[str, Any]]:
    return [
        {
            "file": sample.path.relative_to(run.root).as_posix(),
            "kind": sample.kind,
            "template": sample.template,
            "scored_prompt": words,
            "seed": sample.seed,
            **{name: value for name, value in asdict(scores).items() if value is not None},
        }
        for sample, words, scores in zip(samples, asked, each, strict=True)
    ]
