"""Jobs, one at a time per device: each is a process of the command line, which outlives the studio.

The queue is a file. A studio that was restarted knows its processes again by their number and when they began.
"""

import os
import re
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from dreambooth.errors import RunError
from dreambooth.run.status import ask_to_stop, read_status
from dreambooth.support.progress import log
from dreambooth.web.records import ENDED, JOBS, Ended, Job, Jobs, Kind
from dreambooth.web.refusal import Refusal
from dreambooth.web.studio import Studio

COMMAND = (sys.executable, "-m", "dreambooth")
LOG = "log.txt"
MOST_WAITING = 50
TICK = 0.25
"""Seconds between two looks at what has ended."""


def devices() -> tuple[str, ...]:
    """The GPUs of this machine by number, or "" alone: where there are none, or the system numbers them itself."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return tuple(number for number in given.split(",") if number) or ("",)
    numbers = [found[1] for path in Path("/dev").glob("nvidia*") if (found := re.fullmatch(r"nvidia(\d+)", path.name))]
    return tuple(sorted(numbers, key=int)) or ("",)


class Queue:
    """What waits and what runs. command: how the command line is started.  slots: the devices, one job at a time each.

    environment: of the processes, beside this one's.
    """

    def __init__(
        self,
        studio: Studio,
        command: Sequence[str] = COMMAND,
        slots: Sequence[str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.studio, self.command = studio, tuple(command)
        self.slots = devices() if slots is None else tuple(slots)
        self._environment = dict(environment or {})
        self._lock, self._children = threading.RLock(), dict[str, "subprocess.Popen[bytes]"]()
        self._jobs, self._ending = _read(studio.own), threading.Event()
        self._thread = threading.Thread(target=self._watch, name="queue", daemon=True)

    def start(self) -> None:
        """Begin to look after the jobs."""
        self._thread.start()

    def close(self) -> None:
        """Look no longer; what runs goes on."""
        self._ending.set()
        self._thread.join()

    @property
    def jobs(self) -> Jobs:
        """As they are now."""
        return self._jobs

    def add(self, run: str, kind: Kind, words: Sequence[str]) -> Job:
        """Let a job wait; raises Refusal where the run has one already, or too many wait."""
        with self._lock:
            if self.job_of(run):
                raise Refusal(409, "This run is at work or waiting already: wait for it, or stop it first.")
            self.require_room()
            job = Job(id=secrets.token_hex(6), run=run, kind=kind, words=tuple(words), queued=time.time())
            self._save(replace(self._jobs, waiting=(*self._jobs.waiting, job)))
        return job

    def require_room(self) -> None:
        """Raise Refusal where as many jobs wait as may."""
        if len(self._jobs.waiting) >= MOST_WAITING:
            raise Refusal(409, f"{MOST_WAITING} jobs are waiting already: wait for some of them.")

    def job_of(self, run: str) -> Job | None:
        """The job of a run that runs or waits."""
        return next((job for job in (*self._jobs.running, *self._jobs.waiting) if job.run == run), None)

    def place_of(self, run: str) -> int:
        """How many jobs are before that of a run, and it; 0 of one that does not wait."""
        return next((place for place, job in enumerate(self._jobs.waiting, start=1) if job.run == run), 0)

    def stop(self, run: str, at_once: bool = False) -> None:
        """Have a run save and end, whoever started it; at_once: end its process, which loses what was not saved.

        Raises Refusal where nothing is running, or for `at_once` where it was not started here.
        """
        with self._lock:
            waiting = tuple(job for job in self._jobs.waiting if job.run != run)
            if len(waiting) < len(self._jobs.waiting):
                self._save(replace(self._jobs, waiting=waiting))
                return
            job = next((job for job in self._jobs.running if job.run == run), None)
        folder, now = self.studio.run(run), time.time()
        status = read_status(folder)
        alive = status is not None and status.is_alive(now)
        if job is None and not alive:
            raise Refusal(409, "Nothing is running here.")
        if at_once and job is None:
            where = status.host if status else "another machine"
            raise Refusal(409, f"It was started elsewhere ({where}): end its process there.")
        if at_once and job:
            self._end(job, psutil.Process.kill)
        elif alive and (job is None or status is None or status.began >= job.started - 1):
            ask_to_stop(folder)
        elif job:  # it has not come to its folder yet
            self._end(job, psutil.Process.terminate)

    def _watch(self) -> None:
        said = ""
        while not self._ending.wait(TICK):
            try:
                with self._lock:
                    for job in self._jobs.running:
                        if not self._is_running(job):
                            self._reap(job)
                    self._begin()
            except Exception as error:  # such as a full disk: without this thread no run would start any more
                if said != str(error):
                    said = str(error)
                    log.warning("the list of runs could not be gone through, which is tried again: %s", error)

    def _begin(self) -> None:
        for slot in self._free():
            if not self._jobs.waiting:
                return
            before = self._jobs
            job, *waiting = before.waiting
            self._save(Jobs(waiting=tuple(waiting), running=(*before.running, job)))  # a full disk starts nothing
            try:
                started = self._started(replace(job, device=slot))
            except BaseException:
                self._jobs = before  # it has no process, and waits on
                self._save(before)
                raise
            self._jobs = Jobs(waiting=tuple(waiting), running=(*before.running, *started))
            self._save(self._jobs)  # where this fails the process is known all the same: it is not started again

    def _started(self, job: Job) -> tuple[Job, ...]:
        """The job with its process; none where its words are such as no command line can have, which is written."""
        try:
            return (self._spawn(job),)
        except ValueError as error:
            self._ended(job, 1, str(error))
            return ()

    def _free(self) -> list[str]:
        """The devices that neither a job nor a run that was started elsewhere on this folder has."""
        taken = [job.device for job in self._jobs.running]
        free = [slot for slot in self.slots if slot not in taken]
        if not self._jobs.waiting or not free:
            return []
        mine, now = {job.run for job in self._jobs.running}, time.time()
        others = sum(
            status is not None and status.is_alive(now)
            for run, folder in self.studio.runs().items()
            if run not in mine and (status := read_status(folder))
        )
        return free[others:]

    def _spawn(self, job: Job) -> Job:
        beside = self.studio.beside(job.run)
        beside.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, **self._environment, "PYTHONUNBUFFERED": "1"}
        if job.device:
            environment["CUDA_VISIBLE_DEVICES"] = job.device
        (beside / ENDED.name).unlink(missing_ok=True)
        with (beside / LOG).open("wb") as file:
            child = subprocess.Popen(
                [*self.command, *job.words],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,  # Ctrl-C at the studio does not end it
            )
        self._children[job.id] = child
        return replace(job, process=child.pid, started=_created(child.pid) or time.time())

    def _is_running(self, job: Job) -> bool:
        if child := self._children.get(job.id):
            return child.poll() is None
        created = _created(job.process)  # of a studio before this one
        return created is not None and abs(created - job.started) < 0.1

    def _reap(self, job: Job) -> None:
        child = self._children.get(job.id)
        self._ended(job, child.returncode if child else None, _last_words(self.studio.beside(job.run) / LOG))
        self._save(replace(self._jobs, running=tuple(its for its in self._jobs.running if its.id != job.id)))
        self._children.pop(job.id, None)  # last: where a full disk lets nothing be written, it is asked again

    def _ended(self, job: Job, code: int | None, message: str) -> None:
        ended = Ended(kind=job.kind, code=code, message=message, at=time.time(), words=job.words)
        ENDED.write(self.studio.beside(job.run), ended)

    def _end(self, job: Job, how: Callable[[psutil.Process], None]) -> None:
        with suppress(psutil.Error):
            if self._is_running(job):
                how(psutil.Process(job.process))

    def _save(self, jobs: Jobs) -> None:
        JOBS.write(self.studio.own, jobs)
        self._jobs = jobs


def _read(folder: Path) -> Jobs:
    with suppress(RunError):  # damaged: what ran goes on, and is seen by its status
        return JOBS.find(folder) or Jobs()
    return Jobs()


def _created(process: int) -> float | None:
    """When a process began; None where there is none, or it has ended and its parent was not told yet."""
    try:
        its = psutil.Process(process)
        return None if its.status() == psutil.STATUS_ZOMBIE else float(its.create_time())
    except psutil.Error:
        return None


def _last_words(log: Path, most: int = 4000) -> str:
    """What a job said at its end: the command line's own sentence, else the last lines."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - most))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    _, said, after = text.rpartition("dreambooth: ")
    return after.strip() if said else "\n".join(text.strip().splitlines()[-5:])
