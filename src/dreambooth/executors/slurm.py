"""Jobs as array jobs of Slurm, through submitit; on nodes that share one disk.

Slurm's jobs outlive whoever submitted them. So their numbers are kept by the jobs' keys, and who comes next with the
same jobs waits for those instead of submitting them again.
"""

import shutil
import subprocess
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, final

import submitit

from dreambooth.errors import DreamBoothError
from dreambooth.executors.base import LOST, Ended, Executor, Job, Lives, tried
from dreambooth.executors.sbatch import options
from dreambooth.support.files import write_text
from dreambooth.support.progress import log

ARRAY = 1000
"""Jobs of one array: Slurm's MaxArraySize is 1001 unless somebody changed it."""

AT_A_TIME = 256
"""Jobs of an array that may run at once, where nobody says how many."""

LOOK = {"slurm": 5.0, "local": 0.2}
"""Seconds between two looks for results."""


@final
class Slurm(Executor):
    """Array jobs. What runs when this one ends goes on: `close` leaves it alone, and says so.

    folder: for what submitit writes: its scripts, pickles of the jobs, and what they print; nobody else should be able
    to write there.  most: of an array at a time.  told: options of sbatch, "partition=gpu".  cluster: "local" carries
    the jobs out as processes here, without Slurm.
    """

    def __init__(
        self,
        folder: Path,
        most: int | None = None,
        cpus: int = 1,
        gpus: float | None = None,
        told: Sequence[str] = (),
        cluster: str = "slurm",
    ) -> None:
        if cluster == "slurm" and not shutil.which("sbatch"):
            raise DreamBoothError(
                "there is no Slurm here (no sbatch): give the command on a machine that submits to it."
            )
        minutes, others = options(told)
        self._folder, self._cluster, self._lives = folder.absolute(), cluster, Lives()
        self._running: dict[Any, Job] = {}
        self._executor: Any = submitit.AutoExecutor(folder=self._folder, cluster=cluster)
        self._executor.update_parameters(
            name="dreambooth",
            timeout_min=minutes,
            cpus_per_task=cpus,
            slurm_array_parallelism=most or AT_A_TIME,
            slurm_additional_parameters=others,  # last: what is asked for by hand holds
            **({"gpus_per_node": int(gpus)} if gpus else {}),
        )

    def submit(self, jobs: Sequence[Job]) -> None:
        submitted = self._submitted(jobs)
        self._running |= {submitted[job.key]: job for job in jobs if job.key in submitted}
        if submitted:
            log.info("%d jobs are with Slurm already", len(submitted))
        new = [job for job in jobs if job.key not in submitted]
        for at in range(0, len(new), ARRAY):
            array = new[at : at + ARRAY]
            for job, its in zip(array, self._executor.map_array(_Task(), array), strict=True):
                self._running[its] = job
                write_text(self._number(job), its.job_id)

    def ended(self) -> Iterator[Ended]:
        gone: set[Any] = set()
        while self._running:
            alive = self._alive()
            lost = {its for its in gone if not its.paths.result_pickle.exists()}
            gone = {its for its in self._running if its.job_id not in alive}  # a shared disk may be a look behind
            for its in [its for its in self._running if its in lost or its.paths.result_pickle.exists()]:
                job = self._running.pop(its)
                self._number(job).unlink(missing_ok=True)
                if its not in lost and (ended := _ended(job, its)):
                    yield ended
                elif self._lives.after(job):
                    log.warning("%s was lost (job %s): it is submitted again", job.label, its.job_id)
                    self.submit([job])
                else:
                    yield Ended(job, f"{LOST} The last one's words are in {its.paths.stderr}.")
            time.sleep(LOOK[self._cluster])

    def close(self) -> None:
        if self._running:
            numbers = sorted({its.job_id.partition("_")[0] for its in self._running})
            log.warning("%d jobs are still with Slurm: `scancel %s` ends them", len(self._running), " ".join(numbers))

    def _number(self, job: Job) -> Path:
        return self._folder / f"{job.key}.number"

    def _submitted(self, jobs: Sequence[Job]) -> dict[str, Any]:
        """By key, the jobs of Slurm that an earlier process submitted, where they wait or run."""
        if self._cluster != "slurm":  # a process does not tell whose it was
            return {}
        alive, found = self._alive(), {}
        for job in jobs:
            with suppress(OSError):
                number = self._number(job).read_text(encoding="utf-8")
                if number in alive:
                    found[job.key] = submitit.SlurmJob(self._folder, number)
        return found

    def _alive(self) -> Collection[str]:
        """The numbers of what waits or runs, by Slurm's own queue: not every Slurm keeps accounts of what has ended."""
        if self._cluster != "slurm":
            return [its.job_id for its in self._running if not its.done()]
        command = ["squeue", "--me", "--noheader", "--array", "--format=%i"]
        listed = subprocess.run(command, capture_output=True, text=True, check=False)
        if listed.returncode:  # nobody answers: nothing is known to have ended
            return [its.job_id for its in self._running]
        return set(listed.stdout.split())


class _Task:
    """What Slurm runs; at its time limit, or for another's sake, it goes back into the queue and resumes there."""

    def __call__(self, job: Job) -> str | None:
        return tried(job)

    def checkpoint(self, job: Job) -> Any:
        """What submitit shall run next: the same, which goes on from its own checkpoints."""
        return submitit.helpers.DelayedSubmission(self, job)


def _ended(job: Job, its: Any) -> Ended | None:
    """How a job ended that has left a result; None where that is that it was stopped."""
    try:
        return Ended(job, its.result())
    except submitit.core.utils.FailedJobError:
        return None
