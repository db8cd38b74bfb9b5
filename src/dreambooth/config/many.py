"""The commands of many runs, the paper's tables and fleets of subjects, and the flags that say who carries them out."""

import argparse
from pathlib import Path

from dreambooth.config.parser import Parser, between, numbers, path
from dreambooth.config.peers import with_aliases

TABLES = {
    "table1": "subject and prompt fidelity, method by method",
    "table3": "with and without the class prior",
    "table4": "the class noun: correct, wrong, none",
    "table5": "the number of photos, 1 to 5",
}
ENGINES = ("local", "ray", "slurm")


def experiment(command: Parser) -> None:
    """What `dreambooth experiment` takes beside settings."""
    command.usage = "dreambooth experiment TABLE [--model MODEL] [--subjects DIR] [--full] [--list] [settings]"
    command.example = "dreambooth experiment table1 --list"
    command.epilog = (
        "On the toybox and two cores `experiment all` takes 18 minutes to an hour; --list says beforehand. What is "
        "finished is kept in DIR/cells and shared by all tables."
    )
    listed = "; ".join(f"{name}: {summary}" for name, summary in TABLES.items())
    command.add_argument("table", metavar="TABLE", choices=[*TABLES, "all"], help=f"{listed}; or all of them")
    command.add_argument(
        "--subjects",
        type=path,
        metavar="DIR",
        help="folder with a folder of photos per subject, its class from classes.csv (lines folder,noun,description) "
        "or the folder's name; `all` gives each table the first of them, as many as toys by default [default: toys]",
    )
    text = (
        "which toys, of every table [default: from 11 on, 8 for table1, 4 for table3 and table4, 2 for table5; --full: "
        "30, 15, 5 and 2]"
    )
    command.add_argument("--subject-seeds", type=numbers, metavar="N,N,...", help=text)
    text = "of the training, of every table [default: 0; --full: 0,1,2 for table3 and table4]"
    command.add_argument("--seeds", type=numbers, metavar="N,N,...", help=text)
    command.add_argument("--full", action="store_true", help="as many subjects, prompts and images as in the paper")
    command.add_argument(
        "--cascade",
        metavar="MODEL",
        help="table1: a row of DreamBooth on this pixel cascade too, such as toybox-cascade",
    )
    command.add_argument("--list", action="store_true", help="print the cells and about how long they take, and stop")
    _add_engine(command, "cells")
    out = Path("runs/experiment")
    command.add_argument(
        "--out", type=path, default=out, metavar="DIR", help="folder of its runs and results [default: runs/experiment]"
    )


def fleet(command: Parser) -> None:
    """What `dreambooth fleet` takes beside settings."""
    command.usage = (
        "dreambooth fleet SUBJECTS [--output-dir DIR] [--storage URL] [--jobs N] [--executor NAME] [settings]"
    )
    command.example = "dreambooth fleet subjects.toml --jobs 2"
    command.epilog = (
        "SUBJECTS is a TOML file with a table [[subject]] for each: photos (a folder, seen from the file), class_noun, "
        "and if you like name and settings; what stands before them is for all. What is finished is kept: the same "
        "command does what is left. docs/fleets.md says more."
    )
    command.add_argument("subjects", metavar="SUBJECTS", type=path, help="TOML file of the subjects")
    folders, help_ = with_aliases("--output-dir"), "folder of the runs [default: runs/<name of the file>]"
    command.add_argument(*folders, dest="output_dir", type=path, metavar="DIR", help=help_)
    text = (
        "bucket or folder that gets what each subject's run made, and says who is finished, such as s3://bucket/folder "
        "[default: DIR alone]"
    )
    command.add_argument("--storage", metavar="URL", help=text)
    command.add_argument("--list", action="store_true", help="print the subjects and what is finished, and stop")
    _add_engine(command, "subjects")


def _add_engine(command: Parser, what: str) -> None:
    """The flags of `executors.Engine`, of a command that carries out many of `what`."""
    group = command.add_argument_group("who does it")
    text = f"who carries out the {what}: processes of this machine, Ray, or Slurm [default: local]"
    group.add_argument("--executor", choices=ENGINES, default="local", metavar="|".join(ENGINES), help=text)
    text = f"local, Slurm: {what} at a time [default: one per core, each with one thread, or per GPU; on Slurm 256]"
    group.add_argument("--jobs", type=between(1, 10_000), metavar="N", help=text)
    cpus, text = between(1, 1024), "Ray, Slurm: cores of each [default: 1]"
    group.add_argument("--cpus", type=cpus, default=1, metavar="N", help=text)
    text = (
        "Ray, Slurm: GPUs of each; on Ray also a part of one, such as 0.5 [default: on Ray 1 where it has any, else 0]"
    )
    group.add_argument("--gpus", type=_part, metavar="X", help=text)
    text = "of a running `ray start` [default: $RAY_ADDRESS, or Ray is started here]"
    group.add_argument("--ray-address", metavar="HOST:PORT", help=text)
    text = "Slurm: options of sbatch, such as partition=gpu time=60"
    group.add_argument("--slurm", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help=text)


def _part(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not (0 <= number < 1 or (1 <= number <= 64 and number == int(number))):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 to 64, nor a part of one GPU")
    return number
