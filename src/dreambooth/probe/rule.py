"""Which step to keep and when to stop: fidelity, prompt following and drift, against what is known before training."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from dreambooth.evaluation import Scores
from dreambooth.probe.lines import Probed

RULE = (
    "the step with the largest product of three shares, none counted above 1: its DINO of the photos' among "
    "themselves, or of 1 where these are hardly more alike than the untuned model's pictures are to them, or there is "
    "one alone; its CLIP-T of the untuned model's; its 1 - PRES of the untuned model's. Of equal ones the first"
)
"""The rule in words. Copying gains nothing by it: beyond what the photos have in common, fidelity counts no more."""

CLEAR = 0.1
"""What DINO among the photos has above the untuned model's at least, to be what a subject can reach."""

REACHED = 0.9
"""Early stopping: the shares of DINO and of 1 - PRES from which on more steps can only cost prompt following."""


class Shares(NamedTuple):
    """The three shares of RULE, each in [0, 1]."""

    fidelity: float
    prompt: float
    prior: float

    @property
    def merit(self) -> float:
        """Their product."""
        return self.fidelity * self.prompt * self.prior


def shares(probes: Sequence[Probed]) -> dict[int, Shares]:
    """The shares at every trained step; `probes` also holds the references, "real" and 0.

    A share whose reference is missing or not positive is 1.
    """
    references = {probed.step: probed.scores for probed in probes if probed.step in ("real", 0)}
    return {
        probed.step: _shares(probed.scores, references["real"], references[0])
        for probed in probes
        if isinstance(probed.step, int) and probed.step > 0
    }


def best_step(found: Mapping[int, Shares]) -> int:
    """The step that RULE names."""
    return max(sorted(found), key=lambda step: found[step].merit)


def may_stop(found: Mapping[int, Shares], patience: int) -> bool:
    """Whether the last of these probes is a good place to stop.

    It is where the subject is learned and its class kept (REACHED), or where `patience` probes in a row were no better
    than one before.
    """
    last = found[max(found)]
    reached = min(last.fidelity, last.prior) >= REACHED
    return reached or sum(step > best_step(found) for step in found) >= patience


def ceiling(real: Scores, untuned: Scores) -> float:
    """The DINO that a subject can reach: of its photos among themselves, if they clearly have something in common.

    A single photo is like no other, and photos of two sides of a thing may be less alike than any two of its class: 1.
    """
    if real.dino is None or real.dino < (untuned.dino or 0.0) + CLEAR:
        return 1.0
    return real.dino


def reason(step: int, found: Mapping[int, Shares], class_prompt: str, most: float) -> str:
    """Why `step` is recommended, in plain words, with what the last one has instead; most: the ceiling of DINO."""
    at, last = found[step], max(found)
    like = "its photos as they are like each other" if most < 1 else "its photos as each is like itself"
    sentence = (
        f"step {step}: the subject is {at.fidelity:.0%} as like {like} (DINO), prompts "
        f'are followed {at.prompt:.0%} as well as by the untuned model (CLIP-T), and "{class_prompt}" keeps '
        f"{at.prior:.0%} of its distance from the subject (PRES)"
    )
    if step == last:
        return sentence
    instead = found[last]
    return (
        f"{sentence}; at the last step, {last}, these are {instead.fidelity:.0%}, {instead.prompt:.0%} and "
        f"{instead.prior:.0%}"
    )


def _shares(scores: Scores, real: Scores, untuned: Scores) -> Shares:
    return Shares(
        fidelity=_share(scores.dino, ceiling(real, untuned)),
        prompt=_share(scores.clip_t, untuned.clip_t),
        prior=_share(_kept(scores), _kept(untuned)),
    )


def _share(value: float | None, reference: float | None) -> float:
    if value is None or reference is None or reference <= 0:
        return 1.0
    return min(1.0, max(0.0, value / reference))


def _kept(scores: Scores) -> float | None:
    return None if scores.pres is None else 1 - scores.pres
