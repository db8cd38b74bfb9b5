"""What one takes home from a run: its model as one archive, and the lines that open it."""

import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, cast

from dreambooth.run import contents
from dreambooth.run.records import MODEL
from dreambooth.web.refusal import Refusal

BLOCK = 1 << 20


class _Pipe:
    """A file that can only be written to, and whose content is taken away as it comes."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing waits."""

    def take(self) -> bytes:
        """What was written since the last time."""
        parts, self._parts = self._parts, []
        return b"".join(parts)


def archive(folder: Path, name: str) -> Iterator[bytes]:
    """A zip of run/<name>, `model` or `adapter`, as it is read; weights do not get smaller, so nothing is compressed.

    Raises Refusal where there is none.
    """
    inside = folder / name
    if (name == contents.MODEL and not (folder / MODEL.name).is_file()) or not inside.is_dir() or inside.is_symlink():
        raise Refusal(404, "There is nothing to take home yet: the run has not come so far.")
    told = _zipped(folder, inside)
    next(told)  # from here on its files are open
    return told


def _zipped(folder: Path, inside: Path) -> Iterator[bytes]:
    """First nothing, once all files are open: whatever becomes of the folder, they are of one model."""
    pipe = _Pipe()
    with ExitStack() as stack:
        sources = _opened(folder, inside, stack)
        yield b""
        with zipfile.ZipFile(cast(Any, pipe), "w", zipfile.ZIP_STORED, allowZip64=True) as out:
            for path, source in sources.items():
                entry = zipfile.ZipInfo.from_file(cast(Any, source.fileno()), path, strict_timestamps=False)
                with out.open(entry, "w", force_zip64=True) as target:
                    while block := source.read(BLOCK):
                        target.write(block)
                        yield pipe.take()
                yield pipe.take()
        yield pipe.take()


def _opened(folder: Path, inside: Path, stack: ExitStack) -> dict[str, BinaryIO]:
    """The files of folder/<inside> by their paths in the archive; raises Refusal where they are just being replaced."""
    try:
        before = _state(folder, inside)
        files = [file for file in sorted(inside.rglob("*")) if file.is_file() and not file.is_symlink()]
        sources: dict[str, BinaryIO] = {}
        for file in files:
            source = stack.enter_context(file.open("rb"))
            sources[f"{inside.name}/{file.relative_to(inside).as_posix()}"] = source
        if _state(folder, inside) == before:
            return sources
    except FileNotFoundError:
        pass
    raise Refusal(409, "The model is just being made anew: take it home once the run has finished.")


def _state(folder: Path, inside: Path) -> list[tuple[int, int]]:
    """What changes with every model: its seals are removed before it, and written after it."""
    record = folder / MODEL.name
    there = [file.stat() for file in (inside, record) if file is inside or file.exists()]
    return [(stat.st_ino, stat.st_mtime_ns) for stat in there]


def adapter_file(folder: Path, name: str) -> Path:
    """A file of run/adapter by its name; raises Refusal."""
    inside = folder / contents.ADAPTER
    for file in inside.glob("*.safetensors") if not inside.is_symlink() else ():
        if file.name == name and file.is_file() and not file.is_symlink():
            return file
    raise Refusal(404, "There is no such file.")


def made_file(folder: Path, name: str) -> Path:
    """The report, or the picture to share; raises Refusal where there is none yet."""
    file = folder / name
    if file.is_file() and not file.is_symlink():
        return file
    raise Refusal(404, "It is made at the end of the run.")
