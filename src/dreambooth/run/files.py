"""A run's files of JSON: each has one schema, one way to write it and one to read it back.

A schema is a frozen dataclass or a mapping. What is at its default is left out, what a file has beyond is ignored,
unless the schema has NOTHING_ELSE for its `__pydantic_config__`.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from dreambooth.errors import RunError
from dreambooth.support.files import write_json, write_text

NOTHING_ELSE = ConfigDict(extra="forbid")
"""For a schema that decides whether a run may be resumed: what says more than is understood here is not ours."""

T = TypeVar("T")


class Stepped(Protocol):
    """What a line of a JsonLines holds: numbers of one step."""

    @property
    def step(self) -> int | str:
        """Optimizer steps done, or a name: see `records.Step`."""


S = TypeVar("S", bound=Stepped)


@dataclass(frozen=True)
class _Json(Generic[T]):
    name: str
    holds: type[T]

    @cached_property
    def adapter(self) -> TypeAdapter[T]:
        """Checks what is read."""
        return TypeAdapter(self.holds)

    def plain(self, value: T) -> Any:
        """As JSON has it."""
        return self.adapter.dump_python(value, mode="json", exclude_defaults=True)


class JsonFile(_Json[T]):
    """A file that holds one `holds`."""

    def write(self, folder: Path, value: T) -> None:
        """Write the file, whole or not at all; raises DiskError."""
        write_json(folder / self.name, self.plain(value))

    def read(self, folder: Path) -> T:
        """What the file holds; raises RunError where it is missing or damaged."""
        file = folder / self.name
        try:
            return self.adapter.validate_json(file.read_bytes(), strict=True)
        except FileNotFoundError as error:
            raise RunError(f"{file} is missing: the stage that writes it has not run in this folder.") from error
        except ValidationError as error:
            problem = error.errors(include_input=False)[0]
            where = ".".join(map(str, problem["loc"])) or "top"
            raise RunError(
                f"{file} is damaged ({where}: {problem['msg']}): delete it, and give the run's first command again."
            ) from error

    def find(self, folder: Path) -> T | None:
        """The same, None where there is no such file; raises RunError where it is damaged."""
        return self.read(folder) if (folder / self.name).is_file() else None


class JsonLines(_Json[S]):
    """A file of lines, each a `holds`; lines that are none, or that a crash cut short, are passed over."""

    def append(self, folder: Path, value: S) -> None:
        """Add a line."""
        with (folder / self.name).open("a", encoding="utf-8") as file:
            file.write(json.dumps(self.plain(value)) + "\n")

    def read(self, folder: Path) -> list[S]:
        """The lines in the order they were written; none where there is no file."""
        return list(self._lines(folder).values())

    def forget_after(self, folder: Path, step: int) -> None:
        """Drop the lines of later steps, and whatever is no line; those of no step, such as "real", stay."""
        self._keep(folder, lambda its: isinstance(its, str) or its <= step)

    def forget(self, folder: Path, step: int) -> None:
        """Drop the lines of one step, and whatever is no line."""
        self._keep(folder, lambda its: its != step)

    def _keep(self, folder: Path, wanted: Callable[[int | str], bool]) -> None:
        if (folder / self.name).exists():
            kept = [line for line, value in self._lines(folder).items() if wanted(value.step)]
            write_text(folder / self.name, "".join(f"{line}\n" for line in kept))

    def _lines(self, folder: Path) -> Mapping[str, S]:
        """Every good line and what it holds."""
        file, found = folder / self.name, {}
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else ():
            try:
                found[line] = self.adapter.validate_json(line, strict=True)
            except ValidationError:
                continue
        return found
