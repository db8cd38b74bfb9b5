"""What a run has measured, as report, page and card read it."""

from dreambooth.run.measured import Measured
from dreambooth.run.records import Check, Diagnosis, Probed, SampleScores


def check(failure: str, metric: str, value: float) -> Check:
    """A failure below .6, and what to change by its metric."""
    return Check(failure=failure, metric=metric, value=value, threshold=0.6, says=f"{value}.", change=metric)


def test_what_the_probe_lacks_and_the_samples_show_is_told() -> None:
    lost, last = check("context not synthesised", "clip_t", 0.5), check("context not synthesised", "clip_t", 0.4)
    drifted, copied = check("overfitting", "pres", 0.5), check("overfitting", "nearest_photo", 0.5)
    fine = check("context not synthesised", "clip_t", 0.7)
    measured = Measured(
        probes={},
        real=Probed(step="real"),
        recommendation=None,
        diagnosis=Diagnosis(findings=(drifted, last), checked=(fine, drifted)),  # `last` is another step's
        samples=SampleScores(judges={}, photos=3, rows={}, places=(), checked=(lost, drifted, copied)),
        world_fit=None,
    )
    assert [(its.metric, its.value) for its in measured.in_samples_alone] == [("clip_t", 0.5), ("nearest_photo", 0.5)]
