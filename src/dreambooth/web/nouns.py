"""The class noun that the photos suggest, by `dreambooth class-noun`: a CLIP needs torch, and this process has none."""

import re
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SECONDS = 180
_LINE = re.compile(r"(.+?)\s+(\d+)%")
_ONE = threading.Lock()
"""One at a time: it takes a core for some seconds."""


def suggest(command: Sequence[str], photos: Path, model: str) -> dict[str, Any]:
    """The likeliest nouns with their shares of 100, and what to tell where none is certain."""
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
    lines = [_LINE.fullmatch(line.strip()) for line in done.stdout.splitlines()]
    nouns = [{"noun": found[1], "share": int(found[2])} for found in lines if found]
    unsure = (
        "" if done.stdout.strip().splitlines()[-1:] and all(lines) else "It is not certain: choose one, or write it."
    )
    return {"nouns": nouns, "says": unsure}
