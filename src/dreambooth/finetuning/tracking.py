"""Losses, scores and samples for TensorBoard, Weights & Biases and trackio, by accelerate's trackers, beside the run's.

A tracker that fails while a training runs is told once and left alone: what it shows is in the run folder too.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, final

import numpy as np
from accelerate import tracking  # type: ignore[import-untyped]

from dreambooth.config import Config
from dreambooth.errors import ConfigError
from dreambooth.generation.samples import Sample, opened, read_samples
from dreambooth.run import Run
from dreambooth.run.contents import TRACKERS
from dreambooth.run.records import LOSSES, SCORES, Loss
from dreambooth.support.distributed import world
from dreambooth.support.files import key_of
from dreambooth.support.progress import log

PROJECT = "dreambooth"
MOST_IMAGES = 16
"""Samples of a step that are sent."""


@final
class Reporter:
    """What a run reports to; nothing where `report_to` names no tracker. Of several processes the first one reports.

    Raises ConfigError where the tracker cannot begin.
    """

    def __init__(self, run: Run, config: Config) -> None:
        self._run, self._name = run, config.tracking.report_to if world().rank == 0 else None
        self._tracker: Any = None
        if self._name is None:
            return
        try:
            self._tracker = _OPENS[self._name](run)
            self._tracker.start()
            self._tracker.store_init_configuration({k: _plain(v) for k, v in config.shown().items()})
        except Exception as error:  # of programs that we do not know
            raise ConfigError([f"report_to: {self._name} cannot begin: {error}"]) from error

    def losses(self, lines: Sequence[Loss]) -> None:
        """New lines of losses.jsonl."""
        for line in lines:
            numbers = {key: value for key, value in LOSSES.plain(line).items() if key != "step"}
            self._try(partial(self._log, _named("train", numbers), line.step))

    def probed(self, step: int) -> None:
        """What was drawn and measured at a step."""
        scored = next((probed.numbers for probed in SCORES.read(self._run.root) if probed.step == step), {})
        samples = read_samples(self._run.samples / f"step-{step:06d}")[:MOST_IMAGES]
        if scored:
            self._try(partial(self._log, _named("probe", scored), step))
        if samples and hasattr(self._tracker, "log_images"):
            self._try(lambda: self._tracker.log_images(_pictures(self._name, samples), step=step))

    def close(self) -> None:
        """The training is over, or stopped."""
        self._try(lambda: self._tracker.finish())
        self._tracker = None

    def _log(self, numbers: Mapping[str, float], step: int) -> None:
        self._tracker.log(dict(numbers), step=step)

    def _try(self, send: Callable[[], object]) -> None:
        if self._tracker is None:
            return
        try:
            send()
        except Exception as error:  # a network that is down stops no training
            log.warning("%s fails (%s): nothing more is sent to it; the run folder has all of it", self._name, error)
            failed, self._tracker = self._tracker, None
            with suppress(Exception):
                failed.finish()


def _tensorboard(run: Run) -> Any:
    return tracking.TensorBoardTracker(TRACKERS["tensorboard"], str(run.root))


def _wandb(run: Run) -> Any:
    name, key = _called(run)
    return tracking.WandBTracker(PROJECT, name=name, dir=str(run.root), id=key, resume="allow")


def _trackio(run: Run) -> Any:
    return tracking.TrackioTracker(PROJECT, name="-".join(_called(run)), resume="allow")  # it resumes by the name


def _called(run: Run) -> tuple[str, str]:
    """The run's name, of a later stage with the stage's, and what tells it from others of that name."""
    stage = f"-{run.root.name}" if run.whole else ""
    return f"{(run.whole or run).root.name}{stage}", key_of(str(run.root.absolute()), 6)


_OPENS: Final[Mapping[str, Callable[[Run], Any]]] = {"tensorboard": _tensorboard, "wandb": _wandb, "trackio": _trackio}


def _pictures(name: str | None, samples: Sequence[Sample]) -> dict[str, Any]:
    """The samples by their prompts: TensorBoard takes arrays (N, 3, H, W), wandb pictures."""
    by_prompt: dict[str, list[Any]] = {}
    for sample in samples:
        by_prompt.setdefault(sample.prompt, []).append(opened(sample))
    if name != "tensorboard":
        return dict(by_prompt)
    return {
        prompt: np.stack([np.asarray(image) for image in images]).transpose(0, 3, 1, 2)
        for prompt, images in by_prompt.items()
    }


def _named(group: str, numbers: Mapping[str, float]) -> dict[str, float]:
    return {f"{group}/{name}": value for name, value in numbers.items() if value is not None}


def _plain(value: Any) -> str | float | int | bool:
    return value if isinstance(value, (str, float, int, bool)) else str(value)
