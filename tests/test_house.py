"""The house rules: who imports whom, what is public, how quick it starts, and that what is written beside it is true.

Run as a program it writes docs/help anew.
"""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import dreambooth
from dreambooth.config.commands import parser
from dreambooth.config.worlds import EMBEDDED
from dreambooth.models.families import FAMILIES

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "dreambooth"
HELP = ROOT / "docs" / "help"

LAYERS = (
    "errors",
    "support subject",
    "config loss executors",
    "data diffusion identifier",
    "models run toybox",
    "adapters evaluation generation",
    "prior finetuning probe report personal weak_prior class_noun",
    "along doctor plan subjects",
    "recipe",
    "experiments fleet export web",
    "cli __init__",
    "__main__",
)
"""From the bottom up; a part sees lower layers only, the files of one package see each other."""

HEAVY = {
    "diffusers": ("models",),
    "transformers": ("models", "evaluation"),
    "peft": ("adapters",),
    "accelerate": ("finetuning",),
    "fastapi": ("web",),
    "uvicorn": ("web",),
    "ray": ("executors",),
    "fsspec": ("support",),
    "submitit": ("executors",),
}
"""The parts that may import each of these."""

COMMAND = "from dreambooth.__main__ import main; sys.argv = ['dreambooth',"

PATHS = sorted(SOURCE.rglob("*.py"))

FILE, FUNCTION = 300, 50
"""Lines that a file and a function may have."""


def part_of(module: str) -> str:
    """The part a dotted name belongs to: "dreambooth.models.base" -> "models", the package itself -> "__init__"."""
    inner = module.split(".")[1:]
    return inner[0] if inner and ((SOURCE / inner[0]).is_dir() or (SOURCE / f"{inner[0]}.py").exists()) else "__init__"


def imports(path: Path) -> Iterator[str]:
    """Dotted names that a file imports, at the top, inside functions and for types."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports in full"
            yield from (f"{node.module}.{name.name}" for name in node.names)


def layer(part: str) -> int:
    """The layer of a part, from 1 at the bottom."""
    found = [number for number, parts in enumerate(LAYERS, start=1) if part in parts.split()]
    assert found, f"{part} has no layer: give it one in LAYERS and in docs/architecture.md"
    return found[0]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_down(path: Path) -> None:
    mine = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    for module in imports(path):
        if module.split(".")[0] == "dreambooth":
            other = part_of(module)
            lazy = mine == "__init__" and path.parent == SOURCE  # it lists names and imports none before they are used
            assert other == mine or lazy or layer(other) < layer(mine), f"{mine} may not import {other}"
        elif module.split(".")[0] in HEAVY:
            assert mine in HEAVY[module.split(".")[0]], f"{mine} may not import {module}"


def test_the_architecture_page_draws_these_layers() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    drawn = re.findall(r"^[ \d]\d  (.+)$", page, re.MULTILINE)
    assert [row.split("   ")[0].split() for row in drawn] == [parts.split() for parts in reversed(LAYERS)]


def test_the_architecture_page_draws_every_module_at_the_top() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    drawn = {name.rstrip("/") for line in re.findall(r"^  (\S.*?)  ", page, re.MULTILINE) for name in line.split()}
    modules = {path.name for path in SOURCE.glob("*.py")} - {"__init__.py"}
    assert modules | {path.name for path in SOURCE.iterdir() if (path / "__init__.py").exists()} <= drawn


@pytest.mark.parametrize("path", PATHS, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_file_and_a_function_fit_on_a_few_screens(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    lines = len(text.splitlines())
    assert lines <= FILE, f"split {path.name}: one idea each"
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    long = [node.name for node in functions if (node.end_lineno or 0) - node.lineno >= FUNCTION]
    assert not long, f"split {', '.join(long)}"


def test_families_and_adapters_do_not_see_each_other() -> None:
    families = {module for module, _ in FAMILIES.values()}
    adapters = {path.stem for path in (SOURCE / "adapters").glob("*.py")} - {"__init__", "base", "kohya", "merging"}
    for package, siblings in (("models", families), ("adapters", adapters)):
        for path in (SOURCE / package).glob("*.py"):
            seen = {module.split(".")[2] for module in imports(path) if module.startswith(f"dreambooth.{package}.")}
            assert path.stem == "__init__" or not seen & siblings, f"{path.name} sees {seen & siblings}"


def test_no_family_is_named_outside_its_file_and_the_table() -> None:
    families = {module for module, _ in FAMILIES.values()}
    assert families
    for path in PATHS:
        if path.stem not in families | {"families"}:
            code = ast.dump(ast.parse(path.read_text(encoding="utf-8")))
            names = {name.replace("_", "").lower() for name in re.findall(r"(?:id|attr|name|module)='([^']*)'", code)}
            for family in families:
                assert not any(family.replace("_", "") in name for name in names), f"{path.name} names {family}"


def test_the_embedded_model_is_named_in_its_package_and_the_table_alone() -> None:
    table = SOURCE / "config" / "worlds.py"
    named = {path for path in PATHS if f'"{EMBEDDED}"' in path.read_text(encoding="utf-8")}
    assert {path for path in named if path.parent != SOURCE / "toybox"} == {table}


def test_all_is_what_is_public() -> None:
    assert dreambooth.__all__ == sorted(dreambooth.__all__) == dir(dreambooth)
    for name in dreambooth.__all__:
        assert getattr(dreambooth, name) is not None
    types = ast.parse((SOURCE / "__init__.py").read_text(encoding="utf-8"))
    typed = [name.name for node in ast.walk(types) if isinstance(node, ast.ImportFrom) for name in node.names]
    assert {"TYPE_CHECKING", "Any", "import_module"} | set(dreambooth.__all__) == {*typed, "__version__"}
    with pytest.raises(AttributeError, match="no attribute 'dreambooh'"):
        dreambooth.dreambooh  # noqa: B018


def test_no_pickle_and_no_remote_code() -> None:
    for path in PATHS:
        text = path.read_text(encoding="utf-8")
        for word in ("import pickle", "torch.save(", "import torchvision"):
            assert word not in text, f"{path.name}: {word}"
        assert not re.search(r"torch\.load\((?!.*weights_only=True)", text), path.name  # told, of tensors alone
        assert not re.search(r"trust_remote_code(?!(=|\": )False)", text), path.name


def test_nothing_is_imported_that_a_system_lacks() -> None:
    """Windows has no fcntl, and there a signal 0 is Ctrl-C."""
    for path in PATHS:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {name.name for node in tree.body if isinstance(node, ast.Import) for name in node.names}
        assert not names & {"fcntl", "msvcrt", "pwd", "grp", "resource", "termios", "winreg"}, path
        assert "os.kill(" not in path.read_text(encoding="utf-8"), path


@pytest.mark.parametrize(
    ("code", "limit", "absent"),
    [
        ("import dreambooth", 0.3, ("torch", "pydantic", "PIL")),
        (f"{COMMAND} '--help']; main()", 0.5, ("torch", "PIL")),
        (f"{COMMAND} 'run', '--help-all']; main()", 0.5, ("torch", "PIL")),
        (f"{COMMAND} 'completion', 'bash']; main()", 0.5, ("torch", "PIL")),
        (f"{COMMAND} 'run', 'photos', '--push-to-hub', 'x']; main()", 0.5, ("torch", "PIL")),
    ],
    ids=["import", "help", "help-all", "completion", "mistake"],
)
def test_what_should_be_quick_is(code: str, limit: float, absent: tuple[str, ...]) -> None:
    """By the processor's time from the start of Python on, which on a quiet machine is what a person waits."""
    program = f"""
import atexit, sys, time
atexit.register(lambda: print([name for name in {absent} if name in sys.modules], time.process_time()))
{code}
"""
    taken = []
    for _ in range(3):
        printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
        loaded, _, seconds = printed.splitlines()[-1].rpartition(" ")
        assert loaded == "[]", f"{loaded} imported"
        taken.append(float(seconds))
    assert min(taken) <= 1.5 * limit, f"{min(taken):.2f} s of the processor; the promise is {limit} s"


def helps() -> dict[str, str]:
    """The help of every command, by the name of its file in docs/help; of those that have two both."""
    texts = {}
    todo = [("dreambooth", parser(dreambooth.__version__))]
    while todo:
        name, command = todo.pop()
        texts[f"{name}.txt"] = command.format_help()
        if command.rare:
            texts[f"{name}-all.txt"] = command.format_help(everything=True)
        todo += [(f"{name}-{word}", inner) for word, inner in command.commands().items()]
    return texts


def test_docs_help_is_the_help() -> None:
    written = {path.name: path.read_text(encoding="utf-8") for path in HELP.glob("*.txt")}
    assert written == helps(), "the command line changed: run `make help-texts`"


def test_the_tests_that_the_reliability_page_names_are_there() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[^`]+)`", page) + [f"{name}.py" for name in re.findall(r"-m (benchmarks\.\w+)", page)]
    assert len(named) > 20
    for name in named:
        assert (ROOT / name.replace("benchmarks.", "benchmarks/")).is_file(), name


def test_changelog_and_package_have_one_version() -> None:
    newest = re.search(r"^## \[?(\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest and newest[1] == dreambooth.__version__


def test_constraints_lie_within_the_bounds() -> None:
    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    extras = [text for its in project["optional-dependencies"].values() for text in its]
    for text in [*project["dependencies"], *extras]:
        wanted = Requirement(text)
        assert wanted.specifier.contains(pinned[wanted.name]), text


if __name__ == "__main__":
    HELP.mkdir(parents=True, exist_ok=True)
    for stale in HELP.glob("*.txt"):
        stale.unlink()
    for name, text in helps().items():
        (HELP / name).write_text(text, encoding="utf-8")
