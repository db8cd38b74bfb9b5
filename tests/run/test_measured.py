"""What a run has measured, as report, page and card read it."""

from dataclasses import replace

from dreambooth.run.compare import NUMBERS
from dreambooth.run.measured import Measured
from dreambooth.run.records import Check, Diagnosis, Failure, Probed, SampleScores, WorldFit


def check(metric: str, value: float) -> Check:
    """A failure below .6, and what to change by its metric."""
    failure: Failure = "context not synthesised" if metric == "clip_t" else "overfitting to the photos"
    return Check(failure=failure, metric=metric, value=value, threshold=0.6, says=f"{value}.", change=metric)


def test_what_the_probe_lacks_and_the_samples_show_is_told() -> None:
    lost, last = check("clip_t", 0.5), check("clip_t", 0.4)
    drifted, copied = check("pres", 0.5), check("nearest_photo", 0.5)
    fine = check("clip_t", 0.7)
    measured = Measured(
        probes={},
        real=Probed(step="real"),
        recommendation=None,
        diagnosis=Diagnosis(findings=(drifted, last), checked=(fine, drifted)),  # `last` is another step's
        samples=SampleScores(judges={}, photos=3, rows={}, places=(), checked=(lost, drifted, copied)),
        world_fit=None,
    )
    assert [(its.metric, its.value) for its in measured.in_samples_alone] == [("clip_t", 0.5), ("nearest_photo", 0.5)]


def test_a_failure_of_the_last_step_alone_does_not_flag_the_model_in_use() -> None:
    lost, copied = check("clip_t", 0.5), replace(check("nearest_photo", 0.5), avoided=True)

    def flagged(*findings: Check) -> str:
        measured = Measured(
            probes={},
            real=Probed(step="real"),
            recommendation=None,
            diagnosis=Diagnosis(findings=findings, checked=()),
            samples=None,
            world_fit=None,
        )
        return NUMBERS["flagged"](measured)

    assert flagged(lost, copied, lost) == "context not synthesised"
    assert flagged(copied) == flagged() == "none"


def test_photos_that_the_base_model_cannot_draw_flag_a_run_without_a_failure() -> None:
    fit = WorldFit(likeness=0.2, limit=0.5, judge="clip", foreign=True, says="these photos are no toys.")
    measured = Measured(
        probes={},
        real=Probed(step="real"),
        recommendation=None,
        diagnosis=Diagnosis(findings=(check("clip_t", 0.5),), checked=()),
        samples=None,
        world_fit=fit,
    )
    cannot = "photos that the base model cannot draw"
    assert measured.flagged == (cannot, "context not synthesised")
    assert NUMBERS["flagged"](replace(measured, diagnosis=Diagnosis(findings=(), checked=()))) == cannot
    assert NUMBERS["flagged"](replace(measured, world_fit=replace(fit, foreign=False))) == "context not synthesised"
