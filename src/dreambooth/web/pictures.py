"""The samples of a run for the page: what each was drawn from, and small copies of it.

A sample is named by its stage and its file, both of which are looked up among what is there.
"""

import io
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from dreambooth.data.pictures import open_image
from dreambooth.errors import PhotoError
from dreambooth.generation.samples import text_of
from dreambooth.run.contents import SAMPLES
from dreambooth.web.refusal import Refusal
from dreambooth.web.uploads import thumbnail

SIZES = (96, 256, 512)
"""Sides of the copies that are made."""
NEEDED = ("prompt", "template", "kind", "seed")


def samples_of(folder: Path) -> list[dict[str, Any]]:
    """All samples of a run in the order of stages, prompts and seeds: "before", then each step, "after", "own"."""
    found = []
    for stage in stages_of(folder):
        for file in sorted((folder / SAMPLES / stage).glob("*.png")):
            text = _text(file)
            if text and all(key in text for key in NEEDED):
                step = int(stage[5:]) if stage.startswith("step-") else None
                found.append(
                    {
                        "stage": stage,
                        "file": file.name,
                        "step": step,
                        **{key: text[key] for key in NEEDED},
                        "made": file.stat().st_mtime,
                    }
                )
    return found


def stages_of(folder: Path) -> list[str]:
    """The folders of samples that are there."""
    inside = folder / SAMPLES
    if inside.is_symlink() or not inside.is_dir():
        return []
    names = {path.name for path in inside.iterdir() if path.is_dir() and not path.is_symlink()}
    steps = sorted(name for name in names if name.startswith("step-") and name[5:].isdigit())
    return [name for name in ("before", "untuned", *steps, "after", "own") if name in names]


def sample_file(folder: Path, stage: str, name: str) -> Path:
    """A sample by its names; raises Refusal where there is none, or a link in its place."""
    if stage in stages_of(folder):
        for file in (folder / SAMPLES / stage).glob("*.png"):
            if file.name == name and file.is_file() and not file.is_symlink():
                return file
    raise Refusal(404, "There is no such picture. It may have been deleted.")


def cover_of(folder: Path) -> dict[str, Any] | None:
    """The picture that stands for a run: of the subject alone by the newest stage there is."""
    for stage in ("after", *reversed([name for name in stages_of(folder) if name.startswith("step-")])):
        files = sorted((folder / SAMPLES / stage).glob("*.png"))
        for file in files:
            if _text(file).get("kind") in ("subject", "recontextualization", "own"):
                return {"stage": stage, "file": file.name}
    return None


def small_copy(file: Path, side: int) -> bytes:
    """The picture as a WebP of at most `side` pixels, without metadata; raises Refusal for other sizes."""
    if side not in SIZES:
        raise Refusal(422, f"Pictures come in the sizes {', '.join(map(str, SIZES))}.")
    stat = file.stat()
    return _copy(file, side, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=1024)
def _copy(file: Path, side: int, size: int, mtime_ns: int) -> bytes:
    try:
        image = open_image(file, side)
    except PhotoError as error:
        raise Refusal(404, "This picture is damaged, or is just being written.") from error
    buffer = io.BytesIO()
    thumbnail(image, side).save(buffer, format="WEBP", quality=86, method=3)
    return buffer.getvalue()


def _text(file: Path) -> Mapping[str, str]:
    try:
        stat = file.stat()
    except OSError:
        return {}
    return _text_once(file, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=8192)
def _text_once(file: Path, size: int, mtime_ns: int) -> Mapping[str, str]:
    return text_of(file)
