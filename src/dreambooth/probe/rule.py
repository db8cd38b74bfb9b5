"""Which step to keep and when to stop: fidelity, prompts, drift and variety, against what is known before training."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from dreambooth.evaluation import progress_by_metric, progress_of
from dreambooth.run.records import Probed, Scores, Step
from dreambooth.run.ways import CLEAR, percent
from dreambooth.subject import Subject

RULE = (
    "the step with the largest product of four shares, each kept within 0 and 1: how far its DINO has gone from the "
    "untuned model's to that of the photos among themselves, or to 1 where there is a single photo or they are hardly "
    "more similar to each other than the untuned model's samples are to them; its CLIP-T as a share of the untuned "
    "model's; 1 less how far its PRES has gone to the same; the mean of 1 and what is left of the untuned model's "
    "effective scenes (of its DIV where no scenes are known) in samples of the subject and of the class that name no "
    "place, counted as one standard error more than was measured, since few samples say little. The first of equal "
    "ones; of several subjects in one model each share is the mean over them"
)
"""How the checkpoint is chosen, as recommendation.json says it. `Shares` has the four factors, `best_step` the choice.

DINO above that of the photos among themselves counts no more, so copying photos gains nothing. Variety is averaged with
1, so a step that has lost all of it still beats one that has learned nothing.
"""

ALLOWED = 1.0
"""Standard errors that are added to what is left of variety, up to all of it: eight samples say little."""

REACHED = 0.9
"""Early stopping: the shares of DINO and of PRES from which on more steps can only cost prompt following."""


class Shares(NamedTuple):
    """The shares of RULE, each in [0, 1]; variety: what is left of it, on the mean of subject and class."""

    fidelity: float
    prompt: float
    prior: float
    variety: float = 1.0

    @property
    def merit(self) -> float:
        """Their product, to which variety adds the half of it."""
        return self.fidelity * self.prompt * self.prior * (1 + self.variety) / 2


def shares(probes: Sequence[Probed]) -> dict[int, Shares]:
    """The shares at every trained step; `probes` also holds the references, "real" and 0.

    A share whose reference is missing or not positive is 1.
    """
    references = {probed.step: probed for probed in probes if probed.step in ("real", 0)}
    return {
        probed.step: _shares(probed, references["real"], references[0])
        for probed in probes
        if isinstance(probed.step, int) and probed.step > 0
    }


def mean_shares(subjects: Sequence[Shares]) -> Shares:
    """The means over several subjects in one model."""
    return Shares(*(sum(share) / len(subjects) for share in zip(*subjects, strict=True)))


def best_step(found: Mapping[int, Shares]) -> int:
    """The step that RULE recommends of these; raises ValueError for none."""
    return max(sorted(found), key=lambda step: found[step].merit)


def may_stop(found: Mapping[int, Shares], patience: int) -> bool:
    """Whether the last of these probes is a good place to stop.

    It is where the subject is learned and its class kept (REACHED), or where `patience` probes in a row were no better
    than one before.
    """
    last = found[max(found)]
    reached = min(last.fidelity, last.prior) >= REACHED
    return reached or sum(step > best_step(found) for step in found) >= patience


def reason(step: int, probes: Mapping[Step, Probed], subject: Subject) -> str:
    """Why `step` is recommended, in plain words, with what the last one has instead.

    probes: with the references, "real" and 0.
    """
    last = max(step for step in probes if isinstance(step, int))
    sentence = f"step {step}: {_standing(step, probes, subject)}"
    return sentence if step == last else f"{sentence}; the last step, {last}: {_standing(last, probes, subject)}"


def _standing(step: int, probes: Mapping[Step, Probed], subject: Subject) -> str:
    untuned, real = probes[0], probes["real"]
    gone, kept, clauses = progress_by_metric(probes[step], untuned, real), probes[step].kept(untuned), []
    if (likeness := gone.get("dino", 0.0)) is None:
        clauses.append(
            "how far the subject has come cannot be told (DINO of the untuned model's pictures and the photos is "
            f"{untuned.dino:.2f}, of the photos among themselves {real.dino or 1.0:.2f}: it draws this already, or the "
            "photos are hardly of one thing)"
        )
    else:
        clauses.append(
            f"the subject has gone {percent(likeness)} of the way from the untuned model to its photos (DINO)"
        )
    if "clip_t" in kept:
        clauses.append(f"CLIP-T is {percent(min(1.0, kept['clip_t']))} of the untuned model's")
    if (drift := gone.get("pres")) is not None:
        went = f"has gone {percent(drift)} of the way to the subject"
        went = went if drift > 0 else f"has come no nearer to the subject, {percent(drift)} of the way"
        clauses.append(f'"{subject.class_prompt}" {went} (PRES)')
    if left := _variety(kept):
        prompts = {"subject": subject.prompt, "class": subject.class_prompt}
        each = " and ".join(f'"{prompts[of]}" keeps {percent(min(1.0, share))}' for of, share in left.items())
        clauses.append(f"of the untuned model's {'scenes' if 'class_scenes' in kept else 'variety (DIV)'} {each}")
    return f"{', '.join(clauses[:-1])}, and {clauses[-1]}" if clauses[1:] else "".join(clauses)


def _variety(kept: Mapping[str, float]) -> dict[str, float]:
    """What is left of the variety of the subject and of the class, by the scenes where these are known."""
    left = {of: kept.get(f"{of}_scenes", kept.get(f"{of}_div")) for of in ("subject", "class")}
    return {of: share for of, share in left.items() if share is not None}


def _ceiling(real: Scores, untuned: Scores) -> float:
    """The DINO that a subject can reach: of its photos among themselves, if they clearly have something in common.

    A single photo is like no other, and photos of two sides of a thing may be less similar than two of its class: 1.
    """
    if real.dino is None or real.dino < (untuned.dino or 0.0) + CLEAR:
        return 1.0
    return real.dino


def _shares(probed: Probed, real: Scores, untuned: Probed) -> Shares:
    kept, most = probed.kept(untuned, allowed=ALLOWED), _ceiling(real, untuned)
    drifted = progress_of(probed.pres, untuned.pres, most)
    left = [_bounded(share) for share in _variety(kept).values()]
    return Shares(
        fidelity=_bounded(progress_of(probed.dino, untuned.dino, most)),
        prompt=_bounded(kept.get("clip_t")),
        prior=_bounded(None if drifted is None else 1 - drifted),
        variety=sum(left) / len(left) if left else 1.0,
    )


def _bounded(share: float | None) -> float:
    return 1.0 if share is None else min(1.0, max(0.0, share))
