"""Which executor the words of a command line ask for."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from dreambooth.errors import ConfigError, DreamBoothError
from dreambooth.executors.base import Executor
from dreambooth.executors.pool import InTurn, Pool
from dreambooth.executors.sbatch import options
from dreambooth.support.device import device

Name = Literal["local", "ray", "slurm"]

HEEDED: dict[Name, frozenset[str]] = {
    "local": frozenset({"jobs"}),
    "ray": frozenset({"cpus", "gpus", "ray_address"}),
    "slurm": frozenset({"jobs", "cpus", "gpus", "slurm"}),
}
"""What of an `Engine` each executor heeds."""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """Who carries out jobs.

    jobs: at a time; None: as many as there is room for.  cpus, gpus: of one job, on Ray and Slurm; gpus None: on Ray
    one where there are any, on Slurm none.  ray_address: of a cluster that runs; None: as $RAY_ADDRESS says, else one
    is started here.  slurm: what `sbatch` shall be told, by its long options.  Raises ConfigError where something is
    given that the executor does not heed, or no option of sbatch.
    """

    name: Name = "local"
    jobs: int | None = None
    cpus: int = 1
    gpus: float | None = None
    ray_address: str | None = None
    slurm: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        given = [field.name for field in fields(self) if getattr(self, field.name) != field.default]
        problems = [
            f"--{name.replace('_', '-')} has no effect with --executor {self.name}: leave it out"
            for name in given
            if name != "name" and name not in HEEDED[self.name]
        ]
        if self.name == "slurm" and (self.gpus or 0) % 1:
            problems.append(f"--gpus: Slurm gives whole GPUs, and {self.gpus} is a part of one")
        if problems:
            raise ConfigError(problems)
        options(self.slurm)


@contextmanager
def opened(engine: Engine, folder: Path) -> Iterator[Executor]:
    """The executor, closed at the end; folder: where it may keep what its processes say.

    Raises DreamBoothError where its library is not installed, or its cluster is not there.
    """
    executor = _executor(engine, folder)
    try:
        yield executor
    finally:
        executor.close()


def default_jobs() -> int:
    """How many at a time on this machine: one per core, or where GPUs do the work one per GPU."""
    if (kind := device().type) == "cpu":
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    import torch

    return torch.cuda.device_count() if kind == "cuda" else 1


def _executor(engine: Engine, folder: Path) -> Executor:
    try:
        match engine.name:
            case "ray":
                from dreambooth.executors.ray import Ray

                return Ray(engine.ray_address, engine.cpus, engine.gpus)
            case "slurm":
                from dreambooth.executors.slurm import Slurm

                return Slurm(folder, engine.jobs, engine.cpus, engine.gpus, engine.slurm)
            case "local":
                jobs = engine.jobs or default_jobs()
                return Pool(jobs) if jobs > 1 else InTurn()
    except ModuleNotFoundError as error:
        raise DreamBoothError(f"{engine.name} needs {error.name}: pip install 'dreambooth[{engine.name}]'.") from error
