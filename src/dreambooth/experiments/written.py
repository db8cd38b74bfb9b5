"""A table as text for the eye and as CSV for everything else."""

import csv
import io
from collections.abc import Mapping, Sequence

from dreambooth.evaluation import CHOICES
from dreambooth.experiments import protocol
from dreambooth.experiments.tables import METRICS, Line, Table, Value


def as_csv(table: Table, lines: Sequence[Line]) -> str:
    """A header, then a row per line: method, each metric with its interval's ends, n and how much was measured.

    The first column is called method in every table; what does not apply is empty.
    """
    out = io.StringIO()
    columns = [name for metric in table.metrics for name in (metric, f"{metric}_low", f"{metric}_high")]
    writer = csv.DictWriter(out, ["method", *columns, "n", "runs", "pictures"], lineterminator="\n")
    writer.writeheader()
    for line in lines:
        numbers: dict[str, str] = {}
        for metric, value in line.values.items():
            ends = {metric: value.mean, f"{metric}_low": value.low, f"{metric}_high": value.high}
            numbers |= {name: f"{end:.4f}" for name, end in ends.items() if end is not None}
        counts = {"n": line.n, "runs": line.runs, "pictures": line.pictures}
        writer.writerow({"method": line.name, **numbers, **counts})
    return out.getvalue()


def as_text(table: Table, lines: Sequence[Line], differences: Sequence[Line], judges: Mapping[str, str]) -> str:
    """The table with intervals, its differences, who measured, and what the paper has."""
    heads = [table.heading, *(METRICS[metric][0] for metric in table.metrics), "n", "runs", "pictures"]
    rows = [[line.name.replace("_", " "), *_cells(table, line, "{:.3f}"), *_counts(line)] for line in lines]
    apart = [[line.name.replace("_", " "), *_cells(table, line, "{:+.3f}"), *_counts(line)] for line in differences]
    widths = [max(len(row[at]) for row in [heads, *rows, *apart]) for at in range(len(heads))]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    drawn = [rule if row is None else _spaced(row, widths) for row in [heads, None, *rows, None, *apart]]
    return "\n".join(
        [
            f"{table.name}: {table.title}",
            "",
            *drawn,
            "",
            "judges: " + ", ".join(f"{what}: {name}" for what, name in judges.items()),
            f"in the paper, by its own judges and models: {table.paper}",
            "",
        ]
    )


def choices() -> dict[str, str]:
    """What the paper leaves open and is settled here, by what it is about."""
    return {**CHOICES, **protocol.CHOICES}


def choices_as_text() -> str:
    """The same, a line each."""
    return "\n".join(["how it was measured:", *(f"  {about}: {says}" for about, says in choices().items()), ""])


def interval_of(value: Value, form: str = "{:.3f}") -> str:
    """The interval as people write it, "[0.61, 0.70]"; empty where there is none."""
    return "" if value.low is None or value.high is None else f"[{form.format(value.low)}, {form.format(value.high)}]"


def _cells(table: Table, line: Line, form: str) -> list[str]:
    found = [line.values.get(metric) for metric in table.metrics]
    return ["-" if v is None else f"{form.format(v.mean)} {interval_of(v, form)}".rstrip() for v in found]


def _counts(line: Line) -> list[str]:
    return [str(line.n), str(line.runs), str(line.pictures)]


def _spaced(row: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
