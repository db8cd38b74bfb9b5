"""Cells one after another, or several at a time in processes of one thread each."""

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from dreambooth.config import Config
from dreambooth.errors import DreamBoothError, Interrupted
from dreambooth.evaluation import Judges, load_judges
from dreambooth.experiments.cells import Cell
from dreambooth.experiments.trial import carry_out
from dreambooth.support.device import device


@dataclass(frozen=True)
class Ended:
    """A cell that is finished, or what went wrong with it."""

    cell: Cell
    problem: str | None = None


def finished(cells: Mapping[Path, Cell], jobs: int, judges: Judges) -> Generator[Ended, None, None]:
    """Carry out the cells, each in its folder, and yield them as they end.

    jobs: processes, each of which opens its own judges; with one, everything happens in this process and its threads.
    A cell that fails does not keep the others from being carried out. Closing the iterator, or an exception in it,
    stops the processes after they saved.
    """
    if jobs > 1:
        yield from _in_processes(cells, min(jobs, len(cells)))
    else:
        yield from (_tried(cell, folder, lambda _: judges) for folder, cell in cells.items())


def default_jobs() -> int:
    """One per core; one in all where a GPU does the work."""
    return os.cpu_count() or 1 if device().type == "cpu" else 1


def judges_of(config: Config) -> Judges:
    """The judges of an experiment's cells, opened once."""
    return _opened(config.evaluation, config.world)


_opened = cache(load_judges)


def _tried(cell: Cell, folder: Path, judges: Callable[[Config], Judges]) -> Ended:
    try:
        carry_out(cell, folder, judges(cell.config))
    except Interrupted:
        raise
    except DreamBoothError as error:
        return Ended(cell, str(error))
    except Exception as error:  # such as one that needs more of a GPU's memory than there is
        return Ended(cell, f"{type(error).__name__}: {error}")
    return Ended(cell)


@dataclass(frozen=True)
class _Worker:
    process: BaseProcess
    cell: Cell


def _in_processes(cells: Mapping[Path, Cell], jobs: int) -> Iterator[Ended]:
    waiting = deque(cells.items())
    workers: dict[Connection, _Worker] = {}

    def hand_out(pipe: Connection, process: BaseProcess) -> None:
        task = None
        if waiting:
            folder, cell = waiting.popleft()
            workers[pipe], task = _Worker(process, cell), (cell, folder)
        with suppress(OSError):  # it has ended: what it does not answer will tell
            pipe.send(task)

    def start() -> None:
        pipe, its_end = get_context("spawn").Pipe()
        process = get_context("spawn").Process(target=_work, args=(its_end,), daemon=True)
        process.start()
        its_end.close()  # so that this end hears when the process ends
        hand_out(pipe, process)

    try:
        for _ in range(jobs):
            start()
        while workers:
            ready = wait(list(workers))
            for pipe in [pipe for pipe in workers if pipe in ready]:
                worker = workers.pop(pipe)
                try:
                    problem = pipe.recv()
                except (EOFError, OSError):  # the second where it ended before it read its task
                    worker.process.join()
                    problem = f"its process ended with status {worker.process.exitcode}: is there enough memory?"
                    if waiting:
                        start()
                else:
                    hand_out(pipe, worker.process)
                yield Ended(worker.cell, problem)
    finally:
        for worker in workers.values():
            worker.process.terminate()  # a training saves its state first
        for worker in workers.values():
            worker.process.join()


def _work(pipe: Connection) -> None:
    """The life of a process: a cell and its folder in, what went wrong out, until there is none left."""
    if hasattr(os, "setsid"):  # not on Windows
        os.setsid()  # Ctrl-C reaches the parent alone, which stops its processes once: twice would cut saving short
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    while task := pipe.recv():
        cell, folder = task
        try:
            pipe.send(_tried(cell, folder, judges_of).problem)
        except (Interrupted, KeyboardInterrupt):
            return


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        signal.raise_signal(signal.SIGTERM)
