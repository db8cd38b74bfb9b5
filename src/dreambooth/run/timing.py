"""How long each stage of a run took: timings.json."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from dreambooth.config.memory import memory_in_words
from dreambooth.errors import RunError
from dreambooth.run.files import JsonFile
from dreambooth.run.folder import Run
from dreambooth.run.records import PLAN, TIMINGS
from dreambooth.run.status import within
from dreambooth.support.progress import log

STAGES = {
    "load": "opening the model",
    "identifier": "the identifier",
    "prior": "class images",
    "samples before": "samples before",
    "samples untuned": "samples without the name",
    "finetune": "fine-tuning",
    "probe": "probes",
    "samples after": "samples after",
    "score": "scoring the samples",
}
"""The stages of timings.json in words."""


@contextmanager
def timed(run: Run, stage: str) -> Iterator[None]:
    """Add the seconds inside to the stage's entry in timings.json: a run that was resumed adds up.

    Seconds of a stage inside another count for the inner one alone, those of a later stage of the model for its run.
    Raises DeviceMemoryError, with the settings that help, where memory is refused inside.
    """
    while run.whole:
        run = run.whole
    began, before = time.monotonic(), sum(read_timings(run).values())
    try:
        words = memory_in_words(lambda: run.config, STAGES.get(stage, stage), drawing=stage != "finetune")
        with within(run.root, stage), words:
            yield
    finally:
        timings = read_timings(run)
        seconds = time.monotonic() - began - (sum(timings.values()) - before)
        TIMINGS.write(run.root, {**timings, stage: round(timings.get(stage, 0.0) + seconds, 3)})


def read_timings(run: Run) -> dict[str, float]:
    """Seconds by stage; empty where nothing was timed, or where the file is damaged."""
    return _numbers(run, TIMINGS, "The times before now are forgotten.")


def read_plan(run: Run) -> dict[str, float]:
    """What was planned, as plan.json has it; empty where nothing was, or where the file is damaged."""
    return _numbers(run, PLAN, "What was planned is not shown.")


def _numbers(run: Run, file: JsonFile[dict[str, float]], otherwise: str) -> dict[str, float]:
    try:
        return file.find(run.root) or {}
    except RunError as error:  # no result depends on it
        log.warning("%s %s", error, otherwise)
        return {}
