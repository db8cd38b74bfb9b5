"""One cell carried out: learn the subject, draw, measure, and keep the pictures and the numbers alone."""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

from dreambooth import recipe
from dreambooth.config import Config, Evaluation
from dreambooth.errors import RunError
from dreambooth.evaluation import Judges, load_judges, measure_photos, score, score_each, scored_prompt
from dreambooth.experiments.cells import Cell
from dreambooth.generation.generate import generate
from dreambooth.generation.prompts import CLASS_PROMPT
from dreambooth.generation.requests import requests, sampling_of, seeds
from dreambooth.generation.samples import Sample, opened, read_samples
from dreambooth.personal import personal_model
from dreambooth.run import Run
from dreambooth.run.files import JsonFile
from dreambooth.run.records import Scores
from dreambooth.run.timing import read_timings, timed
from dreambooth.support.progress import shown_in

PICTURES, CLASS_PICTURES = "after", "class"
"""Folders of a cell's samples."""


@dataclass(frozen=True, kw_only=True)
class ScoredSample(Scores):
    """One picture and its numbers. file: its path in the cell's folder.  scored_prompt: what CLIP-T read."""

    file: str
    kind: str
    template: str
    scored_prompt: str
    seed: int


@dataclass(frozen=True, kw_only=True)
class CellRecord:
    """cell.json. cell: its label.  The other fields are those of `Result`, the pictures one by one."""

    cell: str
    judges: Mapping[str, str]
    scores: Scores
    real: Scores
    pictures: tuple[ScoredSample, ...]
    class_pictures: tuple[ScoredSample, ...]
    seconds: float


CELL = JsonFile("cell.json", CellRecord)


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
            record = CELL.find(folder)
        except (OSError, RunError):
            record = None
        if record is None:
            return None
        return cls(
            folder=folder,
            scores=record.scores,
            real=record.real,
            pictures=len(record.pictures),
            judges=record.judges,
            seconds=record.seconds,
        )


def judges_of(config: Config) -> Judges:
    """The judges of an experiment's cells, opened once in a process."""
    return _opened(config.evaluation, config.world)


_opened = cache(load_judges)


def carry_out(cell: Cell, folder: Path) -> None:
    """Compute what `folder` lacks of the cell and write its cell.json; progress goes to log.txt there.

    Weights and checkpoints are removed once all is measured. Raises DreamBoothError, and Interrupted after saving.
    """
    judges = judges_of(cell.config)
    base = cell.config.model_copy(update={"evaluation": Evaluation()})  # other judges need no other pictures
    run = Run(folder)
    if not _is_drawn(cell, run):
        _follow_photos(cell, run)
        run = Run.create(folder, cell.learned, base)
    # a process of an experiment that was killed may be about to end
    with run.lock(patience=20), shown_in(folder / "log.txt"):
        if not _is_drawn(cell, run):
            _draw(cell, run)
        with timed(run, "measure"):
            record = _measured(cell, run, judges)
        CELL.write(folder, replace(record, seconds=round(sum(read_timings(run).values()), 3)))
        for its in (run, *run.later_stages):
            for heavy in (its.checkpoints, its.model, its.adapter):
                shutil.rmtree(heavy, ignore_errors=True)


def _follow_photos(cell: Cell, run: Run) -> None:
    """Note where the photos of a begun cell lie now: its address knows their content, and experiments are moved."""
    if (run.root / "config.toml").exists():
        identifier = None
        with suppress(RunError):  # a damaged record: the same one is chosen again
            identifier = run.subject.identifier
        run.save_subject(replace(cell.learned, identifier=identifier))
        run.save_photos(cell.learned)


def _draw(cell: Cell, run: Run) -> None:
    model = recipe.base_model(run)
    recipe.name_subject(run, model)
    if run.config.training.max_train_steps:
        recipe.personalise(run, model)
        model.let_go()
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


def _measured(cell: Cell, run: Run, judges: Judges) -> CellRecord:
    """The numbers of each picture and of all together."""
    photos = measure_photos(judges, cell.judged.photos)
    samples, of_class = (read_samples(run.samples / folder) for folder in (PICTURES, CLASS_PICTURES))
    pictures, class_pictures = [opened(s) for s in samples], [opened(s) for s in of_class]
    asked = [scored_prompt(sample.template, cell.judged) for sample in samples]
    each = score_each(judges, photos, pictures, asked)
    class_asked = [scored_prompt(sample.template, cell.judged) for sample in of_class]
    return CellRecord(
        cell=cell.label,
        judges=judges.names,
        scores=score(judges, photos, pictures, asked, class_pictures),
        real=photos.real_row,
        pictures=_each(run, samples, asked, each),
        class_pictures=_each(run, of_class, class_asked, score_each(judges, photos, class_pictures, class_asked)),
        seconds=0.0,
    )


def _each(
    run: Run, samples: Sequence[Sample], asked: Sequence[str], each: Sequence[Scores]
) -> tuple[ScoredSample, ...]:
    return tuple(
        ScoredSample(
            file=sample.path.relative_to(run.root).as_posix(),
            kind=sample.kind,
            template=sample.template,
            scored_prompt=words,
            seed=sample.seed,
            **asdict(scores),
        )
        for sample, words, scores in zip(samples, asked, each, strict=True)
    )
