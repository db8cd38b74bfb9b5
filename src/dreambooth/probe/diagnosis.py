"""Section 4.5's three failures, and those that it leaves out, each with the number that shows it and what to change.

DINO of whole pictures is blind to most and rewards copies and sameness, so each is measured where it breaks something,
against what is known before training: the untuned model's own pictures, and the photos among themselves.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from statistics import median

from dreambooth.evaluation import progress_by_metric, progress_of
from dreambooth.generation.prompts import CLASS_PROMPT
from dreambooth.run.records import Check, Probed, PromptScores, Step, Variety
from dreambooth.run.ways import percent

CONTEXT = 0.6
"""Least margin by which CLIP-T prefers the place asked for to the other places, as a share of the untuned model's."""
ENTANGLEMENT = 0.75
"""Least DINO similarity to the photos in the worst place, as a share of that of the median prompt."""
LEARNED = 0.5
"""Least progress of DINO from the untuned model to the photos; below it, entanglement is not checked either."""
COPYING = 1.1
"""Most DINO similarity of a sample in a new place to its nearest photo, as a share of the median photo's to its own."""
DRIFT = 0.5
"""Most progress of PRES from the untuned model to the photos compared with each other."""
VARIETY = {"scenes": 0.6, "div": 0.4}
"""Least effective scenes, and DIV, as shares of the untuned model's, of samples whose prompt names no place.

DIV has the lower limit, as pictures of one subject are less different than those of all its class in the same scenes.
"""
ENOUGH = 8
"""Least pictures whose scenes are counted: of four, two in one place are an accident."""

REMEDIES = {
    "subject": "Train fewer steps (--early-stopping), at a lower --learning-rate or with --use-ema, and give photos "
    "from several places.",
    "class": "Hold the class by class images (--with-prior-preservation), by more of them (--num-class-images) or by a "
    "larger --prior-loss-weight, or train fewer steps.",
}
"""What to change where the samples of the subject, or of its class, are all similar."""


def diagnose(probes: Mapping[Step, Probed], step: int) -> list[Check]:
    """The failures that the probe of the recommended `step` shows, then those that only the last step has.

    probes: with the references, "real" and 0. A number that was not measured flags nothing: a single photo has no
    other to be like, so copying is not seen there, and drift goes towards a likeness of 1.
    """
    last = max(step for step in probes if isinstance(step, int))
    own = _failures(probes, step)
    avoided = [
        replace(check, avoided=True, says=f"Only the last step, {last}, shows this, not the one in use. {check.says}")
        for check in _failures(probes, last)
        if check.failure not in {current.failure for current in own}
    ]
    return own + avoided


def checks(probed: Probed, untuned: Probed, real: Probed) -> list[Check]:
    """All numbers that could be looked at, whether they show a failure or not."""
    return [
        *_learning(probed, untuned, real),
        *_context(probed, untuned),
        *_entanglement(probed, untuned, real),
        *_copying(probed, real),
        *_drift(probed, untuned, real),
        *_variety(probed, untuned),
    ]


def _failures(probes: Mapping[Step, Probed], step: int) -> list[Check]:
    """One for each thing to change: the first number that shows it."""
    seen = [check for check in checks(probes[step], probes[0], probes["real"]) if not check.within]
    return [check for at, check in enumerate(seen) if check.change not in {other.change for other in seen[:at]}]


def _learning(probed: Probed, untuned: Probed, real: Probed) -> Iterator[Check]:
    if (gone := progress_by_metric(probed, untuned, real).get("dino")) is None:
        return
    yield Check(
        failure="subject not learned",
        metric="dino",
        value=gone,
        threshold=LEARNED,
        says=f"The subject has gone {percent(gone)} of the way from the untuned model to its photos (DINO).",
        change="Train more steps (--max-train-steps) or at a higher --learning-rate.",
    )


def _context(probed: Probed, untuned: Probed) -> Iterator[Check]:
    leads = {
        place: (its.context, before)
        for place, its in _places(probed).items()
        if place in untuned.prompts
        and its.context is not None
        and (before := untuned.prompts[place].context) is not None
        and before > 0
    }
    if not leads:
        return
    current, before = (sum(column) for column in zip(*leads.values(), strict=True))
    share, worst = max(current / before, 0.0), min(leads, key=lambda place: leads[place][0] / leads[place][1])
    yield Check(
        failure="context not synthesised",
        metric="clip_t",
        value=share,
        threshold=CONTEXT,
        says=f"Samples show the place they were asked for {percent(share)} as clearly as the untuned model's (lead of "
        f'its CLIP-T over that of other places); worst is "{worst}".',
        change="Train fewer steps (--early-stopping) or at a lower --learning-rate, keep the class prior, and give "
        "photos from several places.",
    )


def _entanglement(probed: Probed, untuned: Probed, real: Probed) -> Iterator[Check]:
    shares = _consistency_by_context(probed, untuned, real)
    if not shares:
        return
    worst = min(shares, key=lambda place: shares[place])
    yield Check(
        failure="context-appearance entanglement",
        metric="median_dino",
        value=shares[worst],
        threshold=ENTANGLEMENT,
        says=f'The subject itself changes with its surroundings, most in "{worst}": there DINO against the median '
        f"photo is {shares[worst]:.2f} times that of the median prompt, what the background changes allowed for.",
        change="Give photos of the unchanged subject in several places and lights, leave out those where its "
        "colours differ, and keep the class prior.",
    )


def _consistency_by_context(probed: Probed, untuned: Probed, real: Probed) -> dict[str, float]:
    """By prompt that names a place, the DINO similarity to the photos there divided by that of the median prompt.

    1 is a subject that looks the same everywhere. What else can lower DINO must not count as a change of the subject:
    a new background lowers that of the whole sample, a mask that takes in some background lowers that of the masked
    subject. So a share is the smaller of two bounds: the larger of both shares, and that of the whole sample divided by
    the photos' background_invariance, which is near 1 for a judge that hardly sees backgrounds. Empty where the subject
    is not learned, as noise is not consistent, or was known to the untuned model.
    """
    prompts = probed.prompts.items()
    likeness = {template: value for template, its in prompts if (value := its.median_dino) is not None}
    reached = 1.0 if real.median_dino is None else real.median_dino
    learned = progress_of(median(likeness.values()), untuned.median_dino, reached) if likeness else None
    if learned is None or learned < LEARNED:
        return {}
    whole = _of_median(likeness)
    masked = _of_median({template: value for template, its in prompts if (value := its.masked_dino) is not None})
    invariance, found = real.background_invariance or 0.0, {}
    for place in (place for place in _places(probed) if place in whole):
        bounds = [max(whole[place], masked[place])] if place in masked else []
        bounds += [whole[place] / invariance] if invariance > 0 else []
        if bounds:
            found[place] = min(bounds)
    return found


def _of_median(values: Mapping[str, float]) -> dict[str, float]:
    """The values as shares, not below 0, of their median; empty where that is not positive."""
    middle = median(values.values()) if values else 0.0
    return {name: max(value / middle, 0.0) for name, value in values.items()} if middle > 0 else {}


def _copying(probed: Probed, real: Probed) -> Iterator[Check]:
    seen = [value for its in _places(probed).values() if (value := its.nearest_photo) is not None]
    if not seen or real.nearest_photo is None or real.nearest_photo <= 0:
        return
    current = sum(seen) / len(seen)
    yield Check(
        failure="overfitting to the photos",
        metric="nearest_photo",
        value=current / real.nearest_photo,
        threshold=COPYING,
        at_most=True,
        says=f"Samples in new places are nearer to one of the photos (DINO {current:.2f}) than the photos are to each "
        f"other ({real.nearest_photo:.2f}): photos are being copied.",
        change="Train fewer steps (--early-stopping) or at a lower --learning-rate, and give more and more varied "
        "photos.",
    )


def _drift(probed: Probed, untuned: Probed, real: Probed) -> Iterator[Check]:
    if (gone := progress_by_metric(probed, untuned, real).get("pres")) is None:
        return
    yield Check(
        failure="overfitting to the photos",
        metric="pres",
        value=gone,
        threshold=DRIFT,
        at_most=True,
        says=f"The class has gone {percent(gone)} of the way from the untuned model to your subject (PRES): asked for "
        "any of its kind, the model draws yours.",
        change="Hold the class by class images (--with-prior-preservation) or by a larger --prior-loss-weight, or "
        "train fewer steps.",
    )


def _variety(probed: Probed, untuned: Probed) -> Iterator[Check]:
    for name, share in probed.kept(untuned).items():
        of, _, number = name.partition("_")
        if of in REMEDIES and (number == "div" or probed.variety[of].pictures >= ENOUGH):
            now, before = (_counted(number, its.variety[of]) for its in (probed, untuned))
            yield Check(
                failure="variety lost",
                metric=name,
                value=share,
                threshold=VARIETY[number],
                says=f"Asked for the {of} without a place, the model shows {percent(share)} of the variety it had "
                f"before: {now}, untuned {before}.",
                change=REMEDIES[of],
            )


def _counted(number: str, its: Variety) -> str:
    if number == "scenes":
        return f"{its.scenes:.1f} effective scenes in {its.pictures} samples"
    return f"DIV {its.div:.2f} among {its.pictures} samples"


def _places(probed: Probed) -> dict[str, PromptScores]:
    return {template: its for template, its in probed.prompts.items() if template != CLASS_PROMPT.template}
