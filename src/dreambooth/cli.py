"""The command line: `run` for the whole method, and each of its stages alone on the run folder it left."""

import argparse
import io
import logging
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from dreambooth.config.flags import Parser, UsageError, add_settings, given_settings
from dreambooth.errors import DreamBoothError, Interrupted, in_words
from dreambooth.support.progress import log, quiet_libraries
from dreambooth.support.signals import stopped_by

STAGES = {
    "identifier": "choose the rare token that will name the subject (section 3.2)",
    "prior": "draw the class images (section 3.3)",
    "finetune": "fine-tune the model on photos and class images, and save it",
    "generate": "draw the subject in new scenes with the personalised model (section 4)",
    "report": "write report.html and the contact sheet again",
}
TABLES = {
    "table1": "subject and prompt fidelity, method by method",
    "table3": "with and without the class prior",
    "table4": "the class noun: correct, wrong, none",
    "table5": "the number of photos, 1 to 5",
}
STOPPED = 130
"""Exit status after Ctrl-C, as shells have it."""


def main(words: Sequence[str], version: str) -> int:
    """Run one command; returns the exit status: 0, 2 for anything the user can mend, 130 when stopped."""
    _show_log()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that lacks a letter of a path shows its number
            stream.reconfigure(errors="backslashreplace")
    try:
        with _sigterm_as_interruption():
            parsed = parser(version).parse(words)
            command: Callable[[argparse.Namespace], None] = parsed.command
            command(parsed)
    except (Interrupted, KeyboardInterrupt) as stop:
        print(str(stop) or "stopped: run the same command again to go on.", file=sys.stderr)
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


def parser(version: str) -> Parser:
    """The parser of every command."""
    top = Parser(
        prog="dreambooth",
        description="A few photos of one thing in, the same thing in new scenes out (DreamBooth, Ruiz et al. 2023).",
        epilog="`dreambooth COMMAND --help` tells more. A run that was stopped goes on when the same command is given.",
    )
    top.add_argument("--version", action="version", version=f"dreambooth {version}")
    commands = top.add_subparsers(metavar="COMMAND", required=True, title="commands")
    _add_run(commands)
    for stage, summary in STAGES.items():
        command = _add(commands, stage, summary, _stage)
        command.add_argument("run_dir", metavar="RUN_DIR", type=_path, help="folder that `dreambooth run` made")
        command.set_defaults(stage=stage)
        if stage == "generate":
            command.add_argument(
                "--prompts",
                nargs="+",
                action="extend",
                default=[],
                metavar="TEXT",
                help='with {} for the subject, as in "a {} on the moon" [default: the prompts of the run]',
            )
    _add_evaluate(commands)
    _add_experiment(commands)
    _add_toybox(commands)
    return top


def _add_run(commands: "argparse._SubParsersAction[Parser]") -> None:
    summary = "the whole method: photos in, personalised model, pictures and report out"
    command = _add(commands, "run", summary, _run)
    command.usage = "dreambooth run PHOTOS_DIR --class-noun NOUN [--output-dir DIR] [--config FILE] [settings]"
    command.epilog = (
        "Underscores work too (--learning_rate), and so do two names of diffusers' scripts: "
        "--pretrained-model-name-or-path for --model, --instance-data-dir for PHOTOS_DIR."
    )
    command.add_argument("photos_dir", metavar="PHOTOS_DIR", type=_path, help="folder with the photos; never changed")
    command.add_argument("--class-noun", required=True, metavar="NOUN", help='what kind of thing it is, such as "dog"')
    command.add_argument(
        "--output-dir", type=_path, metavar="DIR", help="run folder [default: runs/<name of the photos folder>]"
    )
    command.add_argument("--config", type=_path, metavar="FILE", help="TOML file of settings; flags override it")
    add_settings(command)


def _add_evaluate(commands: "argparse._SubParsersAction[Parser]") -> None:
    command = _add(commands, "evaluate", "score pictures against photos: a run's samples, or a folder's", _evaluate)
    command.usage = "dreambooth evaluate RUN_DIR|FOLDER [--photos DIR] [--class-noun NOUN] [--prompts TEXT ...]"
    command.epilog = (
        "A folder's judges are the embedded ones where its pictures say that the toybox drew them, else the paper's, "
        "from the hub."
    )
    command.add_argument("pictures", metavar="RUN_DIR|FOLDER", type=_path, help="a run, or pictures that any tool made")
    command.add_argument(
        "--photos", type=_path, metavar="DIR", help="photos of the subject [default: those of the run]"
    )
    command.add_argument(
        "--class-noun", default="", metavar="NOUN", help="of a folder: the kind of thing, where a prompt has {}"
    )
    command.add_argument(
        "--prompts",
        nargs="+",
        action="extend",
        default=[],
        metavar="TEXT",
        help="of a folder: one for all pictures, or one each in the order of names [default: as they say themselves]",
    )
    command.add_argument(
        "--out", type=_path, metavar="FILE", help="the numbers as JSON [default: evaluation.json among the pictures]"
    )
    add_settings(command, "evaluation")


def _add_experiment(commands: "argparse._SubParsersAction[Parser]") -> None:
    command = _add(commands, "experiment", "the paper's tables: methods x subjects x prompts x seeds", _experiment)
    command.usage = "dreambooth experiment TABLE [--model MODEL] [--subjects DIR] [--full] [--list] [settings]"
    command.epilog = (
        "On the toybox and two cores `experiment all` takes less than an hour; --list tells beforehand. What is "
        "finished is kept in DIR/cells and shared by all tables."
    )
    listed = "; ".join(f"{name}: {summary}" for name, summary in TABLES.items())
    command.add_argument("table", metavar="TABLE", choices=[*TABLES, "all"], help=f"{listed}; or all of them")
    command.add_argument(
        "--subjects",
        type=_path,
        metavar="DIR",
        help="folder with a folder of photos per subject, its class from classes.csv (lines folder,noun,description) "
        "or the folder's name [default: toys]",
    )
    command.add_argument("--subject-seeds", type=_numbers, metavar="N,N,...", help="which toys [default: 11 to 18]")
    command.add_argument("--seeds", type=_numbers, metavar="N,N,...", help="seeds of the training [default: 0,1,2]")
    command.add_argument("--full", action="store_true", help="as many subjects, prompts and images as in the paper")
    command.add_argument("--list", action="store_true", help="print the cells and about how long they take, and stop")
    command.add_argument(
        "--jobs", type=int, metavar="N", help="cells at a time, one thread each [default: one per core; with a GPU 1]"
    )
    command.add_argument(
        "--out", type=_path, default=Path("runs/experiment"), metavar="DIR", help="[default: runs/experiment]"
    )
    command.add_argument("--config", type=_path, metavar="FILE", help="TOML file of settings; flags override it")
    add_settings(command)


def _path(text: str) -> Path:
    """Every path of the command line: shells leave a "~" after "=" as it is."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: there is no such user") from error


def _between(low: int, high: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not (text.removeprefix("-").isdecimal() and low <= int(text) <= high):
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {low} to {high}")
        return int(text)

    return number


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of whole numbers, such as 11,12,13") from error


def _add_toybox(commands: "argparse._SubParsersAction[Parser]") -> None:
    toybox = commands.add_parser("toybox", help="the embedded model's own little world", description="The toybox.")
    toybox.set_defaults(parser=toybox)
    inner = toybox.add_subparsers(metavar="COMMAND", required=True, title="commands")
    command = _add(inner, "photos", "render photos of a toy that the embedded model has never seen", _toybox_photos)
    command.add_argument("--class-noun", required=True, metavar="NOUN", help="kind of toy, such as dog, cat or teapot")
    command.add_argument(
        "--seed", type=_between(0, 2**31 - 1), required=True, metavar="N", help="which toy: every seed gives another"
    )
    command.add_argument(
        "--count", type=_between(1, 10_000), default=4, metavar="N", help="photos to take [default: 4]"
    )
    command.add_argument(
        "--size", type=_between(16, 4096), default=256, metavar="N", help="side in pixels [default: 256]"
    )
    command.add_argument("--out", type=_path, required=True, metavar="DIR", help="new folder for photos and truth.json")


def _add(
    commands: "argparse._SubParsersAction[Parser]", name: str, summary: str, run: Callable[[argparse.Namespace], None]
) -> Parser:
    command = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
    command.set_defaults(command=run, parser=command)
    return command


def _run(parsed: argparse.Namespace) -> None:
    from dreambooth.config import Config

    config = Config.build(given_settings(parsed))  # before torch is imported: a typing error is told at once
    from dreambooth.data.photos import photos_in
    from dreambooth.subject import Subject

    photos: Path = parsed.photos_dir
    subject = Subject(photos=photos_in(photos), class_noun=parsed.class_noun.strip())
    from dreambooth.recipe import dreambooth

    root = parsed.output_dir or Path("runs") / photos.absolute().name
    run = dreambooth(subject, config, root)
    print(f"report         {run.report}\ncontact sheet  {run.root / 'contact-sheet.png'}\nmodel          {run.model}")


def _stage(parsed: argparse.Namespace) -> None:
    from dreambooth.run import Run

    run = Run.open(parsed.run_dir)
    from dreambooth import recipe

    if parsed.stage == "generate" and parsed.prompts:
        print(*(sample.path for sample in recipe.draw(run, parsed.prompts)), sep="\n")
        return
    with run.only_writer():
        match parsed.stage:
            case "identifier":
                print(recipe.name_subject(run, compare=True).name)
            case "prior":
                print(f"{len(recipe.draw_class_images(run))} class images, listed in {run.root / 'prior.json'}")
            case "finetune":
                print(recipe.personalise(run))
            case "generate":
                recipe.draw_samples(run, recipe.personal_model(run), "after")
                print(run.samples / "after")
            case "report":
                print(recipe.report(run))


def _evaluate(parsed: argparse.Namespace) -> None:
    from dreambooth.config import Config

    given = given_settings(parsed)
    Config.build(given)  # before torch is imported: a typing error is told at once
    from dreambooth.probe.scoring import evaluate
    from dreambooth.support.files import write_json

    folder: Path = parsed.pictures
    scored = evaluate(folder, given, parsed.photos, parsed.class_noun.strip(), parsed.prompts)
    target = parsed.out or folder / "evaluation.json"
    write_json(target, scored.record)
    print(f"{scored.table}\nwritten to {target}")


def _experiment(parsed: argparse.Namespace) -> None:
    if parsed.jobs is not None and parsed.jobs < 1:
        raise UsageError(f"--jobs {parsed.jobs}: at least one cell at a time.")
    settings = given_settings(parsed)
    from dreambooth import experiments

    plan = experiments.plan(
        list(TABLES) if parsed.table == "all" else [parsed.table],
        settings,
        parsed.out,
        subjects_dir=parsed.subjects,
        subject_seeds=parsed.subject_seeds,
        seeds=parsed.seeds,
        full=parsed.full,
    )
    jobs = parsed.jobs or experiments.default_jobs()
    if parsed.list:
        print(plan.listing(jobs))
        return
    tables, page = experiments.experiment(plan, jobs)
    print(f"{tables}\nreport  {page}")


def _toybox_photos(parsed: argparse.Namespace) -> None:
    from dreambooth.toybox.photos import photos

    try:
        written = photos(parsed.class_noun, parsed.seed, parsed.count, parsed.out, size=parsed.size)
    except (ValueError, FileExistsError) as error:
        raise DreamBoothError(str(error)) from error
    print(f"{len(written)} photos of one {parsed.class_noun}, and truth.json, are in {parsed.out}")


def _show_log() -> None:
    quiet_libraries()

    class Plain(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            prefix = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
            return prefix + record.getMessage()

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Plain())
    log.handlers = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False


@contextmanager
def _sigterm_as_interruption() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        # no DreamBoothError: what catches those of a damaged file would catch it too
        raise stopped_by("SIGTERM")

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
