"""Jobs as tasks of Ray: on this machine, or on the cluster of a running `ray start`, whose nodes share one disk."""

import logging
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, final

import ray
from ray.exceptions import RayError, WorkerCrashedError

from dreambooth.errors import DreamBoothError
from dreambooth.executors.base import LIVES, LOST, Ended, Executor, Job, tried

TOLD = (
    *("DREAMBOOTH_CACHE", "DREAMBOOTH_DEVICE", "HF_", "XDG_CACHE_HOME", "FSSPEC_"),
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_REGION"),
    "AWS_DEFAULT_REGION",
)
"""How environment variables begin that a task has from here: where class images and models are kept, what computes, and
who may write to a storage. What else of AWS there is, such as a profile, is of one machine alone."""

LOOK = 1.0
"""Seconds between two looks, in which Ctrl-C and SIGTERM are heard."""

SAVING = 120.0
"""Seconds that what is stopped may take to save."""


@final
class Ray(Executor):
    """Tasks with resources: Ray itself finds room for them, and starts one again whose process was killed.

    address: of a cluster that runs; None: as $RAY_ADDRESS says, else one is started here.  cpus, gpus: of one task;
    gpus None: one where the cluster has any.
    """

    def __init__(self, address: str | None, cpus: int, gpus: float | None) -> None:
        self._running: dict[Any, Job] = {}
        self._began = not ray.is_initialized()
        if self._began:
            _connect(address)
        if gpus is None:
            gpus = 1 if ray.cluster_resources().get("GPU") else 0
        self._task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=LIVES - 1)(_carry_out)

    def submit(self, jobs: Sequence[Job]) -> None:
        told = {name: value for name, value in os.environ.items() if name.startswith(TOLD)}
        self._running |= {self._task.options(name=job.label).remote(job, told): job for job in jobs}

    def ended(self) -> Iterator[Ended]:
        while self._running:
            ready, _ = ray.wait([*self._running], num_returns=1, timeout=LOOK)
            for result in ready:
                job = self._running.pop(result)
                try:
                    problem = ray.get(result)
                except WorkerCrashedError:
                    problem = LOST
                except RayError as error:
                    problem = f"Ray could not carry it out: {str(error).strip().partition(chr(10))[0]}"
                yield Ended(job, problem)

    def close(self) -> None:
        for result in self._running:
            ray.cancel(result)  # as Ctrl-C, so a training saves its state first
        if self._running:
            ray.wait([*self._running], num_returns=len(self._running), timeout=SAVING)
        if self._began:
            ray.shutdown()


def _connect(address: str | None) -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address, log_to_driver=False, include_dashboard=False, logging_level=logging.WARNING)
    except (ConnectionError, ValueError, RuntimeError) as error:
        where = address or os.environ.get("RAY_ADDRESS") or "this machine"
        raise DreamBoothError(
            f"there is no Ray at {where} ({str(error).strip().partition(chr(10))[0]}): start one with "
            "`ray start --head`, or leave out --ray-address to use this machine alone."
        ) from error
    finally:
        signal.signal(signal.SIGTERM, before)  # Ray's own handler ends the process without a word


def _carry_out(job: Job, told: Mapping[str, str]) -> str | None:
    os.environ.update(told)
    return tried(job)
