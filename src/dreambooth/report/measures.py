"""What the report says of a run's numbers: what each is called, how far it has gone, and its figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from dreambooth.evaluation.names import METRIC_NAMES
from dreambooth.report.charts import LossChart, MetricChart, Scatter, loss_chart, metric_chart, scatter
from dreambooth.report.pictures import Comparison, Stage
from dreambooth.run.measured import Measured
from dreambooth.run.records import Loss, Probed, PromptScores, Scores
from dreambooth.run.ways import percent

METRICS = {
    "dino": ("Do the samples look like the photos? The paper's measure of the subject.", "higher"),
    "median_dino": ("DINO against the median photo: one may be odd.", "higher"),
    "clip_i": ("The same question, put to CLIP.", "higher"),
    "clip_t": ("Do the samples show what the prompt asks for?", "higher"),
    "pres": ("Do samples of the bare class look like the photos? Then the class has drifted.", "lower"),
    "masked_dino": ("DINO without what is behind the subject.", "higher"),
    "nearest_photo": ("How similar is a sample to the photo nearest to it? Near 1 it is a copy.", ""),
    "subject_scenes": ("In how many scenes is it where the prompt names none? Effective.", "higher"),
    "subject_div": ("How different are these samples from each other?", "higher"),
    "class_scenes": ("In how many scenes is the bare class? Effective number.", "higher"),
    "class_div": ("How different are samples of the bare class from each other?", "higher"),
}
"""What each number of a probe says, and whether higher or lower is better."""

REAL = {"pres": "dino"}
"""The photos' number that another one goes towards."""


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


def metrics(measured: Measured) -> list[Metric]:
    """Each number that was measured over the training, with its figure."""
    found = []
    for key, (says, better) in METRICS.items():
        values = measured.over_training(key)
        levels = {"the photos": measured.real.numbers.get(key), "the base model": values.get(0)}
        known = {level: value for level, value in levels.items() if value is not None}
        if chart := metric_chart(values, known, measured.chosen):
            value = values[max(values)] if measured.chosen not in values else values[measured.chosen]
            found.append(Metric(key, METRIC_NAMES[key], says, better, value, chart))
    return found


def standing(measured: Measured) -> list[Standing]:
    """How far the recommended checkpoint has gone, and what it has kept, by the probe and by the samples."""
    if not (verdict := measured.recommendation):
        return []
    untuned, now = (measured.probes.get(step) for step in (0, verdict.step))
    probe, samples = _changes(untuned, now, verdict.ways, verdict.kept), {}
    if drawn := measured.samples:
        samples = _changes(drawn.rows.get("untuned"), drawn.rows.get("tuned"), drawn.ways, drawn.kept)
    photos = measured.real.numbers
    return [
        Standing(
            METRIC_NAMES[key], photos.get(REAL.get(key, key)), (probe.get(key, Change()), samples.get(key, Change()))
        )
        for key in METRICS
        if key in probe or key in samples
    ]


def _changes(
    untuned: Probed | None,
    now: Probed | None,
    ways: Mapping[str, float | None],
    kept: Mapping[str, float],
) -> dict[str, Change]:
    says = {key: "cannot be told" if way is None else percent(way) for key, way in ways.items()}
    says |= {key: f"{percent(share)} kept" for key, share in kept.items()}
    before, after = (row.numbers if row else {} for row in (untuned, now))
    return {key: Change(before.get(key), after.get(key), words) for key, words in says.items()}


def fidelity_and_prompt(measured: Measured) -> Scatter | None:
    """DINO against CLIP-T at each probe."""
    fidelity, following = measured.over_training("dino"), measured.over_training("clip_t")
    both = {step: (following[step], fidelity[step]) for step in fidelity if step in following}
    return scatter(both, measured.real.dino, measured.chosen)


def losses(lines: Sequence[Loss]) -> LossChart | None:
    """The terms of Eq. 2 at each step; of a step that is there twice, the later line."""
    by_step = {loss.step: loss for loss in lines}
    steps = sorted(by_step)
    terms = {"subject": [by_step[step].subject for step in steps]}
    priors = [prior for step in steps if (prior := by_step[step].prior) is not None]
    return loss_chart(steps, {**terms, "class prior": priors} if len(priors) == len(steps) else terms)


def with_numbers(strip: Comparison, measured: Measured) -> Comparison:
    """What was drawn while it trained, with the numbers of the pictures: PRES of the class, else DINO and CLIP-T."""

    def numbers(stage: Stage) -> dict[str, float]:
        if stage.step is None or (probed := measured.probes.get(stage.step)) is None:
            return {}
        if strip.kind == "class":
            return _named(probed, "pres")
        return _named(probed.prompts.get(strip.template, PromptScores()), "dino", "clip_t")

    return replace(strip, stages=tuple(replace(stage, numbers=numbers(stage)) for stage in strip.stages))


def _named(scores: Scores, *metrics: str) -> dict[str, float]:
    return {METRIC_NAMES[key]: scores.numbers[key] for key in metrics if key in scores.numbers}
