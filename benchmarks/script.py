"""Runs a training script that is no part of this project, such as diffusers' train_dreambooth.py, as its users do."""

import io
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any


def execute(script: Path, *words: str) -> None:
    """Run it in this process with these words of a command line; torchvision is stood in for where it is not there."""
    source = script.read_text(encoding="utf-8")
    if find_spec("torchvision") is None:
        source = source.replace("from torchvision import transforms", "from benchmarks import transforms")
    sys.argv = [str(script), *words]
    exec(compile(source, str(script), "exec"), {"__name__": "__main__", "__file__": str(script)})


def base_copy(folder: Path) -> int:
    """A float32 copy of the embedded model, which the script opens too; the side of its pictures."""
    from dreambooth import models
    from dreambooth.config import Config

    model = models.load(Config.build({}).base)
    model.save(folder)
    return model.resolution


def alone(side: Callable[..., Any], *what: object) -> Any:
    """What `side` returns, called in a process of its own, without what it prints."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(_quietly, side, *what).result()


def _quietly(side: Callable[..., Any], *what: object) -> Any:
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        return side(*what)
