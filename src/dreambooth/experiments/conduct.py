"""An experiment from its plan to its tables."""

from datetime import date
from pathlib import Path

from dreambooth.config.settings import without_place
from dreambooth.errors import Interrupted, RunError
from dreambooth.executors import Engine, Job, opened
from dreambooth.experiments.cells import CASCADE, Cell
from dreambooth.experiments.page import section, write_page
from dreambooth.experiments.planning import Plan
from dreambooth.experiments.tables import differences, lines
from dreambooth.experiments.trial import carry_out
from dreambooth.experiments.written import as_csv, as_text, choices_as_text
from dreambooth.support.files import write_text
from dreambooth.support.progress import duration, track


def experiment(plan: Plan, engine: Engine) -> tuple[str, Path]:
    """Carry out what is unfinished of the plan, and write its tables and report.html.

    Returns the tables as text, and the page. out/ gets <table>.txt and <table>.csv of each table, and the page. Raises
    Interrupted on Ctrl-C or SIGTERM, RunError where cells failed: what is finished is kept and not computed again.
    """
    todo, total = plan.todo(), len(plan.distinct())
    failed = []
    try:
        with opened(engine, plan.out / engine.name) as executor:
            executor.submit([_job(cell, folder) for folder, cell in todo.items()])
            ends = executor.ended()
            for _ in track(list(todo), "cells", total - len(todo)):
                ended = next(ends)
                failed += [f"{ended.job.label}: {ended.problem}"] if ended.problem else []
    except (KeyboardInterrupt, Interrupted) as stop:
        done = total - len(plan.todo())
        raise Interrupted(
            f"stopped with {done} of {total} cells finished. Run the same command again to resume."
        ) from stop
    if failed:
        listed = "\n".join(f"  - {problem}" for problem in failed)
        raise RunError(
            f"{len(failed)} of {total} cells could not be computed:\n{listed}\n"
            "The others are kept: with the same command only these are computed again."
        )
    return _written(plan)


def _job(cell: Cell, folder: Path) -> Job:
    return Job(key=folder.name, label=cell.label, work=carry_out, given=(cell, folder.absolute()))


def _written(plan: Plan) -> tuple[str, Path]:
    results, texts, sections = plan.results(), [], []
    for table in plan.tables:
        rows, apart = lines(table, results), differences(table, results)
        texts.append(as_text(table, rows, apart, plan.judges.names))
        write_text(plan.out / f"{table.name}.txt", f"{texts[-1]}\n{choices_as_text()}")
        write_text(plan.out / f"{table.name}.csv", as_csv(table, rows))
        sections.append(section(table, rows, apart, results))
    bases = {"base model": plan.config.base.model}
    if of_cascade := [cell.config.base.model for cell in results if cell.row == CASCADE]:
        bases["cascade"] = of_cascade[0]
    facts = {
        **{what: str(without_place(base)) for what, base in bases.items()},  # a page travels, a path says too much
        "subjects": str(len({cell.subject.name for cell in results})),
        "fine-tunings and their pictures": str(len(results)),
        "computing time in all": duration(sum(result.seconds for result in results.values())),
        "written": date.today().isoformat(),
    }
    page = plan.out / "report.html"
    write_page(page, sections, facts, plan.judges.names)
    return "\n".join([*texts, choices_as_text()]), page
