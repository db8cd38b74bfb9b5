"""scores.jsonl: a line per probe, which the rule, the diagnosis and the report read."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Self

from dreambooth.evaluation import Scores, Variety, kept
from dreambooth.run import Run

Step = int | Literal["real", "untuned", "tuned", "own", "pictures"]
"""0 is the untuned model, asked for the class noun in place of the subject; "real" is the photos among themselves.

"untuned" and "tuned" drew the final samples, and "own" what was asked for later; "pictures" are those of any folder.
"""


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
    """What one probe saw: means over its prompts, the same by template, and the seconds it took.

    variety: of the pictures of the "subject" and of the "class" that were asked for no place.  pictures: how many there
    were, without those of the class.
    """

    step: Step
    scores: Scores
    prompts: Mapping[str, Prompted] = field(default_factory=dict)
    variety: Mapping[str, Variety] = field(default_factory=dict)
    pictures: int = 0
    seconds: float = 0.0

    @classmethod
    def read(cls, payload: Mapping[str, Any]) -> Self:
        """What `line` wrote, read back."""
        prompts = {
            template: Prompted(scores=_scores(values), elsewhere=values.get("elsewhere"))
            for template, values in payload.get("prompts", {}).items()
        }
        variety = {of: Variety(**its) for of, its in payload.get("variety", {}).items()}
        return cls(
            step=payload["step"],
            scores=_scores(payload),
            prompts=prompts,
            variety=variety,
            pictures=payload.get("pictures", 0),
            seconds=payload.get("seconds", 0.0),
        )

    def kept(self, untuned: "Probed") -> dict[str, float]:
        """What is left of the untuned model's CLIP-T, "clip_t", and variety, "subject_scenes" and so on, of 1."""
        of_words = {}
        if self.scores.clip_t is not None and untuned.scores.clip_t:
            of_words["clip_t"] = self.scores.clip_t / untuned.scores.clip_t
        return of_words | {
            f"{of}_{number}": share
            for of, its in self.variety.items()
            if of in untuned.variety
            for number, share in kept(its, untuned.variety[of]).items()
        }

    @property
    def record(self) -> dict[str, Any]:
        """As JSON has it; what was not measured is left out."""
        prompts = {
            template: _told(its.scores) | ({} if its.elsewhere is None else {"elsewhere": its.elsewhere})
            for template, its in self.prompts.items()
        }
        variety = {of: _told(its) for of, its in self.variety.items()}
        payload: dict[str, Any] = {"step": self.step, **_told(self.scores)}
        more = {"prompts": prompts, "variety": variety, "pictures": self.pictures}
        return payload | {name: value for name, value in more.items() if value}

    @property
    def line(self) -> str:
        """A line of scores.jsonl."""
        return json.dumps({**self.record, "seconds": round(self.seconds, 3)}) + "\n"


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


def _told(scores: Scores | Variety) -> dict[str, float]:
    return {name: value for name, value in asdict(scores).items() if value is not None}


def _scores(payload: Mapping[str, Any]) -> Scores:
    return Scores(**{metric.name: payload.get(metric.name) for metric in fields(Scores)})
