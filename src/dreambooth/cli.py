"""The command line: `run` for the whole method, and each of its stages alone on the run folder it left."""

import contextlib
import io
import logging
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dreambooth.config.commands import CANNOT_TELL, parser
from dreambooth.config.completion import script
from dreambooth.config.flags import config_of, given_settings
from dreambooth.config.many import TABLES
from dreambooth.config.worlds import EMBEDDED
from dreambooth.errors import DreamBoothError, Interrupted, in_words
from dreambooth.support.device import computing_on
from dreambooth.support.distributed import joined
from dreambooth.support.libraries import quiet_libraries
from dreambooth.support.progress import log, show_log
from dreambooth.support.signals import sigterm_as_ctrl_c

if TYPE_CHECKING:
    from dreambooth.executors import Engine

STOPPED = 130
"""Exit status after Ctrl-C, as shells have it."""


def main(words: Sequence[str], version: str) -> int:
    """Run one command; returns the exit status: 0, 2 for anything the user can fix, 130 when stopped."""
    quiet_libraries()
    show_log()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that lacks a letter of a path shows its number
            stream.reconfigure(errors="backslashreplace")
    try:
        with sigterm_as_ctrl_c():
            parsed = parser(version).parse(words)
            with computing_on(getattr(parsed, "device", None)), joined() as world:
                if world.rank == 0:
                    COMMANDS[parsed.command](parsed)
                else:
                    _train_along()
    except (Interrupted, KeyboardInterrupt) as stop:
        print(str(stop) or "stopped: run the same command again to resume.", file=sys.stderr)
        return STOPPED
    except DreamBoothError as error:
        print(f"dreambooth: {error}", file=sys.stderr)
        return 2
    except Exception as error:
        if (sentence := in_words(error)) is None:
            raise  # a fault of this package: its traceback is what a report of it needs
        print(f"dreambooth: {sentence}", file=sys.stderr)
        return 2
    return 0


def _train_along() -> None:
    """In every process but the first, which speaks for all."""
    from dreambooth.along import train_along

    log.setLevel(logging.ERROR)
    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
            train_along()
    except Interrupted:
        sys.exit(STOPPED)


def _run(parsed: Namespace) -> None:
    first, nouns = parsed.photos_dir, parsed.class_nouns or []
    if first.suffix.lower() == ".toml" and not first.is_dir():
        from dreambooth.subjects.together import read_together

        names, subjects, config = read_together(first, given_settings(parsed), parsed.also, nouns)
    else:
        folders = [first, *parsed.also]
        if parsed.identifiers and parsed.also:
            parsed.identifier = None  # of all subjects it is none, whatever --config says
        config = config_of(parsed)  # before torch is imported: a typing error shows at once
        from dreambooth.config.machine import check_reach

        check_reach(config)
        from dreambooth.subjects.together import subjects_of

        names = [Path(os.path.abspath(folder)).name for folder in folders]
        subjects = subjects_of(folders, nouns, config.world, parsed.identifiers, not parsed.plan)
    from dreambooth import recipe
    from dreambooth.report.write import results

    root = parsed.output_dir or Path("runs") / "-".join(names)
    if parsed.plan:
        print(recipe.plan(subjects[0], config, root, subjects[1:]))
        return
    print(results(recipe.dreambooth(subjects[0], config, root, subjects[1:])))


def _class_noun(parsed: Namespace) -> None:
    world = config_of(parsed).world
    from dreambooth.class_noun import read_class_noun
    from dreambooth.data.photos import photos_in

    reading = read_class_noun(photos_in(parsed.photos_dir), world)
    print(reading.table())
    if reading.noun is None:
        print(reading.foreign or CANNOT_TELL)


def _doctor(parsed: Namespace) -> None:
    config = config_of(parsed)
    from dreambooth.doctor.faults import table

    if parsed.photos_dir is None:
        from dreambooth.doctor.installation import examine_installation

        facts, faults = examine_installation(Path.cwd())
        width = max(len(name) for name, _ in facts)
        print(*(f"{name:<{width}}  {value}" for name, value in facts), sep="\n", end="\n\n")
    else:
        from dreambooth.doctor.folder import examine_folder

        faults = examine_folder(parsed.photos_dir, parsed.class_noun.strip(), config)
    print(table(faults, "file" if parsed.photos_dir else "where") if faults else "No fault was found.")
    if fatal := sum(fault.fatal for fault in faults):
        raise DreamBoothError(f"{fatal} of these cannot be used as they are.")


def _continue(parsed: Namespace) -> None:
    from dreambooth.run import Run

    run = Run.open(parsed.run_dir)
    from dreambooth.recipe import resume
    from dreambooth.report.write import results

    print(results(resume(run, parsed.max_train_steps, parsed.early_stopping, parsed.use_step)))


def _stage(parsed: Namespace) -> None:
    from dreambooth.run import Run

    run = Run.open(parsed.run_dir)
    from dreambooth import recipe

    with run.lock():
        match parsed.command:
            case "identifier":
                print(*(its.name for its in recipe.name_subjects(run)), sep="\n")
            case "prior":
                count = sum(map(len, recipe.generate_class_images(run)))
                print(f"{count} class images, listed in {run.root / 'prior.json'}" if count else "It takes none.")
            case "finetune":
                print(recipe.personalise(run))
            case "report":
                print(recipe.report(run))


def _generate(parsed: Namespace) -> None:
    from dreambooth.run import Run

    run, settings = Run.open(parsed.run_dir), given_settings(parsed)
    from dreambooth.personal import generate, personal_model

    if parsed.prompts or settings or parsed.count is not None or parsed.first_seed is not None:
        samples = generate(run, parsed.prompts, count=parsed.count, seed=parsed.first_seed, **settings)
        print(*(sample.path for sample in samples), sep="\n")
    else:
        from dreambooth.recipe import generate_samples

        with run.lock():
            print(*generate_samples(run, personal_model(run), "after"), sep="\n")


def _export(parsed: Namespace) -> None:
    predicts = config_of(parsed).base.prediction_type
    from dreambooth.export import export_folder, export_single_file, push_to_hub

    idle = "public" if parsed.repo is None else "dtype"
    if getattr(parsed, idle):
        raise DreamBoothError(f"--{idle} does nothing {'with' if idle == 'dtype' else 'without'} --push-to-hub.")
    target = parsed.single_file or parsed.folder
    if target:
        export = export_single_file if parsed.single_file else export_folder
        export(parsed.source, target, parsed.dtype or "float32", predicts)
    print(target or push_to_hub(parsed.source, parsed.repo, parsed.public))


def _evaluate(parsed: Namespace) -> None:
    given = given_settings(parsed)
    config_of(parsed)  # before torch is imported: a typing error shows at once
    from dreambooth.run.contents import require_pictures

    require_pictures(parsed.pictures)
    from dreambooth.probe.scoring import RESULT, evaluate, result_file, table

    target: Path = parsed.out or parsed.pictures / RESULT
    file = result_file(target)  # before the pictures are looked at
    scored = evaluate(parsed.pictures, given, parsed.photos, parsed.class_noun.strip(), parsed.prompts)
    file.write(target.parent, scored)
    print(f"{table(scored)}\nwritten to {target}")


def _experiment(parsed: Namespace) -> None:
    settings, engine = given_settings(parsed), _engine(parsed)
    from dreambooth import experiments

    plan = experiments.plan(
        list(TABLES) if parsed.table == "all" else [parsed.table],
        settings,
        parsed.out,
        subjects_dir=parsed.subjects,
        subject_seeds=parsed.subject_seeds,
        seeds=parsed.seeds,
        full=parsed.full,
        cascade=parsed.cascade,
    )
    if parsed.list:
        print(plan.listing(parsed.jobs))
        return
    tables, page = experiments.experiment(plan, engine)
    print(f"{tables}\nreport  {page}")


def _fleet(parsed: Namespace) -> None:
    settings, engine = given_settings(parsed), _engine(parsed)
    from dreambooth.support.storage import Storage, opened

    reach = Storage.at if parsed.list else opened  # a list needs no more than to read
    # before torch is imported: a mistake shows at once
    storage = None if parsed.storage is None else reach(parsed.storage)
    from dreambooth import fleet

    out = parsed.output_dir or Path("runs") / parsed.subjects.stem
    members = fleet.read_manifest(parsed.subjects, settings, here=parsed.executor == "local")
    if parsed.list:
        print(fleet.listing(members, out, storage))
    else:
        print(f"report  {fleet.fleet(members, out, engine, storage)}")


def _engine(parsed: Namespace) -> "Engine":
    from dreambooth.executors import Engine

    given = {name: getattr(parsed, name) for name in ("jobs", "cpus", "gpus", "ray_address")}
    return Engine(name=parsed.executor, slurm=tuple(parsed.slurm), **given)


def _compare(parsed: Namespace) -> None:
    from dreambooth.run import Run
    from dreambooth.run.compare import compare

    print(compare([Run.open(folder) for folder in parsed.run_dirs]).table())


def _web(parsed: Namespace) -> None:
    try:
        from dreambooth.web.server import serve
    except ModuleNotFoundError as error:
        raise DreamBoothError(f"the page needs {error.name}: pip install 'dreambooth[web]'.") from error
    serve(parsed.root, parsed.host, parsed.port, parsed.names, parsed.models)


def _toybox_photos(parsed: Namespace) -> None:
    from dreambooth.toybox.photos import photos

    try:
        written = photos(parsed.class_noun, parsed.seed, parsed.count, parsed.out, size=parsed.size)
    except (ValueError, FileExistsError) as error:
        raise DreamBoothError(str(error)) from error
    print(f"{len(written)} photos of one {parsed.class_noun}, and truth.json, are in {parsed.out}")


def _completion(parsed: Namespace) -> None:
    print(script(parsed.shell, parser("")), end="")


COMMANDS: dict[str, Callable[[Namespace], None]] = {
    "run": _run,
    "class-noun": _class_noun,
    "doctor": _doctor,
    "continue": _continue,
    "generate": _generate,
    **dict.fromkeys(("identifier", "prior", "finetune", "report"), _stage),
    "export": _export,
    "evaluate": _evaluate,
    "experiment": _experiment,
    "fleet": _fleet,
    "compare": _compare,
    "web": _web,
    f"{EMBEDDED} photos": _toybox_photos,
    "completion": _completion,
}
"""What each command of commands.py does; what is heavy is imported by the one that needs it."""
