"""A fleet from its subjects to its report."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from dreambooth.errors import DiskError, Interrupted, RunError, in_words
from dreambooth.executors import Engine, Executor, opened
from dreambooth.fleet.manifest import Member
from dreambooth.fleet.outcome import Outcome, outcome_of, write_outcomes
from dreambooth.fleet.page import PAGE, write_page
from dreambooth.fleet.work import class_job, class_key, classes_of, is_finished, subject_job
from dreambooth.run import Run
from dreambooth.run.lock import locked
from dreambooth.support.progress import log, track

LOGS = "logs"
"""What each job says, in a file of its own."""


def fleet(members: Sequence[Member], out: Path, engine: Engine) -> Path:
    """Carry out what is unfinished of the subjects, and write fleet.html, fleet.csv and fleet.json; returns the page.

    out: gets a run folder for each subject.  The class images of a class are drawn once, before the subjects that need
    them. Raises RunError where subjects failed, after all others were carried out, and Interrupted on Ctrl-C or
    SIGTERM; either way the report is written, and the same call does what is left.
    """
    out = out.absolute()
    try:
        (out / LOGS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DiskError(f"the folder of the fleet cannot be made: {in_words(error)}") from error
    failed: dict[str, str] = {}
    with locked(out / ".lock", patience=20):  # of a fleet that was killed
        todo = unfinished(members, out)
        log.info("%d subjects, %d of them finished", len(members), len(members) - len(todo))
        try:
            if todo:
                with opened(engine, out / LOGS / engine.name) as executor:
                    for member, problem in track_all(executor, todo, out, len(members)):
                        if problem is not None:
                            failed[member.folder] = problem
                            log.warning("%s: %s", member.name, problem)
        except (KeyboardInterrupt, Interrupted) as stop:
            done = len(members) - len(unfinished(members, out))
            raise Interrupted(
                f"stopped with {done} of {len(members)} subjects finished. Run the same command again to resume."
            ) from stop
        finally:
            outcomes = report(members, out, failed)
    if failed:
        listed = "\n".join(f"  - {its.name}: {its.reason}" for its in outcomes if its.state == "failed")
        raise RunError(
            f"{len(failed)} of {len(members)} subjects failed:\n{listed}\n"
            f"The others are finished ({out / PAGE}). With the same command only these are tried again."
        )
    return out / PAGE


def unfinished(members: Sequence[Member], out: Path) -> list[Member]:
    """The subjects that have something left to do."""
    return [member for member in members if not is_finished(Run(out / member.folder))]


def report(members: Sequence[Member], out: Path, failed: Mapping[str, str]) -> list[Outcome]:
    """Write the table and the page of what there is; failed: reasons by the name of the run folder."""
    done = {member.folder for member in members} - {member.folder for member in unfinished(members, out)}
    outcomes = [outcome_of(member, out, member.folder in done, failed.get(member.folder)) for member in members]
    write_outcomes(out, outcomes)
    write_page(out, outcomes)
    return outcomes


def track_all(executor: Executor, todo: Sequence[Member], out: Path, total: int) -> Iterator[tuple[Member, str | None]]:
    """The subjects as they end, with what went wrong, while how many are finished is shown."""
    ends = carried_out(executor, todo, out)
    for _ in track(list(todo), "subjects", total - len(todo)):
        yield next(ends)


def carried_out(executor: Executor, todo: Sequence[Member], out: Path) -> Iterator[tuple[Member, str | None]]:
    """Carry out subjects, each once its class has all its images; one whose class failed fails with it."""
    logs = out / LOGS
    waiting: defaultdict[str | None, list[Member]] = defaultdict(list)
    for member in todo:
        waiting[class_key(member)].append(member)
    subjects = {member.folder: member for member in todo}
    classes = {job.key: key for key, its in classes_of(todo).items() for job in [class_job(key, its, logs)]}
    executor.submit([class_job(key, its, logs) for key, its in classes_of(todo).items()])
    executor.submit([subject_job(member, out, logs) for member in waiting.pop(None, [])])
    for ended in executor.ended():
        if (key := classes.get(ended.job.key)) is None:
            yield subjects[ended.job.key], ended.problem
        elif ended.problem is None:
            executor.submit([subject_job(member, out, logs) for member in waiting[key]])
        else:
            for member in waiting[key]:
                yield member, f"{ended.job.label}: {ended.problem}"


def listing(members: Sequence[Member], out: Path) -> str:
    """Every subject, a line each, and the classes that those to do need."""
    todo = {member.folder for member in unfinished(members, out)}
    lines = [
        f"{its.folder}  {its.subject.class_noun}: {'to do' if its.folder in todo else 'finished'}" for its in members
    ]
    classes = classes_of(member for member in members if member.folder in todo)
    drawn = ", ".join(f'{its.count} of "a {its.class_noun}"' for its in classes.values())
    return "\n".join(
        [*lines, f"{len(members)} subjects, {len(todo)} to do" + (f"; class images: {drawn}" if drawn else "")]
    )
