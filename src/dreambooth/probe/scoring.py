"""What the judges say of finished pictures: of a run's samples, or of any folder's, against any photos."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from dreambooth.config import Config
from dreambooth.data.photos import open_image, photos_in, size_of
from dreambooth.errors import DreamBoothError, ModelError, PhotoError, PromptError
from dreambooth.evaluation import WAY, Judges, fit_of, load_judges, ways
from dreambooth.evaluation.perceptual import Lpips
from dreambooth.evaluation.ways import percent
from dreambooth.generation.prompts import CLASS_PROMPT
from dreambooth.generation.samples import Sample, read_samples, text_of
from dreambooth.probe import Check, Probed, checks
from dreambooth.probe.lines import Step, mean
from dreambooth.probe.measuring import Reference, measure, real_row
from dreambooth.run import Run
from dreambooth.subject import IDENTIFIER_SLOT, Subject
from dreambooth.support.progress import log

FOLDERS: Mapping[Step, str] = {"untuned": "untuned", "tuned": "after", "own": "own"}
"""Where a run's samples are; the untuned model was asked for the class noun alone, as for the probe."""

COLUMNS = {
    "dino": "DINO",
    "clip_i": "CLIP-I",
    "masked_dino": "subject DINO",
    "clip_t": "CLIP-T",
    "pres": "PRES",
    "div": "DIV",
    "nearest_photo": "nearest photo",
}
"""The table's numbers and their headings."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """The rows of a table: "real", the photos among themselves, and one for each set of pictures.

    places: the templates that ask for a place and nothing else.
    """

    judges: Mapping[str, str]
    photos: int
    rows: Mapping[Step, Probed]
    places: Sequence[str] = ()

    @classmethod
    def of(cls, reference: Reference, rows: Mapping[Step, Probed], places: Sequence[str] = ()) -> Self:
        """The rows beside that of the photos they were measured against."""
        photos = reference.photos
        real = Probed(step="real", scores=real_row(photos), pictures=len(photos.seen.dino))
        judges = reference.judges.names
        return cls(judges=judges, photos=real.pictures, rows={"real": real, **rows}, places=places)

    @property
    def compared(self) -> bool:
        """Whether the tuned model's samples have the untuned model's beside them."""
        return self.rows.keys() >= {"untuned", "tuned"}

    @property
    def ways(self) -> dict[str, float | None]:
        """How far the tuned model's samples have gone; nothing where the untuned model's are not there."""
        if not self.compared:
            return {}
        return ways(*(self.rows[step].scores for step in ("tuned", "untuned", "real")))

    @property
    def kept(self) -> dict[str, float]:
        """What is left of the untuned model's CLIP-T and variety, of 1."""
        return self.rows["tuned"].kept(self.rows["untuned"]) if self.compared else {}

    @property
    def checked(self) -> list[Check]:
        """The numbers that the diagnosis looks at, of the subject alone and in places, as the probe sees it."""
        if not self.compared:
            return []
        tuned, untuned = (self._of_places(step) for step in ("tuned", "untuned"))
        return checks(tuned, untuned, self.rows["real"])

    @property
    def record(self) -> dict[str, Any]:
        """As JSON has it."""
        told: dict[str, Any] = {"judges": dict(self.judges), "photos": self.photos}
        told["rows"] = {row.step: row.record for row in self.rows.values()}
        if self.ways:
            told |= {"way": WAY, "ways": self.ways, "kept": self.kept}
            told["checked"] = [check.record for check in self.checked]
        return told

    @property
    def table(self) -> str:
        """The rows as text, with the ways below, and who measured."""
        shown = [name for name in COLUMNS if any(_number(row, name) is not None for row in self.rows.values())]
        lines = [["", "n", *(COLUMNS[name] for name in shown)]]
        for step, row in self.rows.items():
            numbers = [_number(row, name) for name in shown]
            label = {"real": "photos"}.get(str(step), str(step))
            lines.append([label, str(row.pictures), *("" if value is None else f"{value:.3f}" for value in numbers)])
        told = {name: "none" if gone is None else percent(gone) for name, gone in self.ways.items()}
        told |= {name: percent(share) for name, share in self.kept.items()}
        if told:
            lines.append(["way gone, or kept", "", *(told.get(name, "") for name in shown)])
        widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
        drawn = ["  ".join(f"{cell:>{width}}" for cell, width in zip(line, widths, strict=True)) for line in lines]
        notes = [f"judges: {', '.join(f'{judge} is {name}' for judge, name in self.judges.items())}"]
        notes += [WAY] if self.ways else []
        left = {name.replace("_", "'s "): share for name, share in self.kept.items() if name not in COLUMNS}
        if left:
            each = ", ".join(f"{name} {percent(share)}" for name, share in left.items())
            notes.append(f"left of the untuned model's variety where the prompt names no place: {each}")
        return "\n".join([*(line.rstrip() for line in drawn), "", *notes])

    def _of_places(self, step: Step) -> Probed:
        row, wanted = self.rows[step], (CLASS_PROMPT.template, *self.places)
        prompts = {template: its for template, its in row.prompts.items() if template in wanted}
        scores = replace(mean(its.scores for its in prompts.values()), pres=row.scores.pres)
        return replace(row, scores=scores, prompts=prompts)


def evaluate(
    folder: Path, settings: Mapping[str, Any], photos: Path | None, class_noun: str = "", prompts: Sequence[str] = ()
) -> Scored:
    """What `dreambooth evaluate` says of a run's folder, or of any other.

    settings: flat, which judges where they are not the usual ones.  photos: the folder of the subject's photos; of a
    run by default its own. Raises DreamBoothError for whatever its caller can mend.
    """
    if not folder.is_dir():
        raise DreamBoothError(f"{folder} is no folder: give a run folder, or a folder that holds pictures.")
    files = photos_in(photos) if photos else ()
    if (folder / "config.toml").is_file():
        if class_noun or prompts:
            raise DreamBoothError(f"{folder} is a run and knows its class noun and prompts: leave both out.")
        run = Run.open(folder)
        _warn(files or run.subject.photos, run.config.base.model)
        config = Config.build({**run.config.flat(), **settings})
        return score_run(run, load_judges(config.evaluation, config.base.model), files)
    if not files:
        raise DreamBoothError(f"{folder} is no run folder: give the photos to compare its pictures with by --photos.")
    paths = _pictures_in(folder)
    drawn_by = {text_of(path).get("model", "") for path in paths}
    base_model = drawn_by.pop() if len(drawn_by) == 1 else ""
    _warn(files, base_model)
    judges = load_judges(Config.build(settings).evaluation, base_model)
    return score_pictures(paths, judges, Subject(photos=files, class_noun=class_noun), prompts)


def _warn(photos: Sequence[Path], base_model: str) -> None:
    if (fit := fit_of(photos, base_model)) and fit.foreign:
        log.warning("%s", fit.says)


def score_run(run: Run, judges: Judges, photos: Sequence[Path] = ()) -> Scored:
    """The scores of a run's samples against its own photos, or others; raises DreamBoothError where it has none."""
    subject = replace(run.subject, photos=tuple(photos)) if photos else run.subject
    samples = {step: read_samples(run.samples / folder) for step, folder in FOLDERS.items()}
    if not any(samples.values()):
        raise DreamBoothError(f"{run.root} has no samples yet: draw them with `dreambooth generate {run.root}`.")
    reference = Reference.of(judges, subject, run.config.base.model)
    kinds = {one.template: one.kind for one in samples["tuned"]}
    places = [template for template, kind in kinds.items() if kind == "recontextualization"]
    rows = {step: _row(step, those, reference, places) for step, those in samples.items() if those}
    return Scored.of(reference, rows, places)


def _row(step: Step, samples: Sequence[Sample], reference: Reference, places: Sequence[str]) -> Probed:
    """The row of one folder; the untuned model's class pictures are also those of the subject alone."""
    of_class = [sample for sample in samples if (sample.template, sample.kind) == (CLASS_PROMPT.template, "class")]
    others = [sample for sample in samples if sample not in of_class] if step != "untuned" else samples
    return measure(step, reference, others or of_class, of_class, places)


def score_pictures(paths: Sequence[Path], judges: Judges, subject: Subject, prompts: Sequence[str] = ()) -> Scored:
    """The scores of pictures, whatever drew them, against the subject's photos.

    prompts: one for all pictures, or one for each in the order of their names; by default what a picture says of
    itself. Where it is not known there is no CLIP-T and no DIV. Raises PromptError for prompts that are too few, or
    that need a class noun where the subject has none, ModelError for pictures that LPIPS cannot compare.
    """
    if isinstance(judges.perceptual, Lpips) and len(sizes := sorted({size_of(path) for path in paths})) > 1:
        raise ModelError(
            f"LPIPS compares pictures of one size, and these are of {sizes[0]} to {sizes[-1]} pixels: leave out "
            "--perceptual-model, or make them alike."
        )
    asked = _asked(paths, prompts)
    kinds = ["own" if prompts else text_of(path).get("kind", "own") for path in paths]
    if not subject.class_noun:
        if prompts and any(IDENTIFIER_SLOT in prompt for prompt in prompts):
            raise PromptError("{} in a prompt stands for the class noun: give it with --class-noun.")
        asked = ["" if IDENTIFIER_SLOT in prompt else prompt for prompt in asked]
    samples = [
        Sample(path=path, prompt=prompt, template=prompt, kind=kind, seed=0)
        for path, prompt, kind in zip(paths, asked, kinds, strict=True)
    ]
    reference = Reference.of(judges, subject, "")
    return Scored.of(reference, {"pictures": _row("pictures", samples, reference, ())})


def _asked(paths: Sequence[Path], prompts: Sequence[str]) -> list[str]:
    """The prompt of each picture, empty where it is not known."""
    if not prompts:
        return [text_of(path).get("template", "") for path in paths]
    if len(prompts) not in (1, len(paths)):
        raise PromptError(
            f"{len(prompts)} prompts for {len(paths)} pictures: give one for all, or one each in the order of names."
        )
    return list(prompts) * (len(paths) if len(prompts) == 1 else 1)


def _pictures_in(folder: Path) -> tuple[Path, ...]:
    """All pictures in the folder, which can be opened; raises PhotoError, with all problems."""
    try:
        paths = photos_in(folder)
    except PhotoError as error:
        raise DreamBoothError(f"{folder} holds no pictures to score: give the folder that they are in.") from error
    problems: list[str] = []
    for path in paths:
        try:
            open_image(path)
        except PhotoError as error:
            problems += error.problems
    if problems:
        raise PhotoError(problems)
    return paths


def _number(row: Probed, name: str) -> float | None:
    value: float | None = getattr(row.scores, name)
    return value
