"""Progress of a score from the untuned model (0) to the photos compared with each other (1).

Similarity does not begin at 0: samples of any dog are already half as similar to the photos of one dog as these are to
each other. A share of the photos' own score hides that; the progress from the untuned model does not.
"""

from dreambooth.run.records import Scores

WAY = (
    "0% is the untuned model's samples of the same prompts with the class noun alone, 100% is the photos compared with "
    "each other (a single photo: with itself)"
)
"""What progress means, in a sentence to print beside it."""

CLEAR = 0.1
"""Least difference of untuned and real, as a cosine, to measure progress.

By less the base model draws the subject already, or the photos are hardly of one thing. The mean over a probe's dozen
pictures is known to about 0.02, a fifth of it.
"""

FIDELITY = ("dino", "clip_i", "masked_dino")
"""The scores that should go towards the photos; PRES should not."""


def progress_of(value: float | None, untuned: float | None, real: float | None) -> float | None:
    """(value - untuned) / (real - untuned), neither cut off below 0 nor above 1.

    None where one of them was not measured, or where real is not CLEAR of untuned.
    """
    if value is None or untuned is None or real is None or real - untuned < CLEAR:
        return None
    return (value - untuned) / (real - untuned)


def progress_by_metric(scores: Scores, untuned: Scores, real: Scores) -> dict[str, float | None]:
    """The progress of each of FIDELITY, and that of the class towards the subject, "pres".

    real: the photos among themselves. None where untuned and real are not CLEAR of each other; no entry where one of
    the three was not measured.
    """
    found = {name: (getattr(scores, name), getattr(untuned, name), _reachable(real, name)) for name in FIDELITY}
    found["pres"] = (scores.pres, untuned.pres, _reachable(real, "dino"))
    return {name: progress_of(*each) for name, each in found.items() if None not in each}


def percent(share: float) -> str:
    """A share in whole per cent: "94%"; never "-0%"."""
    return f"{round(share, 2) + 0.0:.0%}"


def _reachable(real: Scores, name: str) -> float | None:
    """The photos' own score; 1 of a single photo, which has no other to be like."""
    own: float | None = getattr(real, name)
    return 1.0 if real.dino is None else own
