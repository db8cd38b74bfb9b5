"""The Frechet distance of Gaussians in closed form."""

import pytest
import torch

from pretraining.frechet import frechet


def test_it_is_nothing_between_equal_sets_and_the_squared_shift_between_shifted_ones() -> None:
    x = torch.randn(500, 6, generator=torch.Generator().manual_seed(0))
    assert frechet(x, x) == pytest.approx(0, abs=1e-9)
    assert frechet(x, x + torch.tensor([3.0, 0, 0, 4.0, 0, 0])) == pytest.approx(25, abs=1e-5)


def test_it_counts_a_lost_spread() -> None:
    x = torch.randn(500, 6, generator=torch.Generator().manual_seed(0))
    variances = torch.cov(x.double().T).trace()
    half = x.mean(0) + (x - x.mean(0)) / 2  # every standard deviation halved: (1 - 1/2)^2 of the variances
    assert frechet(half, x) == pytest.approx(float(variances) / 4, rel=1e-5)
