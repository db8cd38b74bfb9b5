"""The paper's tables as views over cells: which cells make a row, and what a row's numbers are."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from statistics import fmean

from dreambooth.evaluation.bootstrap import interval
from dreambooth.evaluation.names import METRIC_NAMES
from dreambooth.experiments.cells import CASCADE, Cell, Cells, Noun
from dreambooth.experiments.protocol import Share
from dreambooth.experiments.subjects import NamedSubject
from dreambooth.experiments.trial import Result

REAL = "real_images"

METRICS = {
    "dino": (METRIC_NAMES["dino"], "subject fidelity, up to the real images' row"),
    "clip_i": (METRIC_NAMES["clip_i"], "subject fidelity by CLIP"),
    "clip_t": (METRIC_NAMES["clip_t"], "prompt fidelity"),
    "pres": (METRIC_NAMES["pres"], "drift of the class towards the subject, lower is better"),
    "div": (METRIC_NAMES["div"], "diversity among pictures of one prompt, higher is better"),
}
"""Heading and meaning of each column, by its name in the CSV."""


@dataclass(frozen=True)
class Row:
    """Cells that are measured together; the row of real images measures their photos instead."""

    name: str
    cells: tuple[Cell, ...]

    @property
    def subjects(self) -> tuple[str, ...]:
        """Names of the subjects, each once."""
        return tuple(dict.fromkeys(cell.subject.name for cell in self.cells))


@dataclass(frozen=True, kw_only=True)
class Table:
    """One of the paper's tables.

    heading: of its first column.  metrics: names of METRICS.  paper: what the paper has there, by other judges.
    """

    name: str
    title: str
    heading: str
    metrics: tuple[str, ...]
    rows: tuple[Row, ...]
    paper: str

    @property
    def cells(self) -> list[Cell]:
        """All of its cells, row by row."""
        return [cell for row in self.rows for cell in row.cells]


@dataclass(frozen=True, kw_only=True)
class Value:
    """A mean over subjects and its interval; low and high are None where there is one subject only."""

    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Line:
    """A row with its numbers; a metric that does not apply to it is missing.  n: subjects."""

    name: str
    values: Mapping[str, Value]
    n: int
    runs: int
    pictures: int


def table(name: str, cells: Cells, subjects: Sequence[NamedSubject], seeds: Sequence[int], share: Share) -> Table:
    """Table `name` of the paper, of as many of the subjects and seeds as its share says."""
    return _TABLES[name](cells, subjects[: share.subjects], seeds[: share.seeds])


def _table1(cells: Cells, subjects: Sequence[NamedSubject], seeds: Sequence[int]) -> Table:
    rows, cascade = [], (CASCADE,) if cells.cascade else ()
    for method in (*cells.protocol.methods, *cascade, "untuned"):
        able = [subject for subject in subjects if method != "prompt_only" or subject.description]
        rows.append(Row(method, tuple(cells.cell(subject, seed, method) for subject, seed in product(able, seeds))))
    return Table(
        name="table1",
        title="Subject and prompt fidelity, method by method",
        heading="method",
        metrics=("dino", "clip_i", "clip_t"),
        rows=(Row(REAL, rows[0].cells), *(row for row in rows if row.cells)),
        paper="DINO / CLIP-I / CLIP-T of 30 subjects: real images 0.774 / 0.885 / -, DreamBooth on Stable Diffusion "
        "0.668 / 0.803 / 0.305, DreamBooth on Imagen 0.696 / 0.812 / 0.306, Textual Inversion 0.569 / 0.780 / 0.255.",
    )


def _table3(cells: Cells, subjects: Sequence[NamedSubject], seeds: Sequence[int]) -> Table:
    def row(name: str, prior: bool) -> Row:
        return Row(name, tuple(cells.cell(subject, seed, prior=prior) for subject, seed in product(subjects, seeds)))

    untuned = Row("untuned", tuple(cells.cell(subject, seeds[0], "untuned") for subject in subjects))
    return Table(
        name="table3",
        title="With and without the class prior",
        heading="fine-tuning",
        metrics=("pres", "div", "dino", "clip_i", "clip_t"),
        rows=(row("with prior", True), row("without prior", False), untuned),
        paper="PRES / DIV / DINO / CLIP-I / CLIP-T of 15 subjects on Imagen: with the prior 0.493 / 0.391 / 0.684 / "
        "0.815 / 0.308, without 0.664 / 0.371 / 0.712 / 0.828 / 0.306.",
    )


def _table4(cells: Cells, subjects: Sequence[NamedSubject], seeds: Sequence[int]) -> Table:
    nouns: tuple[Noun, ...] = ("correct", "wrong", "none")
    rows = (
        Row(noun, tuple(cells.cell(subject, seed, noun=noun) for subject, seed in product(subjects, seeds)))
        for noun in nouns
    )
    return Table(
        name="table4",
        title="The class noun: correct, wrong, none",
        heading="class noun",
        metrics=("dino", "clip_i", "clip_t"),
        rows=tuple(rows),
        paper="DINO / CLIP-I of 5 subjects on Imagen: correct 0.744 / 0.853, wrong 0.454 / 0.728, none 0.303 / 0.607.",
    )


def _table5(cells: Cells, subjects: Sequence[NamedSubject], seeds: Sequence[int]) -> Table:
    rows = []
    for count in cells.protocol.photo_counts:
        able = [subject for subject in subjects if len(subject.photos) >= count]
        mine = tuple(cells.cell(subject, seed, photos=count) for subject, seed in product(able, seeds))
        rows.append(Row(f"{count} photo{'s' if count > 1 else ''}", mine))
    return Table(
        name="table5",
        title="The number of photos",
        heading="training on",
        metrics=("dino", "clip_i", "clip_t"),
        rows=tuple(row for row in rows if row.cells),
        paper="DINO of 1 to 5 photos: a backpack 0.494, 0.515, 0.596, 0.604, 0.597; a corgi 0.798, 0.851, 0.871, "
        "0.876, 0.864.",
    )


_TABLES = {"table1": _table1, "table3": _table3, "table4": _table4, "table5": _table5}


def lines(table: Table, results: Mapping[Cell, Result]) -> list[Line]:
    """The numbers of each row; results: of every cell of the table."""
    return [_line(row, table.metrics, results) for row in table.rows]


def differences(table: Table, results: Mapping[Cell, Result]) -> list[Line]:
    """The first fine-tuned row less each that follows, on the subjects that both have: their differences are surer."""
    first, *others = [row for row in table.rows if row.name != REAL]
    return [_difference(first, other, table.metrics, results) for other in others]


def _line(row: Row, metrics: Sequence[str], results: Mapping[Cell, Result]) -> Line:
    found = {metric: _of_subjects(row, metric, results) for metric in metrics}
    if row.name == REAL:
        runs, pictures = 0, sum(len(subject.photos) for subject in {cell.subject for cell in row.cells})
    else:
        runs, pictures = len(row.cells), sum(results[cell].pictures for cell in row.cells)
    values = {metric: _value(list(means.values())) for metric, means in found.items() if means}
    n = max((len(means) for means in found.values()), default=0)  # a single photo is like no other
    return Line(name=row.name, values=values, n=n, runs=runs, pictures=pictures)


def _difference(first: Row, other: Row, metrics: Sequence[str], results: Mapping[Cell, Result]) -> Line:
    values, n = {}, 0
    for metric in metrics:
        mine, its = (_of_subjects(row, metric, results) for row in (first, other))
        if shared := [name for name in mine if name in its]:
            values[metric] = _value([mine[name] - its[name] for name in shared])
            n = max(n, len(shared))
    both = {cell.subject.name for cell in first.cells} & {cell.subject.name for cell in other.cells}
    cells = [cell for cell in (*first.cells, *other.cells) if cell.subject.name in both]
    pictures = sum(results[cell].pictures for cell in cells)
    return Line(name=f"{first.name} - {other.name}", values=values, n=n, runs=len(cells), pictures=pictures)


def _of_subjects(row: Row, metric: str, results: Mapping[Cell, Result]) -> dict[str, float]:
    """The metric of each subject that has it, as the mean over its seeds."""
    found: dict[str, list[float]] = {}
    for cell in row.cells:
        scores = results[cell].real if row.name == REAL else results[cell].scores
        if (value := asdict(scores)[metric]) is not None:
            found.setdefault(cell.subject.name, []).append(value)
    return {name: fmean(values) for name, values in found.items()}


def _value(means: Sequence[float]) -> Value:
    low, high = interval(means) or (None, None)
    return Value(mean=fmean(means), low=low, high=high)
