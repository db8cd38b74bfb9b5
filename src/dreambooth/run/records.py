"""What each file of a run holds: one schema, which its writer and reader share; the table at the end binds both."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from dreambooth.run.class_images import ClassImages
from dreambooth.run.files import NOTHING_ELSE, JsonFile, JsonLines
from dreambooth.subject import Subject


def _measured(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


Finite = Annotated[float, Field(gt=-1e30, lt=1e30)]  # no number of a run is larger, and a chart of one cannot be drawn
Number = Annotated[Finite | None, BeforeValidator(_measured)]
"""A number that was measured; None, in a file also NaN, where it was not."""

Step = Annotated[int, Field(ge=0)] | Literal["real", "untuned", "tuned", "own", "pictures"]
"""Which pictures a row of scores is of.

A number: the probe after so many optimizer steps; 0 is the untuned model, asked for the class noun without identifier.
"real": the photos, compared with each other.  "untuned", "tuned": the final samples, by the model before and after.
"own": samples that were asked for later.  "pictures": those of a folder that is no run.
"""

Failure = Literal[
    "subject not learned",
    "context not synthesised",
    "context-appearance entanglement",
    "overfitting to the photos",
    "variety lost",
]


Hashes = dict[str, str]
"""The SHA-256 of files by their paths below a folder; of photos by their names, empty for one that cannot be read."""


@dataclass(frozen=True, kw_only=True)
class BaseModel:
    """The model that a run began with: what the user called it, and a hash of its weights and schedule."""

    __pydantic_config__ = NOTHING_ELSE
    model: str
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class JudgeNames:
    """The judges that measure a run, each with a hash of its weights in its name."""

    __pydantic_config__ = NOTHING_ELSE
    dino: str
    clip: str
    perceptual: str


@dataclass(frozen=True, kw_only=True)
class Loss:
    """A line of losses.jsonl: one optimizer step.

    loss: what is minimised, the mean over the step's batches: Eq. 2, or `loss.direct_consistency`; l2_to_base apart.
    subject, prior: the terms of Eq. 2, before lambda.  lr: of the denoiser.  grad_norm: before it is clipped.
    """

    step: Annotated[int, Field(ge=0)]
    loss: Finite
    subject: Finite
    prior: Finite | None = None
    lr: Finite
    grad_norm: Finite
    seconds: Finite


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What the metrics say, each defined in evaluation/metrics.py; None where there was nothing to measure it on."""

    dino: Number = None
    median_dino: Number = None
    clip_i: Number = None
    clip_t: Number = None
    pres: Number = None
    div: Number = None
    masked_dino: Number = None
    nearest_photo: Number = None
    background_invariance: Number = None

    @property
    def numbers(self) -> dict[str, float]:
        """Those that were measured, by name."""
        return {metric.name: value for metric in fields(Scores) if (value := getattr(self, metric.name)) is not None}


Varied = Literal["div", "scenes"]
"""The numbers of `Variety`."""


@dataclass(frozen=True, kw_only=True)
class Variety:
    """Of the samples of one prompt that names no place.

    div: the mean perceptual distance of two of them.  scenes: their effective number of scenes, None where no reader
    knows the scenes.  pictures: how many were looked at.  errors: the standard error of each number, as a share of it.
    """

    div: Finite
    scenes: Number = None
    pictures: int
    errors: Mapping[Varied, Finite] = field(default_factory=dict)

    def kept(self, untuned: "Variety", allowed: float = 0.0) -> dict[str, float]:
        """What is left of the untuned model's variety, of 1, by the numbers that both have; not cut off above 1.

        Nothing where they are of different numbers of pictures: those do not compare.  allowed: so many standard errors
        of the share are added to it, where both errors were measured.
        """
        if self.pictures != untuned.pictures:
            return {}
        pairs: dict[Varied, tuple[float | None, float | None]] = {
            "scenes": (self.scenes, untuned.scenes),
            "div": (self.div, untuned.div),
        }
        shares = {name: value / before for name, (value, before) in pairs.items() if value is not None and before}
        both = {name for name in shares if name in self.errors and name in untuned.errors}
        errors = {name: math.hypot(self.errors[name], untuned.errors[name]) for name in both}
        return {name: share * (1 + allowed * errors.get(name, 0.0)) for name, share in shares.items()}


@dataclass(frozen=True, kw_only=True)
class PromptScores(Scores):
    """Means over the samples of one prompt. elsewhere: as clip_t, of the sentences that name the other places."""

    elsewhere: Number = None

    @property
    def context(self) -> float | None:
        """The margin of CLIP-T for the place asked for over the other places, without what the subject contributes."""
        return None if self.clip_t is None or self.elsewhere is None else self.clip_t - self.elsewhere


@dataclass(frozen=True, kw_only=True)
class Probed(Scores):
    """A line of scores.jsonl, what one probe saw: means over its prompts, the same by template, and its seconds.

    variety: of the "subject" and of the "class", asked for no place.  pictures: how many, without those of the class.
    """

    step: Step
    prompts: Mapping[str, PromptScores] = field(default_factory=dict)
    variety: Mapping[str, Variety] = field(default_factory=dict)
    pictures: int = 0
    seconds: Finite = 0.0

    @property
    def numbers(self) -> dict[str, float]:
        """What was measured, by name; variety as "subject_scenes", "class_div" and so on."""
        each = ((of, its, number) for of, its in self.variety.items() for number in ("scenes", "div"))
        varied = {f"{of}_{number}": value for of, its, number in each if (value := getattr(its, number)) is not None}
        return super().numbers | varied

    def kept(self, untuned: "Probed", allowed: float = 0.0) -> dict[str, float]:
        """What is left of the untuned model's CLIP-T, "clip_t", and variety, "subject_scenes" and so on, of 1.

        allowed: so many standard errors are added to each share of variety.
        """
        of_words = {"clip_t": self.clip_t / untuned.clip_t} if self.clip_t is not None and untuned.clip_t else {}
        return of_words | {
            f"{of}_{number}": share
            for of, its in self.variety.items()
            if of in untuned.variety
            for number, share in its.kept(untuned.variety[of], allowed).items()
        }


@dataclass(frozen=True, kw_only=True)
class Check:
    """A number that was looked at for a failure, and what to say where it shows the failure.

    value: the metric as a share of its reference, or the way it has gone.  threshold: the least it should be, or with
    `at_most` the most.  avoided: whether the last step alone shows it, and not the recommended one.
    """

    failure: Failure
    metric: str
    value: Finite
    threshold: Finite
    at_most: bool = False
    says: str
    change: str
    avoided: bool = False

    @property
    def within(self) -> bool:
        """Whether the value is within its bounds: the failure does not show."""
        return self.value <= self.threshold if self.at_most else self.value >= self.threshold


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """The checkpoint that became run/model, the rule that chose it, and who measured what.

    last: the last step that was trained.  ways: by metric, from the untuned model to the photos; None where these are
    too near.  way: what that means, in words.  kept: by metric, what is left of the untuned model's, of 1.
    """

    step: int
    rule: str
    reason: str
    last: int
    stopped_early: bool
    judges: Mapping[str, str]
    ways: Mapping[str, Finite | None]
    way: str
    kept: Mapping[str, Finite]


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """The failures that were seen in the probe's samples, and all numbers that were looked at."""

    findings: tuple[Check, ...]
    checked: tuple[Check, ...]


@dataclass(frozen=True, kw_only=True)
class SampleScores:
    """What the judges say of finished pictures, by whose they are; "real" is the photos among themselves.

    photos: how many.  places: the templates that ask for a place and nothing else.  ways, way, kept: as those of the
    recommendation, checked: as those of the diagnosis; empty where the tuned model's or the untuned's are not there.
    """

    judges: Mapping[str, str]
    photos: int
    rows: Mapping[Step, Probed]
    places: tuple[str, ...] = ()
    ways: Mapping[str, Finite | None] = field(default_factory=dict)
    way: str = ""
    kept: Mapping[str, Finite] = field(default_factory=dict)
    checked: tuple[Check, ...] = ()


@dataclass(frozen=True, kw_only=True)
class WorldFit:
    """How well the photos fit the base model's world.

    likeness: the cosine with the nearest of its sentences, by the judge that is named.  limit: the least that the
    world's own photos have.  foreign: whether it is below, so that the model can draw nothing like them; says: that in
    words, then.
    """

    likeness: Finite
    limit: Finite
    judge: str
    foreign: bool
    says: str


SUBJECT = JsonFile("subject.json", Subject)
PHOTOS = JsonFile("photos.json", Hashes)
BASE = JsonFile("base.json", BaseModel)
JUDGES = JsonFile("judges.json", JudgeNames)
WORLD_FIT = JsonFile("world_fit.json", WorldFit)
CLASS_IMAGES = JsonFile("prior.json", ClassImages)
LOSSES = JsonLines("losses.jsonl", Loss)
SCORES = JsonLines("scores.jsonl", Probed)
RECOMMENDATION = JsonFile("recommendation.json", Recommendation)
DIAGNOSIS = JsonFile("diagnosis.json", Diagnosis)
MODEL = JsonFile("model.json", Hashes)
SAMPLES = JsonFile("samples.json", SampleScores)
CHOSEN = JsonFile("chosen.json", int)
TIMINGS, PLAN = JsonFile("timings.json", dict[str, Finite]), JsonFile("plan.json", dict[str, Finite])
