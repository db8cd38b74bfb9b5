"""Photos that lie in folders of the folder that was given: kohya's way, "10_zwx dog/", and people's own."""

import re
import shlex
from collections import Counter
from collections.abc import Callable
from pathlib import Path

LEVELS = ("*", "*/*", "*/*/*")
"""What is looked at: files, of folders, of folders in folders; no deeper, for somebody may give a whole disk."""

ENTRIES = 20_000
"""And no more than so many."""

_KOHYA = re.compile(r"\d+_\S.*")


def photos_below(folder: Path, is_photo: Callable[[Path], bool]) -> dict[Path, int]:
    """How many photos each folder below holds; those without any, and hidden ones, are left out."""
    found, seen = Counter[Path](), 0
    for level in LEVELS[1:]:
        for entry in folder.glob(level):
            if (seen := seen + 1) > ENTRIES:
                return dict(found)
            hidden = any(part.startswith(".") for part in entry.relative_to(folder).parts)
            if not hidden and not entry.is_dir() and is_photo(entry):
                found[entry.parent] += 1
    return dict(sorted(found.items()))


def which_to_give(folder: Path, below: dict[Path, int]) -> str:
    """What was found in the folders of `folder`, and what to pass instead."""
    listed = ", ".join(f"{str(inner.relative_to(folder))!r} ({count})" for inner, count in [*below.items()][:5])
    listed += ", ..." if len(below) > 5 else ""
    only = len(below) == 1
    ways = "give that one" if only else "give the one with your subject"
    example = shlex.quote(str(next(iter(below))))
    kohya = any(_KOHYA.fullmatch(inner.name) for inner in below)
    words = (
        "; of kohya's folder names nothing is read: say the kind of thing with --class-noun and its word with "
        "--identifier, and leave out regularisation images, which the model draws itself"
    )
    return f"photos in {'its folder' if only else 'folders of it'}, {listed}: {ways}, {example}{words if kohya else ''}"
