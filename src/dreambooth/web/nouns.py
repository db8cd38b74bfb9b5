"""The class noun that the photos suggest, by `dreambooth class-noun`: a CLIP needs torch, and this process has none."""

import re
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dreambooth.config.commands import CANNOT_TELL

SECONDS = 180
_LINE = re.compile(r"(.+?)\s+(\d+)%")
_ONE = threading.Lock()
"""One at a time: it takes a core for some seconds."""


def suggest(command: Sequence[str], photos: Path, model: str) -> dict[str, Any]:
    """The likeliest nouns with their shares of 100, and what to tell: none is certain, or it draws no such thing."""
    with _ONE:
        try:
            done = subprocess.run(
                [*command, "class-noun", str(photos), f"--model={model}"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=SECONDS,
            )
        except subprocess.TimeoutExpired:
            return {"nouns": [], "says": "This took too long. Say yourself what kind of thing it is."}
    if done.returncode:
        reason = done.stderr.rpartition("dreambooth: ")[2].strip().partition("\n")[0]
        return {"nouns": [], "says": f"Say yourself what kind of thing it is. ({reason[:200]})"}
    said = [line.strip() for line in done.stdout.splitlines()]
    found = [_LINE.fullmatch(line) for line in said]
    nouns = [{"noun": match[1], "share": int(match[2])} for match in found if match]
    other = " ".join(line for line, match in zip(said, found, strict=True) if not match)
    if not nouns or other == CANNOT_TELL:
        other = "It is not certain: choose one, or write it."
    return {"nouns": nouns, "says": other[:1].upper() + other[1:]}
