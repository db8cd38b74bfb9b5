"""Every metric against what it must be in closed form."""

import pytest
import torch

from dreambooth.evaluation import metrics

ONE, OTHER = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 0.0])
BETWEEN = (ONE + OTHER) / 2**0.5


@pytest.mark.parametrize("metric", [metrics.dino, metrics.clip_i, metrics.pres])
def test_fidelity_is_the_mean_over_all_pairs(metric: object) -> None:
    assert callable(metric)
    assert metric(torch.stack([ONE] * 4), torch.stack([ONE] * 3)) == pytest.approx(1)
    assert metric(torch.stack([ONE, -ONE]), torch.stack([ONE])) == pytest.approx(0)
    assert metric(torch.stack([OTHER]), torch.stack([ONE] * 3)) == 0
    assert metric(torch.stack([ONE, OTHER, OTHER]), torch.stack([ONE, BETWEEN])) == pytest.approx((1 + 3 / 2**0.5) / 6)


def test_prompt_fidelity_compares_each_image_with_its_own_text() -> None:
    assert metrics.clip_t(torch.stack([ONE, OTHER]), torch.stack([ONE, OTHER])) == 1
    assert metrics.clip_t(torch.stack([ONE, OTHER]), torch.stack([OTHER, ONE])) == 0
    assert metrics.clip_t(torch.stack([ONE, OTHER]), torch.stack([ONE, BETWEEN])) == pytest.approx((1 + 0.5**0.5) / 2)


def test_the_real_row_leaves_out_a_photo_against_itself() -> None:
    assert metrics.real_row(torch.stack([ONE, OTHER])) == 0
    assert metrics.real_row(torch.stack([ONE, ONE, OTHER])) == pytest.approx(1 / 3)
    assert metrics.real_row(torch.stack([ONE] * 3)) == pytest.approx(1)
    assert metrics.real_row(torch.stack([ONE])) is None


def test_the_nearest_photo_is_the_best_of_them() -> None:
    photos = torch.stack([ONE, OTHER])
    nearest = metrics.nearest_photo(torch.stack([OTHER, BETWEEN, -ONE]), photos)
    assert nearest.tolist() == pytest.approx([1, 0.5**0.5, 0])


def test_the_usual_resemblance_leaves_an_odd_photo_out() -> None:
    photos = torch.stack([ONE, ONE, OTHER])
    assert metrics.median_resemblance(torch.stack([ONE, OTHER]), photos).tolist() == [1, 0]


def test_a_judge_is_blind_to_scenes_where_the_subject_alone_is_all_it_sees() -> None:
    whole = torch.stack([ONE, ONE, ONE])
    assert metrics.background_invariance(whole, torch.stack([ONE, ONE, OTHER])) == 1
    assert metrics.background_invariance(whole, torch.stack([OTHER, BETWEEN, OTHER])) == 0


def test_diversity_is_the_mean_distance() -> None:
    assert metrics.div(torch.tensor([0.0, 0.3, 0.6])) == pytest.approx(0.3)


def test_every_choice_is_one_sentence() -> None:
    for about, sentence in metrics.CHOICES.items():
        assert sentence.endswith(".") and ". " not in sentence, about
