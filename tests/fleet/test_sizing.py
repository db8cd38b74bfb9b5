"""The simulation of fleets against what can be reckoned by hand."""

from dataclasses import replace

import pytest

from benchmarks.fleet_sizing import HOUR, Fleet, simulate

QUIET = Fleet(subjects=12, gpus=1, classes=1, store=1e9, hours_between_failures=1e9)
SUBJECT = QUIET.process_start + QUIET.load + QUIET.step * QUIET.steps + QUIET.samples
CLASS = QUIET.process_start + QUIET.load + QUIET.class_image * QUIET.class_images


def test_one_gpu_takes_the_sum_and_many_take_the_longest_way() -> None:
    assert simulate(QUIET).hours * HOUR == pytest.approx(CLASS + 12 * SUBJECT)
    assert simulate(replace(QUIET, gpus=3)).hours * HOUR == pytest.approx(CLASS + 4 * SUBJECT)
    many = simulate(replace(QUIET, gpus=50))
    assert many.hours * HOUR == pytest.approx(CLASS + SUBJECT) and many.busy < 0.2
    assert many.first_subject == pytest.approx(many.hours)


def test_a_store_that_is_slow_is_what_everything_waits_for() -> None:
    slow = replace(QUIET, gpus=12, store=QUIET.written / HOUR)  # an hour for each subject
    its = simulate(slow)
    assert its.hours == pytest.approx((CLASS + SUBJECT) / HOUR + 12)
    assert its.gpu_hours["store"] == pytest.approx(sum(range(1, 13)))


def test_failures_cost_what_was_not_saved() -> None:
    failing = replace(QUIET, subjects=400, hours_between_failures=0.2)
    its, undisturbed = simulate(failing), simulate(replace(QUIET, subjects=400))
    assert its.failures > 100 and its.hours - undisturbed.hours == pytest.approx(its.gpu_hours["repeated"])
    most = failing.step * failing.checkpoint_steps + failing.process_start + failing.load
    assert 0 < its.gpu_hours["repeated"] * HOUR < its.failures * most
    seldom = simulate(replace(failing, checkpoint_steps=failing.steps))
    assert seldom.gpu_hours["repeated"] / seldom.failures > its.gpu_hours["repeated"] / its.failures
