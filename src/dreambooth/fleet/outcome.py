"""What became of each subject of a fleet: a row of fleet.csv and fleet.json."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from dreambooth.errors import RunError
from dreambooth.fleet.manifest import Member
from dreambooth.probe.scoring import COLUMNS
from dreambooth.run import Run
from dreambooth.run.files import JsonFile
from dreambooth.run.measured import read_measured
from dreambooth.run.timing import read_timings
from dreambooth.support.files import write_text

State = Literal["finished", "failed", "waiting"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A subject and its numbers.

    folder: of its run, beside this file.  reason: of a failed one.  step: the recommended one.  scores: of the final
    samples, by metric, whoever was not measured has none.  flagged: the paper's failures that show.  seconds: all
    stages together.
    """

    name: str
    class_noun: str
    state: State
    folder: str
    reason: str = ""
    step: int | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    flagged: tuple[str, ...] = ()
    seconds: float = 0.0


OUTCOMES = JsonFile("fleet.json", list[Outcome])
CSV = "fleet.csv"


def outcome_of(member: Member, out: Path, finished: bool, problem: str | None) -> Outcome:
    """What a subject's run folder says; problem: why it failed just now."""
    run = Run(out / member.folder)
    noun = member.subject.class_noun
    its = Outcome(name=member.name, class_noun=noun, state="waiting", folder=member.folder)
    if not finished:
        return replace(its, state="failed", reason=problem) if problem else its
    try:
        measured = read_measured(run)
    except RunError as error:
        return replace(its, state="failed", reason=str(error))
    tuned = measured.samples.rows.get("tuned") if measured.samples else None
    return replace(
        its,
        state="finished",
        step=measured.chosen,
        scores={name: round(tuned.numbers[name], 4) for name in COLUMNS if name in tuned.numbers} if tuned else {},
        flagged=measured.flagged,
        seconds=round(sum(read_timings(run).values()), 1),
    )


def write_outcomes(out: Path, outcomes: Sequence[Outcome]) -> None:
    """Write the table, as CSV and as JSON."""
    OUTCOMES.write(out, list(outcomes))
    write_text(out / CSV, as_csv(outcomes))


def as_csv(outcomes: Sequence[Outcome]) -> str:
    """A header, then a row per subject; what does not apply is empty."""
    text = io.StringIO()
    columns = ["name", "class_noun", "state", *COLUMNS, "step", "flagged", "seconds", "folder", "reason"]
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for its in outcomes:
        plain = {"name": its.name, "class_noun": its.class_noun, "state": its.state, "folder": its.folder}
        measured = {"step": its.step, "flagged": "; ".join(its.flagged), "seconds": its.seconds or None}
        writer.writerow({**plain, **its.scores, **measured, "reason": its.reason})
    return text.getvalue()
