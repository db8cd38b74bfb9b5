"""The interval against the one that statistics gives for normal values."""

import pytest
import torch

from dreambooth.evaluation.bootstrap import interval
from dreambooth.evaluation.metrics import CHOICES


def test_normal_values_have_the_known_interval() -> None:
    values = (3 + 2 * torch.randn(100, generator=torch.Generator().manual_seed(1))).tolist()
    low, high = interval(values) or (0, 0)
    spread = torch.tensor(values).std().item() / 10
    middle = sum(values) / 100
    assert low == pytest.approx(middle - 1.96 * spread, abs=0.1 * spread)
    assert high == pytest.approx(middle + 1.96 * spread, abs=0.1 * spread)


def test_a_stricter_level_is_wider() -> None:
    values = [0.1, 0.5, 0.3, 0.9, 0.4]
    narrow, wide = interval(values, level=0.8), interval(values, level=0.99)
    assert narrow and wide and wide[0] < narrow[0] < 0.44 < narrow[1] < wide[1]


@pytest.mark.parametrize(("subjects", "covered"), [(2, 0.62), (4, 0.85), (8, 0.91), (16, 0.92)])
def test_few_subjects_are_covered_as_often_as_is_told(subjects: int, covered: float) -> None:
    assert f"of {subjects} in {covered:.2f}".replace("0.", ".") in CHOICES["interval"]
    draws = torch.randn(300, subjects, generator=torch.Generator().manual_seed(2)).tolist()
    found = [interval(values, seed=at, samples=1000) or (0, 0) for at, values in enumerate(draws)]
    assert sum(low < 0 < high for low, high in found) / 300 == pytest.approx(covered, abs=0.05)


def test_it_is_a_function_of_its_seed() -> None:
    values = [0.1, 0.42, 0.23, 0.77, 0.5, 0.31]
    assert interval(values, seed=5) == interval(values, seed=5) != interval(values, seed=6)


def test_equal_values_leave_no_doubt_and_one_tells_nothing() -> None:
    assert interval([0.5] * 4) == pytest.approx((0.5, 0.5))
    assert interval([0.5]) is None
    assert interval([]) is None
