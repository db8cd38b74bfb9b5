"""What the page shows of a run, read from its folder and told by one word: its state."""

import time
from contextlib import suppress
from dataclasses import asdict
from os import SEEK_END
from pathlib import Path
from typing import Any, Literal

from dreambooth.config import Config
from dreambooth.errors import DreamBoothError
from dreambooth.generation.samples import read_samples
from dreambooth.report.best import best, why
from dreambooth.run import Run, contents
from dreambooth.run.files import JsonFile, T
from dreambooth.run.kept import offered, steps
from dreambooth.run.measured import Measured, read_measured
from dreambooth.run.places import found
from dreambooth.run.records import CHOSEN, LOSSES, MODEL, RECOMMENDATION, SCORES, SUBJECT, Probed
from dreambooth.run.status import Status, read_status
from dreambooth.run.ways import percent, progress_by_metric
from dreambooth.support.progress import duration
from dreambooth.web.queue import Queue
from dreambooth.web.records import DRAFT, ENDED, Ended, Job
from dreambooth.web.refusal import Refusal
from dreambooth.web.studio import Studio

State = Literal["waiting", "starting", "running", "finished", "stopped", "failed", "lost"]

STOPPED = 130
"""The exit status of a command that was asked to stop."""

STAGES = {
    "load": "opening the base model",
    "identifier": "choosing a rare word",
    "prior": "drawing other ones of the kind, so that the model does not forget them",
    "samples before": "drawing with the untuned model",
    "samples untuned": "drawing with the untuned model",
    "probe": "measuring",
    "finetune": "learning",
    "samples after": "drawing the results",
    "score": "measuring the results",
}
"""What the stages of a run are called on the page."""


class Views:
    """Reads runs for the page."""

    def __init__(self, studio: Studio, queue: Queue) -> None:
        self.studio, self.queue = studio, queue

    def all(self) -> list[dict[str, Any]]:
        """Every run, those at work first, then the newest."""
        found = []
        for id in self.studio.runs():
            with suppress(Refusal, DreamBoothError, OSError):  # it was removed, or may not be read
                found.append(self.run(id))
        order = {"running": 0, "starting": 0, "waiting": 1}
        return sorted(found, key=lambda view: (order.get(view["state"], 2), -view["changed"]))

    def run(self, id: str) -> dict[str, Any]:
        """One run; raises Refusal where there is none."""
        folder, beside, now = self.studio.run(id), self.studio.beside(id), time.time()
        status, ended, job = read_status(folder), found_in(beside, ENDED), self.queue.job_of(id)
        state, saved = state_of(folder, status, ended, job, now), _saved(folder)
        draft, config, measured = found_in(beside, DRAFT), _config(folder), _measured(folder)
        subject = found_in(folder, SUBJECT)
        noun = subject.class_noun if subject else draft.noun if draft else ""
        called = subject.name if subject and subject.identifier else ""  # a run has none before its first stage
        return {
            "id": id,
            "name": (draft.name if draft else "") or folder.name,
            "spoken": (draft.name if draft else "") or called or folder.name,
            "noun": noun,
            "called": called,
            "state": state,
            "doing": _doing(state, status, self.queue.place_of(id)),
            **_steps(folder, status, config),
            "saved": saved,
            "seconds_left": status.seconds_left if status and state == "running" else None,
            "left": _left(status) if status and state == "running" else "",
            "message": _message(state, status, ended, saved),
            "undrawn": bool(undrawn(status, ended)),
            "host": status.host if status else "",
            "is_ours": job is not None,
            "likeness": _likeness(measured),
            "method": config.method.method if config else "",
            "model": Path(config.base.model).name if config else "",
            "is_demo": bool(config and config.world.embedded and config.base.model == config.world.name),
            "foreign": measured.foreign if measured else "",
            "recommended": _recommended(measured, found_in(folder, CHOSEN)),
            "offered": _offered(folder) if state == "finished" else [],
            "findings": [asdict(finding) for finding in measured.findings] if measured else [],
            "adapter": sorted(file.name for file in (folder / contents.ADAPTER).glob("*.safetensors")),
            "has_model": (folder / MODEL.name).is_file(),
            "has_share": (folder / contents.SHARE).is_file(),
            "has_report": (folder / contents.REPORT).is_file(),
            "ideas": _ideas(config, noun),
            "photos": len(self.photos(id)),
            "changed": _changed(folder, beside),
        }

    def photos(self, id: str) -> list[Path]:
        """The photos of a run, also of one that has only been started; they may have been moved away since."""
        folder = self.studio.run(id)
        if subject := found_in(folder, SUBJECT):
            return [found(photo, folder) for photo in subject.photos]
        return sorted((self.studio.beside(id) / "photos").glob("*.*"))


def state_of(folder: Path, status: Status | None, ended: Ended | None, job: Job | None, now: float) -> State:
    """One word for it: by the queue, by the last heartbeat, and by what is in the folder."""
    if job and not job.process:
        return "waiting"
    over = job is None and ended is not None and status is not None and ended.at >= status.heartbeat
    if status and status.is_alive(now) and not over and (job is None or status.began >= job.started - 1):
        return "running"
    if job:
        return "starting"
    there = (folder / MODEL.name).is_file() and (folder / contents.REPORT).is_file()
    if there and status and status.whole and status.state != "running":
        return "finished"  # though what was asked of it since may have failed
    if ended and (ended.code or 0) > 0 and ended.code != STOPPED and not (status and status.state == "done"):
        return "failed"
    if status and status.state == "running":
        return "lost"
    if status and status.state in ("stopped", "failed"):
        return "stopped" if status.state == "stopped" else "failed"
    return "finished" if there else "stopped"


def undrawn(status: Status | None, ended: Ended | None) -> tuple[str, ...]:
    """The words of a drawing of a finished run that did not come to its end; else none.

    Given again they draw what is lacking: a sample that is there is kept.
    """
    if ended is None or ended.kind != "generate" or ended.code == 0:
        return ()
    return ended.words if status and status.is_whole and status.state != "done" else ()


def found_in(folder: Path, file: JsonFile[T]) -> T | None:
    """What a record holds; None where it is missing, and where it is damaged: the run itself says that."""
    try:
        return file.find(folder)
    except DreamBoothError:
        return None


def _config(folder: Path) -> Config | None:
    try:
        return Run(folder).config
    except DreamBoothError:
        return None


def _measured(folder: Path) -> Measured | None:
    try:
        return read_measured(Run(folder))
    except DreamBoothError:
        return None


def _doing(state: State, status: Status | None, place: int) -> str:
    if state == "waiting":
        return "next to start" if place == 1 else f"waiting, {place - 1} before it"
    if state == "starting":
        return "starting"
    if state != "running" or status is None:
        return ""
    stage = STAGES.get(status.stage, status.stage or "getting ready")
    return f"{stage}, now measuring" if status.inner and status.stage == "finetune" else stage


def _steps(folder: Path, status: Status | None, config: Config | None) -> dict[str, Any]:
    """Steps done of all, and how much of the present stage is done."""
    total, trained = config.training.max_train_steps if config else 0, _trained(folder)
    if status and status.what == "fine-tuning":
        trained, total = status.done, status.total
    return {
        "steps": total,
        "step": trained,
        "done": status.done if status else 0,
        "total": status.total if status else 0,
        "is_learning": bool(status and status.what == "fine-tuning"),
    }


def _trained(folder: Path) -> int:
    """How many steps losses.jsonl has, by its last whole line."""
    try:
        with (folder / LOSSES.name).open("rb") as file:
            file.seek(max(0, file.seek(0, SEEK_END) - 4096))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return 0
    for line in reversed(lines):
        try:
            return LOSSES.adapter.validate_json(line, strict=True).step
        except ValueError:  # cut short
            continue
    return 0


def _saved(folder: Path) -> int:
    """The step after which a run that was ended goes on."""
    return max(steps(folder / contents.CHECKPOINTS), default=0)


def _left(status: Status) -> str:
    left = status.seconds_left
    return f"{duration(left)} left" if left is not None and left >= 1 else ""


def _message(state: State, status: Status | None, ended: Ended | None, saved: int) -> str:
    if state == "lost":
        silent = duration(time.time() - status.heartbeat) if status else ""
        why = ended.message if ended and ended.message else "It was ended from outside."
        goes_on = "it draws what is lacking" if undrawn(status, ended) else f"it goes on after step {saved}"
        return f"Nothing was heard from it for {silent}. {why} Continue it: {goes_on}."
    if state in ("failed", "finished") and ended and (ended.code or 0) > 0 and ended.code != STOPPED:
        return ended.message
    return status.message if status and state == "failed" else ""


def _likeness(measured: Measured | None) -> dict[str, Any] | None:
    """How far the finished samples, or before them the newest probe's, have gone from any of the kind to the photos.

    None where it would mean little: of photos that the base model cannot draw.
    """
    if measured is None or measured.foreign or 0 not in measured.probes or len(measured.probes) < 2:
        return None
    step = max(measured.probes) if measured.chosen is None else measured.chosen
    if step not in measured.probes:
        return None
    ways = measured.samples.ways if measured.samples else {}
    way = (ways or progress_by_metric(measured.probes[step], measured.probes[0], measured.real)).get("dino")
    return None if way is None else {"step": step, "share": way, "says": percent(min(1.0, max(0.0, way)))}


def _offered(folder: Path) -> list[int]:
    try:
        return offered(Run(folder))
    except DreamBoothError:
        return []


def _recommended(measured: Measured | None, chosen: int | None) -> dict[str, Any] | None:
    if measured is None or (verdict := measured.recommendation) is None:
        return None
    return {
        "step": verdict.step,
        "last": verdict.last,
        "stopped_early": verdict.stopped_early,
        "by_hand": chosen == verdict.step,
        "says": why(verdict, chosen == verdict.step, measured.samples),
        "reason": verdict.reason,
        "rule": verdict.rule,
        "way": verdict.way,
        "judges": dict(verdict.judges),
    }


def best_of(folder: Path) -> list[str]:
    """The files of the samples that stand for a run, all of the stage "after"."""
    measured = _measured(folder)
    return (
        [its.path.name for its in best(read_samples(folder / contents.SAMPLES / "after"), measured)] if measured else []
    )


def probes_of(folder: Path) -> list[dict[str, Any]]:
    """The numbers of every probe, with its way to the photos, in the order of the steps."""
    measured = _measured(folder)
    if measured is None:
        return []
    untuned: Probed | None = measured.probes.get(0)
    found = []
    for step, probed in measured.probes.items():
        ways = progress_by_metric(probed, untuned, measured.real) if untuned else {}
        found.append(
            {"step": step, "numbers": probed.numbers, "ways": ways, "kept": probed.kept(untuned) if untuned else {}}
        )
    return found


def _ideas(config: Config | None, noun: str) -> list[str]:
    """Prompts to try, in words that the base model knows."""
    return [prompt.template for prompt in config.world.prompts(noun) if prompt.kind != "class"] if config else []


def _changed(folder: Path, beside: Path) -> float:
    """When something last happened: by the files that every run writes."""
    names = (RECOMMENDATION.name, SCORES.name, LOSSES.name, contents.CONFIG, contents.REPORT)
    paths = [*(folder / name for name in names), beside / DRAFT.name]
    return max((path.stat().st_mtime for path in paths if path.exists()), default=0.0)
