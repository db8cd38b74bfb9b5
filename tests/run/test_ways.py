"""The way from the untuned model to the photos, in closed form."""

import pytest

from dreambooth.evaluation import progress_by_metric, progress_of
from dreambooth.run.records import Scores
from dreambooth.run.ways import CLEAR, percent

REAL = Scores(dino=0.8, clip_i=0.9, masked_dino=0.7)
UNTUNED = Scores(dino=0.4, clip_i=0.85, masked_dino=0.2, pres=0.3)


def test_the_way_is_counted_from_the_untuned_model_to_the_photos() -> None:
    assert progress_of(0.4, 0.4, 0.8) == 0
    assert progress_of(0.7, 0.4, 0.8) == pytest.approx(0.75)
    assert progress_of(0.8, 0.4, 0.8) == 1


def test_a_way_is_cut_off_at_neither_end() -> None:
    assert progress_of(0.9, 0.4, 0.8) == pytest.approx(1.25)
    assert progress_of(0.3, 0.4, 0.8) == pytest.approx(-0.25)


def test_there_is_no_way_where_the_base_model_already_draws_the_subject() -> None:
    assert progress_of(0.9, 0.5, 0.5 + CLEAR * 0.99) is None
    assert progress_of(0.9, 0.5, 0.5 + CLEAR * 1.01) is not None
    assert progress_of(0.9, 0.8, 0.4) is None


def test_each_metric_has_its_own_ends_and_the_class_goes_towards_the_subject() -> None:
    found = progress_by_metric(Scores(dino=0.6, clip_i=0.9, masked_dino=0.45, pres=0.4), UNTUNED, REAL)
    assert found == {
        "dino": pytest.approx(0.5),
        "clip_i": None,
        "masked_dino": pytest.approx(0.5),
        "pres": pytest.approx(0.2),
    }


def test_what_was_not_measured_has_no_entry() -> None:
    assert progress_by_metric(Scores(dino=0.6), UNTUNED, REAL).keys() == {"dino"}
    assert progress_by_metric(Scores(dino=0.6, pres=0.5), Scores(dino=0.4), REAL).keys() == {"dino"}


def test_a_single_photo_is_as_like_itself_as_can_be() -> None:
    found = progress_by_metric(Scores(dino=0.7, pres=0.65), UNTUNED, Scores())
    assert found == {"dino": pytest.approx(0.5), "pres": pytest.approx(0.5)}


def test_a_share_is_said_in_whole_per_cent() -> None:
    assert [percent(share) for share in (0.754, -0.2, -0.004, 1.25)] == ["75%", "-20%", "0%", "125%"]
