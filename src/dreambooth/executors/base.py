"""A job, how it ended, and the interface of whoever carries jobs out."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from dreambooth.errors import DreamBoothError, Interrupted, in_words

LIVES = 3
"""Processes that may be lost on one job before the job itself is blamed: it may be what fills the memory."""

LOST = "its process was killed, again and again: is there enough memory?"


@dataclass(frozen=True, kw_only=True)
class Job:
    """Work for any process that has this package and sees the same files.

    key: tells it apart from every other, made of letters, digits, "-", "_" and ".".  label: what a person calls it.
    work: a function of a module, called with `given`; it may be called again after its process was killed.
    """

    key: str
    label: str
    work: Callable[..., None]
    given: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Ended:
    """A job that is finished, or what went wrong with it."""

    job: Job
    problem: str | None = None


class Executor(ABC):
    """Carries out jobs, several at a time where it can; each ends once, and none keeps the others from ending.

    A process that is killed costs its job one of LIVES. `close` stops what has not ended, after it saved.
    """

    @abstractmethod
    def submit(self, jobs: Sequence[Job]) -> None:
        """Take jobs, to be carried out in their order; also between two results of `ended`."""

    @abstractmethod
    def ended(self) -> Iterator[Ended]:
        """The jobs as they end, until none is left; raises Interrupted or KeyboardInterrupt where it is stopped."""

    @abstractmethod
    def close(self) -> None:
        """Stop."""


@dataclass
class Lives:
    """How often each job has lost its process."""

    _lost: Counter[str] = field(default_factory=Counter)

    def after(self, job: Job) -> int:
        """How many are left of the job's, now that one more is lost."""
        self._lost[job.key] += 1
        return LIVES - self._lost[job.key]


def tried(job: Job) -> str | None:
    """Carry out a job here; what went wrong in words, None where nothing did. Passes on what stops this process."""
    try:
        job.work(*job.given)
    except Interrupted:
        raise
    except DreamBoothError as error:
        return str(error)
    except Exception as error:
        return in_words(error) or f"{type(error).__name__}: {error}"
    return None
