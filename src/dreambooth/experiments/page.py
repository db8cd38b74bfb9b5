"""One self-contained report.html of an experiment: its tables, and the pictures method by method."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dreambooth.data.pictures import open_image
from dreambooth.experiments.cells import Cell
from dreambooth.experiments.tables import METRICS, REAL, Line, Row, Table
from dreambooth.experiments.trial import CLASS_PICTURES, PICTURES, Result
from dreambooth.experiments.written import choices, interval_of
from dreambooth.generation.prompts import CLASS_PROMPT
from dreambooth.generation.samples import opened, read_samples
from dreambooth.report.page import page_template
from dreambooth.report.pictures import Picture, picture
from dreambooth.support.files import write_text

SIDE = 128
SUBJECTS, PROMPTS, ACROSS = 8, 4, 2
"""How many are shown of each table, and pictures of a prompt side by side: the page stays a few megabytes."""


@dataclass(frozen=True)
class Strip:
    """One prompt, drawn by each row of a table."""

    prompt: str
    shown: tuple[tuple[str, tuple[Picture, ...]], ...]


@dataclass(frozen=True)
class Grid:
    """One subject: photos, and its strips."""

    subject: str
    photos: tuple[Picture, ...]
    strips: tuple[Strip, ...]


@dataclass(frozen=True, kw_only=True)
class Section:
    """A table and its pictures."""

    table: Table
    lines: Sequence[Line]
    differences: Sequence[Line]
    grids: Sequence[Grid]


def section(
    table: Table, lines: Sequence[Line], differences: Sequence[Line], results: Mapping[Cell, Result]
) -> Section:
    """What the page shows of a table."""
    return Section(table=table, lines=lines, differences=differences, grids=list(_grids(table, results)))


def write_page(target: Path, sections: Sequence[Section], facts: Mapping[str, str], judges: Mapping[str, str]) -> None:
    """Write the page; facts: what to say of the experiment at the top."""
    page = page_template("experiment.html.j2", interval=interval_of)
    write_text(target, page.render(sections=sections, facts=facts, judges=judges, metrics=METRICS, choices=choices()))


def _grids(table: Table, results: Mapping[Cell, Result]) -> Iterator[Grid]:
    subjects = {cell.subject.name: cell.subject for cell in table.cells}
    for subject in list(subjects.values())[:SUBJECTS]:
        mine = [
            (row, cell)
            for row in table.rows
            if row.name != REAL
            for cell in [next((cell for cell in row.cells if cell.subject == subject), None)]
            if cell is not None
        ]
        photos = [open_image(photo, SIDE) for photo in subject.photos]
        yield Grid(
            subject.name,
            tuple(picture(photo, SIDE, f"{subject.name}, photo {at}") for at, photo in enumerate(photos, start=1)),
            tuple(_strip(template, mine, results) for template in _templates(table, mine[0][1])),
        )


def _templates(table: Table, cell: Cell) -> list[str]:
    """Prompts of as many kinds as there are, and the class prompt where the table is about the class."""
    kinds = list(dict.fromkeys(prompt.kind for prompt in cell.prompts))
    first = [next(prompt for prompt in cell.prompts if prompt.kind == kind) for kind in kinds]
    more = [prompt for prompt in cell.prompts if prompt not in first]
    shown = [prompt.template for prompt in (*first, *more)[:PROMPTS]]
    return [*shown, CLASS_PROMPT.template] if "pres" in table.metrics else shown


def _strip(template: str, mine: Sequence[tuple[Row, Cell]], results: Mapping[Cell, Result]) -> Strip:
    folder = CLASS_PICTURES if template == CLASS_PROMPT.template else PICTURES
    shown = []
    for row, cell in mine:
        samples = [s for s in read_samples(results[cell].folder / "samples" / folder) if s.template == template]
        pictures = (picture(opened(s), SIDE, f"{s.prompt}, {row.name}, seed {s.seed}") for s in samples[:ACROSS])
        shown.append((row.name, tuple(pictures)))
    return Strip(template.replace("{}", mine[0][1].subject.class_noun), tuple(shown))
