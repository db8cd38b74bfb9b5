"""What one takes home from a run: its model as one archive, and the lines that open it."""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

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
    files = [file for file in sorted(inside.rglob("*")) if file.is_file() and not file.is_symlink()]
    return _zipped(inside, files, name)


def _zipped(inside: Path, files: list[Path], name: str) -> Iterator[bytes]:
    pipe = _Pipe()
    with zipfile.ZipFile(cast(Any, pipe), "w", zipfile.ZIP_STORED, allowZip64=True) as out:
        for file in files:
            entry = zipfile.ZipInfo.from_file(
                file, f"{name}/{file.relative_to(inside).as_posix()}", strict_timestamps=False
            )
            with file.open("rb") as source, out.open(entry, "w", force_zip64=True) as target:
                while block := source.read(BLOCK):
                    target.write(block)
                    yield pipe.take()
            yield pipe.take()
    yield pipe.take()


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
