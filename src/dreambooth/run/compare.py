"""Runs beside each other: what is set differently, and what was measured of each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dreambooth.errors import RunError
from dreambooth.run.folder import Run
from dreambooth.run.measured import Measured, read_measured
from dreambooth.run.timing import read_timings
from dreambooth.run.ways import percent
from dreambooth.support.progress import duration


@dataclass(frozen=True)
class Row:
    """One setting or number of every run, in words; "" where a run lacks it."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Of runs in their order. settings: those that differ.  numbers: what their samples were measured as."""

    names: tuple[str, ...]
    settings: tuple[Row, ...]
    numbers: tuple[Row, ...]

    def table(self) -> str:
        """All of it as text, a line each."""
        rows = [Row("", self.names), *self.settings, Row("", ("",) * len(self.names)), *self.numbers]
        first = max(len(row.name) for row in rows)
        widths = [max(len(row.values[at]) for row in rows) for at in range(len(self.names))]
        lines = [
            "  ".join([row.name.ljust(first), *(v.ljust(w) for v, w in zip(row.values, widths, strict=True))]).rstrip()
            for row in rows
        ]
        return "\n".join(lines)


def compare(runs: Sequence[Run]) -> Comparison:
    """Two or more runs; raises RunError for fewer, or where one is damaged."""
    if len(runs) < 2:
        raise RunError("there is nothing to compare with: give two run folders or more.")
    flat, shown = [run.config.flat() for run in runs], [run.config.shown() for run in runs]
    settings = [
        Row(name, tuple(_said(its[name]) for its in shown)) for name in flat[0] if len({str(f[name]) for f in flat}) > 1
    ]
    words = [
        Row("class noun", tuple(run.subject.class_noun for run in runs)),
        Row("photos", tuple(str(len(run.subject.photos)) for run in runs)),
    ]
    measured = [read_measured(run) for run in runs]
    numbers = [Row(name, tuple(number(its) for its in measured)) for name, number in NUMBERS.items()]
    times = Row("time in all", tuple(duration(sum(read_timings(run).values())) for run in runs))
    return Comparison(
        names=tuple(run.root.name for run in runs),
        settings=(*(row for row in words if len(set(row.values)) > 1), *settings),
        numbers=(*(row for row in numbers if any(row.values)), times),
    )


def _way(metric: str) -> Callable[[Measured], str]:
    """How far the final samples have gone, by a metric; by the probe's where they were not scored."""

    def number(measured: Measured) -> str:
        whose = measured.samples if measured.samples and measured.samples.ways else measured.recommendation
        way = whose.ways.get(metric) if whose else None
        return "" if way is None else percent(way)

    return number


def _kept(*names: str) -> Callable[[Measured], str]:
    """What is left of the untuned model's, by the first of these that was measured."""

    def number(measured: Measured) -> str:
        whose = measured.samples if measured.samples and measured.samples.kept else measured.recommendation
        found = [whose.kept[name] for name in names if name in whose.kept] if whose else []
        return percent(found[0]) if found else ""

    return number


def _step(measured: Measured) -> str:
    verdict = measured.recommendation
    return "" if verdict is None else f"{verdict.step} of {verdict.last}"


def _flags(measured: Measured) -> str:
    return "; ".join(measured.flagged) or ("none" if measured.diagnosis else "")


NUMBERS: dict[str, Callable[[Measured], str]] = {
    "recommended step": _step,
    "way to the photos (DINO)": _way("dino"),
    "way to the photos (CLIP-I)": _way("clip_i"),
    "prompts followed (CLIP-T kept)": _kept("clip_t"),
    "class drifted (PRES)": _way("pres"),
    "variety of the subject kept": _kept("subject_scenes", "subject_div"),
    "variety of the class kept": _kept("class_scenes", "class_div"),
    "flagged": _flags,
}
"""What is shown of each run, from the final samples where they were scored, else from the probe."""


def _said(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None or value == () else f"{value:g}" if isinstance(value, float) else str(value)
