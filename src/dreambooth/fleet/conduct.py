"""A fleet from its subjects to its report."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from dreambooth.errors import DiskError, Interrupted, RunError, in_words
from dreambooth.executors import Engine, Executor, opened
from dreambooth.fleet.manifest import Member
from dreambooth.fleet.outcome import CSV, OUTCOMES, Outcome, outcome_of, write_outcomes
from dreambooth.fleet.page import PAGE, SHOWN, write_page
from dreambooth.fleet.photos import send_photos
from dreambooth.fleet.stored import finished_in, outcomes_in, send_report, strips_in
from dreambooth.fleet.strips import strip_of
from dreambooth.fleet.work import class_job, class_key, classes_of, is_finished, subject_job
from dreambooth.run import Run
from dreambooth.run.lock import locked
from dreambooth.support.progress import log, track
from dreambooth.support.storage import Storage

LOGS = "logs"
"""What each job says, in a file of its own."""

NOT_THERE = "it was carried out, and yet its results are not there: does every process write to the same place?"
"""Of a job that ended well, such as one whose storage is the memory of its own process."""


def fleet(members: Sequence[Member], out: Path, engine: Engine, storage: Storage | None = None) -> str:
    """Carry out what is unfinished of the subjects, and write fleet.html, fleet.csv and fleet.json; says where.

    out: gets a run folder for each subject.  storage: gets their results and the report, and says who is finished; then
    `out` is a folder of each machine's own disk.  The class images of a class are drawn once, before the subjects that
    need them. Raises RunError where subjects failed, after all others were carried out, and Interrupted on Ctrl-C or
    SIGTERM; either way the report is written, and the same call does what is left.
    """
    out = out.absolute()
    try:
        (out / LOGS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DiskError(f"the folder of the fleet cannot be made: {in_words(error)}") from error
    ended: dict[str, str | None] = {}
    with locked(out / ".lock", patience=20):  # of a fleet that was killed
        todo = unfinished(members, out, storage)
        log.info("%d subjects, %d of them finished", len(members), len(members) - len(todo))
        try:
            if todo:
                if storage and engine.name == "ray":  # whose nodes need not see this disk; Slurm's do
                    send_photos(todo, storage)
                with opened(engine, out / LOGS / engine.name) as executor:
                    ends = carried_out(executor, todo, out, storage)
                    for _ in track(todo, "subjects", len(members) - len(todo)):
                        member, problem = next(ends)
                        ended[member.folder] = problem
                        if problem is not None:
                            log.warning("%s: %s", member.name, problem)
        except (KeyboardInterrupt, Interrupted) as stop:
            done = len(members) - len(unfinished(members, out, storage))
            raise Interrupted(
                f"stopped with {done} of {len(members)} subjects finished. Run the same command again to resume."
            ) from stop
        finally:
            outcomes = report(members, out, ended, storage)
    page = f"{storage.url if storage else out}/{PAGE}"
    if failed := [its for its in outcomes if its.state == "failed"]:
        listed = "\n".join(f"  - {its.name}: {its.reason}" for its in failed)
        others = "" if len(failed) == len(members) else f"The others are finished ({page}). "
        raise RunError(
            f"{len(failed)} of {len(members)} subjects failed:\n{listed}\n"
            f"{others}With the same command only these are tried again."
        )
    return page


def unfinished(members: Sequence[Member], out: Path, storage: Storage | None) -> list[Member]:
    """The subjects that have something left to do: here, or where there is a storage, on any machine."""
    if storage is None:
        return [member for member in members if not is_finished(Run(out / member.folder))]
    finished = finished_in(storage)
    return [member for member in members if member.folder not in finished]


def report(
    members: Sequence[Member], out: Path, ended: Mapping[str, str | None], storage: Storage | None
) -> list[Outcome]:
    """Write the table and the page of what there is, and upload them.

    ended: what went wrong with each subject that was carried out just now, by the name of its run folder.
    """
    done = {member.folder for member in members} - {member.folder for member in unfinished(members, out, storage)}
    problems = {folder: problem or NOT_THERE for folder, problem in ended.items() if folder not in done}
    told = outcomes_in(storage, done) if storage else {}
    outcomes = [
        told.get(its.folder) or outcome_of(its, out, its.folder in done, problems.get(its.folder)) for its in members
    ]
    finished = [its for its in outcomes if its.state == "finished"][:SHOWN]
    if storage:
        strips = strips_in(storage, [its.folder for its in finished])
    else:
        photos = {member.folder: member.subject.photos[0] for member in members}
        strips = [strip_of(Run(out / its.folder), its, photos[its.folder]) for its in finished]
    write_outcomes(out, outcomes)
    write_page(out, outcomes, strips)
    if storage:
        send_report(out, (OUTCOMES.name, CSV, PAGE), storage)
    return outcomes


def carried_out(
    executor: Executor, todo: Sequence[Member], out: Path, storage: Storage | None
) -> Iterator[tuple[Member, str | None]]:
    """Carry out subjects, each once its class has all its images; one whose class failed fails with it."""
    logs = out / LOGS
    waiting: defaultdict[str | None, list[Member]] = defaultdict(list)
    for member in todo:
        waiting[class_key(member)].append(member)
    subjects = {member.folder: member for member in todo}
    of_class = {key: class_job(key, its, logs) for key, its in classes_of(todo).items()}
    classes = {job.key: key for key, job in of_class.items()}
    executor.submit([*of_class.values()])
    executor.submit([subject_job(member, out, logs, storage) for member in waiting.pop(None, [])])
    for ended in executor.ended():
        if (key := classes.get(ended.job.key)) is None:
            yield subjects[ended.job.key], ended.problem
        elif ended.problem is None:
            executor.submit([subject_job(member, out, logs, storage) for member in waiting[key]])
        else:
            for member in waiting[key]:
                yield member, f"{ended.job.label}: {ended.problem}"


def listing(members: Sequence[Member], out: Path, storage: Storage | None = None) -> str:
    """Every subject, a line each, and the classes that those to do need."""
    todo = {member.folder for member in unfinished(members, out, storage)}
    lines = [
        f"{its.folder}  {its.subject.class_noun}: {'to do' if its.folder in todo else 'finished'}" for its in members
    ]
    classes = classes_of(member for member in members if member.folder in todo)
    drawn = ", ".join(f'{its.count} of "a {its.class_noun}"' for its in classes.values())
    return "\n".join(
        [*lines, f"{len(members)} subjects, {len(todo)} to do" + (f"; class images: {drawn}" if drawn else "")]
    )
