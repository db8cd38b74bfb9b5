"""Which step to keep and when to stop: fidelity, prompt following and drift, against what is known before training."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from dreambooth.evaluation import Scores, way, ways
from dreambooth.evaluation.ways import CLEAR, percent
from dreambooth.probe.lines import Probed, Step

RULE = (
    "the step with the largest product of three shares, none counted below 0 or above 1: the way its DINO has gone "
    "from the untuned model's to the photos' among themselves, or to 1 where these are hardly more alike than the "
    "untuned model's pictures are to them, or there is one alone; its CLIP-T of the untuned model's; 1 less the way "
    "that its PRES has gone to the same. Of equal ones the first"
)
"""The rule in words. Copying gains nothing by it: beyond what the photos have in common, fidelity counts no more."""

REACHED = 0.9
"""Early stopping: the shares of DINO and of PRES from which on more steps can only cost prompt following."""


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


def reason(step: int, probes: Mapping[Step, Probed], class_prompt: str) -> str:
    """Why `step` is recommended, in plain words, with what the last one has instead.

    probes: with the references, "real" and 0.
    """
    last = max(step for step in probes if isinstance(step, int))
    sentence = f"step {step}: {_standing(step, probes, class_prompt)}"
    return sentence if step == last else f"{sentence}; the last step, {last}: {_standing(last, probes, class_prompt)}"


def _standing(step: int, probes: Mapping[Step, Probed], class_prompt: str) -> str:
    mine, untuned, real = (probes[each].scores for each in (step, 0, "real"))
    gone, told = ways(mine, untuned, real), []
    if (subject := gone.get("dino", 0.0)) is None:
        told.append(
            "the base model already draws this (DINO of its pictures and the photos is "
            f"{untuned.dino:.2f}, of the photos among themselves {real.dino or 1.0:.2f})"
        )
    else:
        told.append(f"the subject has gone {percent(subject)} of the way from the untuned model to its photos (DINO)")
    if mine.clip_t is not None and untuned.clip_t:
        told.append(f"CLIP-T is {percent(mine.clip_t / untuned.clip_t)} of the untuned model's")
    if (drift := gone.get("pres")) is not None:
        told.append(f'"{class_prompt}" has gone {percent(drift)} of the way to the subject (PRES)')
    return ", ".join(told)


def _ceiling(real: Scores, untuned: Scores) -> float:
    """The DINO that a subject can reach: of its photos among themselves, if they clearly have something in common.

    A single photo is like no other, and photos of two sides of a thing may be less alike than any two of its class: 1.
    """
    if real.dino is None or real.dino < (untuned.dino or 0.0) + CLEAR:
        return 1.0
    return real.dino


def _shares(scores: Scores, real: Scores, untuned: Scores) -> Shares:
    most = _ceiling(real, untuned)
    learned, drifted = way(scores.dino, untuned.dino, most), way(scores.pres, untuned.pres, most)
    return Shares(
        fidelity=_bounded(learned),
        prompt=_bounded(scores.clip_t / untuned.clip_t if scores.clip_t is not None and untuned.clip_t else None),
        prior=_bounded(None if drifted is None else 1 - drifted),
    )


def _bounded(share: float | None) -> float:
    return 1.0 if share is None else min(1.0, max(0.0, share))
