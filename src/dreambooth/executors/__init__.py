"""Who carries out many jobs: this process, processes beside it, Ray, or Slurm; one interface for all."""

from dreambooth.executors.base import Ended, Executor, Job
from dreambooth.executors.choosing import Engine, default_jobs, opened

__all__ = ["Ended", "Engine", "Executor", "Job", "default_jobs", "opened"]
