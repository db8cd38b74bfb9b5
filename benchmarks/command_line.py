"""The command line of a checkout, started as people start it, in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path


def start(source: Path, place: Path, words: Iterable[str]) -> "subprocess.Popen[bytes]":
    """`dreambooth WORDS` in the folder `place`, which gets its library of class images and, in said.txt, what it says.

    source: the checkout's src.
    """
    paths = os.pathsep.join([str(source), *filter(None, [os.environ.get("PYTHONPATH")])])
    here = {"PYTHONPATH": paths, "DREAMBOOTH_CACHE": str(place / "library")}
    with (place / "said.txt").open("ab") as said:
        return subprocess.Popen(
            [sys.executable, "-m", "dreambooth", *words],
            cwd=place,
            env={**os.environ, **here},
            stdout=said,
            stderr=said,
        )
