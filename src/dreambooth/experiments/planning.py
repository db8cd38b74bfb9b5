"""What an experiment will compute: its tables, their distinct cells, and the minutes they take."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from dreambooth import adapters, models
from dreambooth.config import Config, idle
from dreambooth.config.worlds import EMBEDDED, named
from dreambooth.data.photos import check_photos
from dreambooth.errors import ConfigError
from dreambooth.evaluation import Judges
from dreambooth.executors import default_jobs
from dreambooth.experiments.cells import CASCADE, Cell, Cells
from dreambooth.experiments.protocol import FULL, SMALL, Share
from dreambooth.experiments.subjects import examples, in_folder
from dreambooth.experiments.tables import Table, table
from dreambooth.experiments.trial import Result, judges_of
from dreambooth.support.progress import duration


@dataclass(frozen=True, kw_only=True)
class Plan:
    """An experiment before it is carried out.

    cells: the folder of each cell, in the order of the tables; cells whose pictures depend on the same share one.
    judges: who will measure.  usual: about how many seconds a cell of a kind takes, before one is finished.
    """

    out: Path
    tables: tuple[Table, ...]
    cells: Mapping[Cell, Path]
    config: Config
    judges: Judges
    usual: Mapping[str, float]

    def results(self) -> dict[Cell, Result]:
        """The cells that are finished, by these judges."""
        found = {cell: Result.read(folder) for cell, folder in self.cells.items()}
        return {cell: result for cell, result in found.items() if result and result.judges == self.judges.names}

    def todo(self) -> dict[Path, Cell]:
        """A cell for each folder that is not."""
        done = self.results()
        return {folder: cell for folder, cell in self.distinct().items() if cell not in done}

    def distinct(self) -> dict[Path, Cell]:
        """A cell for each folder."""
        found: dict[Path, Cell] = {}
        for cell, folder in self.cells.items():
            found.setdefault(folder, cell)
        return found

    def seconds(self) -> dict[Cell, float | None]:
        """About how long each unfinished cell takes on one core or GPU: the mean of finished ones of its kind.

        Without any, what is usual, and None where nothing is.
        """
        done, found = self.results(), {}
        for cell in self.todo().values():
            similar = [result.seconds for other, result in done.items() if other.kind == cell.kind]
            found[cell] = fmean(similar) if similar else self.usual.get(cell.kind)
        return found

    def listing(self, jobs: int | None) -> str:
        """Every cell, a line each, and about how long the unfinished ones take, so many at a time."""
        jobs = jobs or default_jobs()
        seconds, todo = self.seconds(), self.todo()
        times = {None: "time unknown"} | {value: f"about {duration(value)}" for value in seconds.values() if value}
        lines = [
            f"{folder.name}  {cell.label}: {times[seconds[cell]] if folder in todo else 'finished'}"
            for folder, cell in self.distinct().items()
        ]
        known = [value for value in seconds.values() if value is not None]
        total = f"about {duration(sum(known) / jobs)}" if len(known) == len(seconds) else "time unknown"
        shares = ", ".join(f"{table.name} {len(table.cells)}" for table in self.tables)
        summary = f"{len(self.distinct())} distinct cells ({shares}), {len(todo)} to do with {jobs} at a time: {total}"
        return "\n".join([*lines, summary])


def plan(
    names: Sequence[str],
    settings: Mapping[str, Any],
    out: Path,
    *,
    subjects_dir: Path | None = None,
    subject_seeds: Sequence[int] | None = None,
    seeds: Sequence[int] | None = None,
    full: bool = False,
    cascade: str | None = None,
) -> Plan:
    """The cells of the tables `names`, found or to be computed in out/cells.

    settings: flat, as `Config.build` takes them.  subjects_dir: a folder of folders of photos; without it toys, those
    of `subject_seeds`.  cascade: a pixel cascade that Table 1 has a row of.  Every table takes all toys and seeds that
    were given, and what was not is shared as the protocol says; so are the subjects of a folder among several tables.
    Opens the base models and the judges. Raises ConfigError, PhotoError or ModelError.
    """
    protocol = FULL if full else SMALL
    _require_sense(names, subjects_dir, subject_seeds, cascade)
    given = Config.build({name: value for name, value in settings.items() if name not in idle("dreambooth")})
    world = given.world if subjects_dir or given.world.examples else named(EMBEDDED)
    subjects = (
        in_folder(subjects_dir) if subjects_dir else examples(world, subject_seeds or protocol.toys, out / "subjects")
    )
    for subject in subjects:
        check_photos(subject.photos)
    cells = Cells(settings=settings, protocol=protocol, world=world, cascade=cascade)
    wanted_seeds = tuple(dict.fromkeys(seeds or protocol.seeds))
    all_subjects = subject_seeds or (subjects_dir and len(names) == 1)
    tables = []
    for name in names:
        share = protocol.shares[name]
        share = Share(
            subjects=len(subjects) if all_subjects else share.subjects,
            seeds=len(wanted_seeds) if seeds else share.seeds,
        )
        tables.append(table(name, cells, subjects, wanted_seeds, share))
    wanted = [cell for each in tables for cell in each.cells]
    _require_use(settings, names, wanted)
    weights = _fingerprints(given, wanted)
    return Plan(
        out=out,
        tables=tuple(tables),
        cells={cell: out / "cells" / cell.address(weights[cell.row == CASCADE]) for cell in wanted},
        config=given,
        judges=judges_of(given),
        usual={} if full else given.world.cell_seconds,
    )


def _require_sense(names: Sequence[str], subjects_dir: Path | None, toys: object, cascade: str | None) -> None:
    problems = []
    if subjects_dir is not None and toys is not None:
        problems.append("--subject-seeds picks toys and --subjects a folder: give one of them")
    if cascade is not None and "table1" not in names:
        problems.append("--cascade makes a row of table1: leave it out")
    if problems:
        raise ConfigError(problems)


def _require_use(settings: Mapping[str, Any], names: Sequence[str], cells: Sequence[Cell]) -> None:
    """Raise ConfigError for settings that are of other methods than those of the cells."""
    methods = {cell.config.method.method for cell in cells}
    problems = []
    for name in settings:
        if all(name in idle(method) for method in methods):
            users = [method for method in FULL.methods if name not in idle(method)]
            where = "table1" if set(users) & set(SMALL.methods) else "table1 --full"
            problems.append(
                f"{name}: means nothing to the methods of {', '.join(names)}: leave it out, or ask for {where}, which "
                f"has {' and '.join(users)}"
            )
    if problems:
        raise ConfigError(problems)


def _fingerprints(given: Config, cells: Sequence[Cell]) -> dict[bool, str]:
    """Of the base model's weights (False), and of the cascade's (True) where the cells have one.

    Raises ConfigError for a cascade of another world, for one that is none, and for settings that a model cannot have.
    """
    base = models.load(given.base, given.data.resolution)
    _check(base, [cell for cell in cells if cell.row != CASCADE])
    found = {False: base.fingerprint()}
    if of_cascade := [cell for cell in cells if cell.row == CASCADE]:
        config = of_cascade[0].config
        name, its, ours = config.base.model, config.world.name, given.world.name
        if its != ours:
            raise ConfigError([f"--cascade: {name} is of {its} and the base model of {ours}: give two of one world"])
        model = models.load(config.base, config.data.resolution)
        if len(model.stages) == 1:
            raise ConfigError([f"--cascade: {name} draws in one stage: give a cascade, such as toybox-cascade"])
        _check(model, of_cascade)
        found[True] = model.fingerprint()
    return found


def _check(model: models.DiffusionModel, cells: Sequence[Cell]) -> None:
    """Raise ConfigError for what the model cannot have, asked of one cell of each row: they differ in no such thing."""
    for config in {cell.row: cell.config for cell in cells}.values():
        models.check(model, config)
        if config.training.max_train_steps:
            adapters.check(model, config)
