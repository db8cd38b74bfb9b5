"""Jobs in this process one after another, or several at a time in processes of one thread each."""

import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import final

from dreambooth.errors import Interrupted
from dreambooth.executors.base import LOST, Ended, Executor, Job, Lives, tried
from dreambooth.support.device import device


@final
class InTurn(Executor):
    """One after another, in this process and with its threads: what kills it ends all."""

    def __init__(self) -> None:
        self._waiting: deque[Job] = deque()

    def submit(self, jobs: Sequence[Job]) -> None:
        self._waiting.extend(jobs)

    def ended(self) -> Iterator[Ended]:
        while self._waiting:
            job = self._waiting.popleft()
            yield Ended(job, tried(job))

    def close(self) -> None:
        self._waiting.clear()


@dataclass(frozen=True)
class _Process:
    process: BaseProcess
    number: int


@final
class Pool(Executor):
    """Processes beside this one, each of which imports everything once; of several GPUs each has one.

    most: how many. They end with this one, however it ends.
    """

    def __init__(self, most: int) -> None:
        self._most, self._lives = most, Lives()
        self._waiting: deque[Job] = deque()
        self._processes: dict[Connection, _Process] = {}
        self._idle: list[Connection] = []
        self._busy: dict[Connection, Job] = {}

    def submit(self, jobs: Sequence[Job]) -> None:
        self._waiting.extend(jobs)
        self._hand_out()

    def ended(self) -> Iterator[Ended]:
        while self._busy:
            for pipe in wait(list(self._busy)):
                assert isinstance(pipe, Connection)
                job = self._busy.pop(pipe)
                try:
                    problem = pipe.recv()
                except (EOFError, OSError):  # the second where it ended before it read its job
                    problem = self._lost(pipe, job)
                    self._hand_out()
                    if problem is None:
                        continue
                else:
                    self._idle.append(pipe)
                    self._hand_out()
                yield Ended(job, problem)

    def close(self) -> None:
        for pipe, its in self._processes.items():
            if pipe in self._busy:
                its.process.terminate()  # a training saves its state first
            else:
                pipe.close()  # it ends by itself, and tidily
        for its in self._processes.values():
            its.process.join()
        self._processes.clear()

    def _hand_out(self) -> None:
        while self._waiting and (pipe := self._free()):
            self._busy[pipe] = job = self._waiting.popleft()
            with suppress(OSError):  # it has ended: what it does not answer will tell
                pipe.send(job)

    def _free(self) -> Connection | None:
        if self._idle:
            return self._idle.pop()
        if len(self._processes) >= self._most:
            return None
        number = min(set(range(self._most)) - {its.number for its in self._processes.values()})
        gpu = number if device().type == "cuda" else None
        pipe, its_end = get_context("spawn").Pipe()
        process = get_context("spawn").Process(target=_work, args=(its_end, gpu), daemon=True)
        process.start()
        its_end.close()  # so that this end hears when the process ends
        self._processes[pipe] = _Process(process, number)
        return pipe

    def _lost(self, pipe: Connection, job: Job) -> str | None:
        """Take the job back from a process that has ended; what to say where it was the last that it may cost."""
        process = self._processes.pop(pipe).process
        process.join()
        if self._lives.after(job):
            self._waiting.appendleft(job)
            return None
        return f"{LOST} The last one ended with status {process.exitcode}."


def _work(pipe: Connection, gpu: int | None) -> None:
    """The life of a process: a job in, what went wrong out, until it is stopped. gpu: it has this one of all."""
    if hasattr(os, "setsid"):  # not on Windows
        os.setsid()  # Ctrl-C reaches the parent alone, which stops its processes once: twice would cut saving short
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ["OMP_NUM_THREADS"] = "1"  # before its first job imports torch
    if gpu is not None:
        import torch

        torch.cuda.set_device(gpu % torch.cuda.device_count())
    with suppress(EOFError, Interrupted, KeyboardInterrupt):
        while True:
            pipe.send(tried(pipe.recv()))


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        signal.raise_signal(signal.SIGTERM)
