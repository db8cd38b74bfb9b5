"""scores.jsonl: a line per probe, which the rule, the diagnosis and the report read."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Self

from dreambooth.evaluation import Scores
from dreambooth.run import Run

Step = int | Literal["real"]
"""0 is the untuned model, asked for the class noun in place of the subject; "real" is the photos among themselves."""


@dataclass(frozen=True, kw_only=True)
class Prompted:
    """Means over the pictures of one prompt. elsewhere: as clip_t, of the sentences that name the other places."""

    scores: Scores
    elsewhere: float | None = None

    @property
    def context(self) -> float | None:
        """How much better the asked place fits than the others: CLIP-T without what the subject contributes to it."""
        if self.scores.clip_t is None or self.elsewhere is None:
            return None
        return self.scores.clip_t - self.elsewhere


@dataclass(frozen=True, kw_only=True)
class Probed:
    """What one probe saw: means over its pictures, the same by template, and the seconds it took."""

    step: Step
    scores: Scores
    prompts: Mapping[str, Prompted] = field(default_factory=dict)
    seconds: float = 0.0

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Self:
        """What `line` wrote, read back."""
        prompts = {
            template: Prompted(scores=_scores(values), elsewhere=values.get("elsewhere"))
            for template, values in told.get("prompts", {}).items()
        }
        return cls(step=told["step"], scores=_scores(told), prompts=prompts, seconds=told.get("seconds", 0.0))

    @property
    def line(self) -> str:
        """A line of scores.jsonl; what was not measured is left out."""
        prompts = {
            template: _told(its.scores) | ({} if its.elsewhere is None else {"elsewhere": its.elsewhere})
            for template, its in self.prompts.items()
        }
        told = {"step": self.step, **_told(self.scores), **({"prompts": prompts} if prompts else {})}
        return json.dumps({**told, "seconds": round(self.seconds, 3)}) + "\n"


def read_probes(run: Run) -> list[Probed]:
    """The probes of a run so far, in the order they were written."""
    return [Probed.read(row) for row in run.lines(run.scores)]


def mean(rows: Iterable[Scores]) -> Scores:
    """The mean of each number over the rows that have it."""
    table: Sequence[Scores] = list(rows)
    means = {}
    for metric in fields(Scores):
        values = [value for row in table if (value := getattr(row, metric.name)) is not None]
        means[metric.name] = sum(values) / len(values) if values else None
    return Scores(**means)


def _told(scores: Scores) -> dict[str, float]:
    return {name: value for name, value in asdict(scores).items() if value is not None}


def _scores(told: Mapping[str, Any]) -> Scores:
    return Scores(**{metric.name: told.get(metric.name) for metric in fields(Scores)})
