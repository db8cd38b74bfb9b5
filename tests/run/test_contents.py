"""One table of a run's files: what else lists them agrees with it."""

import re
from pathlib import Path

from dreambooth.run import Run, records
from dreambooth.run.contents import CONTENTS, MADE_AT_THE_END
from dreambooth.run.files import JsonFile, JsonLines

README = Path(__file__).parents[2] / "README.md"


def test_every_record_and_every_path_of_a_run_is_in_the_table() -> None:
    files = [file.name for file in vars(records).values() if isinstance(file, JsonFile | JsonLines)]
    properties = {name: value.fget for name, value in vars(Run).items() if isinstance(value, property)}
    paths = [name for name, getter in properties.items() if getter.__annotations__["return"] is Path]
    there = [getattr(Run(Path("/run")), name).name for name in paths]
    assert len(files) > 10 and len(there) > 6
    assert {*files, *there} <= CONTENTS.keys()


def test_what_the_end_of_a_run_makes_is_in_the_table() -> None:
    assert {name.partition("/")[0] for name in MADE_AT_THE_END} <= CONTENTS.keys()


def test_the_readme_names_files_of_the_table() -> None:
    table = README.read_text(encoding="utf-8").partition("| file | what it is |")[2].partition("\n\n")[0]
    named = re.findall(r"`([^`]+)`", "".join(re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)))
    assert len(named) > 5 and {name.rstrip("/") for name in named} <= CONTENTS.keys()
