"""What the judges say of finished pictures: of a run's samples, or of any folder's, against any photos."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dreambooth.config import Config, World
from dreambooth.config.worlds import DEFAULT_WORLD, named
from dreambooth.data.photos import photos_in
from dreambooth.data.pictures import MIN_SIDE, open_image, size_of
from dreambooth.errors import DreamBoothError, ModelError, PhotoError, PromptError, RunError
from dreambooth.evaluation import WAY, Judges, fit_of, load_judges, progress_by_metric
from dreambooth.evaluation.names import METRIC_NAMES
from dreambooth.evaluation.perceptual import Lpips
from dreambooth.generation.prompts import CLASS_PROMPT
from dreambooth.generation.samples import Sample, drawn_by, read_samples, text_of
from dreambooth.probe.diagnosis import checks
from dreambooth.probe.measuring import Reference, means, measure, real_row
from dreambooth.run import Run
from dreambooth.run.contents import CONFIG, require_pictures
from dreambooth.run.files import JsonFile
from dreambooth.run.records import Probed, SampleScores, Step
from dreambooth.run.ways import percent
from dreambooth.subject import IDENTIFIER_SLOT, Subject, require_class_noun
from dreambooth.support.progress import log

FOLDERS: Mapping[Step, str] = {"untuned": "untuned", "tuned": "after", "own": "own"}
"""Where a run's samples are; the untuned model was asked for the class noun alone, as for the probe."""

COLUMNS = ("dino", "clip_i", "masked_dino", "clip_t", "pres", "div", "nearest_photo")
"""The table's numbers, in order."""


def scored(reference: Reference, rows: Mapping[Step, Probed], places: Sequence[str] = ()) -> SampleScores:
    """The rows beside that of the photos they were measured against; places: see `SampleScores`."""
    real = real_row(reference.photos)
    record = SampleScores(
        judges=reference.judges.names, photos=real.pictures, rows={"real": real, **rows}, places=tuple(places)
    )
    if not rows.keys() >= {"untuned", "tuned"}:
        return record
    tuned, untuned = rows["tuned"], rows["untuned"]
    return replace(
        record,
        way=WAY,
        ways=progress_by_metric(tuned, untuned, real),
        kept=tuned.kept(untuned),
        checked=tuple(checks(_of_places(tuned, places), _of_places(untuned, places), real)),
    )


def _of_places(row: Probed, places: Sequence[str]) -> Probed:
    """A row of the subject alone and in places, as the diagnosis sees it in a probe."""
    wanted = (CLASS_PROMPT.template, *places)
    prompts = {template: its for template, its in row.prompts.items() if template in wanted}
    return replace(row, **(means(prompts.values()) | {"pres": row.pres}), prompts=prompts)


def table(scored: SampleScores) -> str:
    """The rows as text, with the ways below, and who measured."""
    shown = [name for name in COLUMNS if any(name in row.numbers for row in scored.rows.values())]
    lines = [["", "n", *(METRIC_NAMES[name] for name in shown)]]
    for step, row in scored.rows.items():
        label = {"real": "photos"}.get(str(step), str(step))
        numbers = (row.numbers.get(name) for name in shown)
        lines.append([label, str(row.pictures), *("" if value is None else f"{value:.3f}" for value in numbers)])
    shares = {name: "none" if gone is None else percent(gone) for name, gone in scored.ways.items()}
    shares |= {name: percent(share) for name, share in scored.kept.items()}
    if shares:
        lines.append(["progress, or kept", "", *(shares.get(name, "") for name in shown)])
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
    drawn = ["  ".join(f"{cell:>{width}}" for cell, width in zip(line, widths, strict=True)) for line in lines]
    return "\n".join([*(line.rstrip() for line in drawn), "", *_notes(scored)])


def _notes(scored: SampleScores) -> list[str]:
    notes = [f"judges: {', '.join(f'{judge} is {name}' for judge, name in scored.judges.items())}"]
    notes += [WAY] if scored.ways else []
    left = {name.replace("_", "'s "): share for name, share in scored.kept.items() if name not in COLUMNS}
    if left:
        each = ", ".join(f"{name} {percent(share)}" for name, share in left.items())
        notes.append(f"left of the untuned model's variety where the prompt names no place: {each}")
    return notes


RESULT = "evaluation.json"
"""What an evaluation is kept in, among the pictures, where no other file is named."""


def result_file(target: Path) -> JsonFile[SampleScores]:
    """The file for what `evaluate` says; raises DreamBoothError where `target` is anything but an older evaluation."""
    file = JsonFile(target.name, SampleScores)
    try:
        others = file.find(target.parent) and target.name != RESULT and (target.parent / CONFIG).exists()
    except RunError:
        others = True
    if others:  # a photo, settings, a run's own samples.json
        raise DreamBoothError(f"{target} is not an evaluation's, and is kept: give another file with --out.")
    return file


def evaluate(
    folder: Path, settings: Mapping[str, Any], photos: Path | None, class_noun: str = "", prompts: Sequence[str] = ()
) -> SampleScores:
    """What `dreambooth evaluate` says of a run's folder, or of any other.

    settings: flat, which judges where they are not the usual ones.  photos: the folder of the subject's photos; of a
    run by default its own. Raises DreamBoothError for whatever its caller can fix.
    """
    require_pictures(folder)
    if class_noun:
        require_class_noun(class_noun)
    files = photos_in(photos) if photos else ()
    if (folder / CONFIG).is_file():
        if class_noun or prompts:
            raise DreamBoothError(f"{folder} is a run and knows its class noun and prompts: leave both out.")
        run = Run.open(folder)
        config = Config.build({**run.config.flat(), **settings})
        judges = load_judges(config.evaluation, config.world)
        _warn(files or run.subject.photos, config.world, judges)
        subject = replace(run.subject, photos=files) if files else run.subject
        return score_run(run, Reference.of(judges, subject, config.world))
    if not files:
        raise DreamBoothError(f"{folder} is no run folder: give the photos to compare its pictures with by --photos.")
    paths = _pictures_in(folder)
    texts = [text_of(path) for path in paths]
    worlds = {named(text.get("world") or text.get("model", "")) for text in texts}
    world = worlds.pop() if len(worlds) == 1 else named(DEFAULT_WORLD)
    judges = load_judges(Config.build(settings).evaluation, world)
    _warn(files, world, judges)
    return score_pictures(paths, judges, Subject(photos=files, class_noun=class_noun), prompts, world)


def _warn(photos: Sequence[Path], world: World, judges: Judges) -> None:
    if (fit := fit_of(photos, world, judges)) and fit.foreign:
        log.warning("%s", fit.says)


def score_run(run: Run, reference: Reference) -> SampleScores:
    """The scores of a run's samples; raises DreamBoothError where it has none."""
    samples = {step: read_samples(run.samples / folder) for step, folder in FOLDERS.items()}
    if not any(samples.values()):
        raise DreamBoothError(f"{run.root} has no samples yet: make them with `dreambooth generate {run.root}`.")
    samples["own"] = drawn_by(samples["tuned"], samples["own"])  # others are of a model that was there before
    if samples["untuned"]:  # the class prompt was drawn once, among the samples before
        samples["untuned"] += [sample for sample in read_samples(run.samples / "before") if sample.kind == "class"]
    kinds = {one.template: one.kind for one in samples["tuned"]}
    places = [template for template, kind in kinds.items() if kind == "recontextualization"]
    asked = {one.template for one in samples["tuned"] if one.kind != "class"}
    rows = {step: _row(step, those, reference, places, asked) for step, those in samples.items() if those}
    return scored(reference, rows, places)


def _row(
    step: Step, samples: Sequence[Sample], reference: Reference, places: Sequence[str], asked: Collection[str] = ()
) -> Probed:
    """The row of one folder. asked: the prompts of the subject's own samples, which the untuned row has of the class;
    among them its class pictures, where the subject was asked for alone."""
    of_class = [sample for sample in samples if (sample.template, sample.kind) == (CLASS_PROMPT.template, "class")]
    others = [sample for sample in samples if sample not in of_class]
    if step == "untuned" and asked:
        others = [sample for sample in samples if sample.template in asked]
    return measure(step, reference, others or of_class, of_class, places)


def score_pictures(
    paths: Sequence[Path], judges: Judges, subject: Subject, prompts: Sequence[str], world: World
) -> SampleScores:
    """The scores of pictures of a world, whatever drew them, against the subject's photos.

    prompts: one for all pictures, or one for each in the order of their names; by default what a picture says of
    itself. Where it is not known there is no CLIP-T and no DIV. Raises PromptError for prompts that are too few, or
    that need a class noun where the subject has none, ModelError for pictures that LPIPS cannot compare.
    """
    if isinstance(judges.perceptual, Lpips) and len(sizes := sorted({size_of(path) for path in paths})) > 1:
        raise ModelError(
            f"LPIPS compares pictures of one size, and these are of {sizes[0]} to {sizes[-1]} pixels: leave out "
            "--perceptual-model, or bring them to one size."
        )
    asked = _asked(paths, prompts)
    kinds = ["own" if prompts else text_of(path).get("kind", "own") for path in paths]
    if not subject.class_noun:
        if prompts and any(IDENTIFIER_SLOT in prompt for prompt in prompts):
            raise PromptError("{} in a prompt stands for the class noun: give it with --class-noun.")
        others = {"class"} != set(kinds)  # then the pictures of the class are told from them by their prompt
        keep = [others and its == ("class", CLASS_PROMPT.template) for its in zip(kinds, asked, strict=True)]
        asked = [
            prompt if kept or IDENTIFIER_SLOT not in prompt else "" for kept, prompt in zip(keep, asked, strict=True)
        ]
    samples = [
        Sample(path=path, prompt=prompt, template=prompt, kind=kind, seed=0)
        for path, prompt, kind in zip(paths, asked, kinds, strict=True)
    ]
    reference = Reference.of(judges, subject, world)
    return scored(reference, {"pictures": _row("pictures", samples, reference, ())})


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
            open_image(path, at_least=MIN_SIDE)
        except PhotoError as error:
            problems += error.problems
    if problems:
        raise PhotoError(problems)
    return paths
