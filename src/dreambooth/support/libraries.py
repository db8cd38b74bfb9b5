"""What the libraries under a run say for themselves: advice for the people who call them, and bars of their own."""

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

LIBRARIES = ("accelerate", "bitsandbytes", "diffusers", "peft", "transformers")
"""Those that open, change and save models, by the names of their loggers."""

WITH_BARS = ("diffusers", "transformers")


def quiet_libraries() -> None:
    """Silence the advice of libraries for all of this process, which must be ours; before they are imported.

    Their progress bars stay for what takes long, such as a download. What the environment already says is respected.
    """
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("TQDM_DELAY", "5")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # names kernels that it would download


@contextmanager
def hushed() -> Iterator[None]:
    """Inside, libraries give no advice and show no bars; afterwards their logs are as our caller had them.

    For the moments in which we import them, or open, cast or save a model. Errors are told, and so is what somebody
    asked for, by the environment or by a level below warnings.
    """
    global _inside
    with _LOCK:
        if not _inside:
            _UNDO[:] = [*_hush_logs(), *_hush_bars()]
        _inside += 1
    try:
        yield
    finally:
        with _LOCK:
            _inside -= 1
            while _UNDO and not _inside:  # another thread may still be inside: the last one out puts all back
                _UNDO.pop()()


_LOCK, _inside = threading.Lock(), 0
_UNDO: list[Callable[[], None]] = []


def _hush_logs() -> Iterator[Callable[[], None]]:
    for name in LIBRARIES:
        logger = logging.getLogger(name)
        level, asked_for = logger.level, f"{name.upper()}_VERBOSITY" in os.environ
        if level in (logging.NOTSET, logging.WARNING) and not asked_for:
            logger.setLevel(logging.ERROR)
            yield partial(_restore, logger, level)


def _restore(logger: logging.Logger, level: int) -> None:
    if logger.level == logging.ERROR:  # else it was imported meanwhile, and has set its own
        logger.setLevel(level)


def _hush_bars() -> Iterator[Callable[[], None]]:
    """Of those that are imported; where the environment says from when on bars are shown, it is left to that."""
    if "TQDM_DELAY" in os.environ:
        return
    for name in WITH_BARS:
        module: Any = sys.modules.get(f"{name}.utils.logging")
        if getattr(module, "_tqdm_active", False):  # `disable_progress_bar` turns off the hub's downloads, too
            module._tqdm_active = False
            yield partial(setattr, module, "_tqdm_active", True)
