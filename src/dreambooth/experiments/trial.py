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
from dreambooth.evaluation import Judges, Scores, measure_photos, score, score_each, scored_prompt
from dreambooth.experiments.cells import Cell
from dreambooth.generation.generate import generate
from dreambooth.generation.prompts import CLASS_PROMPT
from dreambooth.generation.samples import Sample, opened, read_samples
from dreambooth.run import Run
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
            told = json.loads((folder / "cell.json").read_text(encoding="utf-8"))
            return cls(
                folder=folder,
                scores=Scores(**told["scores"]),
                real=Scores(**told["real"]),
                pictures=len(told["pictures"]),
                judges=told["judges"],
                seconds=told["seconds"],
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
    with run.only_writer(patience=20), (folder / "log.txt").open("a", encoding="utf-8") as told, redirect_stderr(told):
        if not _is_drawn(cell, run):
            _draw(cell, run)
        with recipe.timed(run, "measure"):
            record = _measured(cell, run, judges)
        seconds = round(sum(run.read_json("timings.json").values()), 3)
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
        model = recipe.personal_model(run)
    with recipe.timed(run, "pictures"):
        generate(model, run.subject, run.config, run.samples / PICTURES, cell.prompts)
        many = run.config.generation.model_copy(update={"num_images_per_prompt": cell.class_pictures})
        config = run.config.model_copy(update={"generation": many})
        generate(model, cell.judged, config, run.samples / CLASS_PICTURES, [CLASS_PROMPT])


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
            "file": str(sample.path.relative_to(run.root)),
            "kind": sample.kind,
            "template": sample.template,
            "scored_prompt": words,
            "seed": sample.seed,
            **{name: value for name, value in asdict(scores).items() if value is not None},
        }
        for sample, words, scores in zip(samples, asked, each, strict=True)
    ]
