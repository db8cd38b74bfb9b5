"""The forward process, its targets and its weights against diffusers and against direct formulas."""

from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor

from dreambooth.diffusion import PROCESSES, EpsilonPrediction, SamplePrediction, VPrediction
from dreambooth.loss import prior_preservation_loss
from dreambooth.rng import generator

TIMES = torch.tensor([0, 1, 250, 500, 750, 998])


def schedule(**settings: object) -> Any:
    scheduler: Any = diffusers.DDPMScheduler
    return scheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", **settings)


def rows() -> tuple[Tensor, Tensor, Tensor]:
    """x0, noise and a prediction, (6, 4, 3, 3) each."""
    draw = generator("rows")
    return tuple(torch.randn(6, 4, 3, 3, generator=draw) for _ in range(3))  # type: ignore[return-value]


@pytest.mark.parametrize("zero_snr", [False, True])
def test_noising_and_velocity_are_diffusers(zero_snr: bool) -> None:
    theirs = schedule(rescale_betas_zero_snr=zero_snr)
    ours = VPrediction(theirs.alphas_cumprod)
    x0, noise, _ = rows()
    times = torch.tensor([0, 1, 250, 500, 750, 999])
    torch.testing.assert_close(ours.add_noise(x0, noise, times), theirs.add_noise(x0, noise, times))
    torch.testing.assert_close(ours.target(x0, noise, times), theirs.get_velocity(x0, noise, times))


def test_the_target_of_each_prediction() -> None:
    x0, noise, _ = rows()
    alphas = schedule().alphas_cumprod
    alpha, sigma = alphas[TIMES].sqrt().view(-1, 1, 1, 1), (1 - alphas[TIMES]).sqrt().view(-1, 1, 1, 1)
    expected = {"epsilon": noise, "v_prediction": alpha * noise - sigma * x0, "sample": x0}
    assert expected.keys() == PROCESSES.keys()
    for name, target in expected.items():
        torch.testing.assert_close(PROCESSES[name](alphas).target(x0, noise, TIMES), target)


@pytest.mark.parametrize("name", list(PROCESSES))
def test_the_error_of_a_row_is_its_own_mean_square(name: str) -> None:
    x0, noise, pred = rows()
    process = PROCESSES[name](schedule().alphas_cumprod)
    error = process.loss(pred, x0, noise, TIMES)
    for row in range(6):
        direct = torch.nn.functional.mse_loss(pred[row], process.target(x0, noise, TIMES)[row])
        torch.testing.assert_close(error[row], direct)


def test_the_noise_error_is_equation_1_with_w_equal_to_the_snr() -> None:
    x0, noise, pred = rows()
    epsilon = EpsilonPrediction(schedule().alphas_cumprod)
    alpha, sigma = epsilon.alpha_sigma(TIMES, x0)
    x_t = epsilon.add_noise(x0.double(), noise.double(), TIMES)
    denoised = (x_t - sigma * pred) / alpha  # the x0 that this noise prediction means
    weighted = (denoised - x0).square().flatten(1).mean(1) * epsilon.snr(TIMES)
    torch.testing.assert_close(epsilon.loss(pred, x0, noise, TIMES).double(), weighted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("gamma", [1.0, 5.0])
def test_min_snr_weights_against_the_papers_formulas(gamma: float) -> None:
    squared = schedule().alphas_cumprod.double()[TIMES]
    snr = squared / (1 - squared)
    clamped = torch.minimum(snr, torch.full_like(snr, gamma))
    divisors = {"epsilon": snr, "v_prediction": snr + 1, "sample": torch.ones_like(snr)}
    x0, noise, pred = rows()
    for name, divisor in divisors.items():
        plain = PROCESSES[name](schedule().alphas_cumprod)
        weighted = plain.with_snr_gamma(gamma)
        expected = plain.loss(pred, x0, noise, TIMES).double() * clamped / divisor
        torch.testing.assert_close(weighted.loss(pred, x0, noise, TIMES).double(), expected, rtol=1e-5, atol=1e-8)


def test_min_snr_gives_the_same_x0_error_whatever_is_predicted() -> None:
    """One denoised image, told as noise, as v and as x0, must cost the same."""
    x0, noise, denoised = rows()
    errors = []
    for kind in (EpsilonPrediction, VPrediction, SamplePrediction):
        process = kind(schedule().alphas_cumprod, snr_gamma=5.0)
        alpha, sigma = process.alpha_sigma(TIMES, x0.double())
        meant_noise = (process.add_noise(x0.double(), noise.double(), TIMES) - alpha * denoised) / sigma
        pred = process.target(denoised.double(), meant_noise, TIMES)
        errors.append(process.loss(pred, x0.double(), noise.double(), TIMES))
    torch.testing.assert_close(errors[0], errors[2], rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(errors[1], errors[2], rtol=1e-3, atol=1e-5)


def test_min_snr_reaches_both_terms_of_the_loss() -> None:
    x0, noise, pred = rows()
    process = EpsilonPrediction(schedule().alphas_cumprod)
    times, is_prior = torch.full((6,), 10), torch.tensor([False, True] * 3)
    plain, weighted = process.loss(pred, x0, noise, times), process.with_snr_gamma(5.0).loss(pred, x0, noise, times)
    weight = 5.0 / process.snr(times)[0].item()
    assert weight < 0.1
    for chosen in (is_prior, ~is_prior):
        torch.testing.assert_close(weighted[chosen], plain[chosen] * weight)
    both = [prior_preservation_loss(error, is_prior, 1.0) for error in (plain, weighted)]
    torch.testing.assert_close(both[1], both[0] * weight)


def test_times_are_uniform_whole_and_in_range() -> None:
    process = EpsilonPrediction(schedule().alphas_cumprod)
    times = process.sample_t(*(generator("t", row) for row in range(4000)))
    assert times.shape == (4000,)
    assert times.dtype == torch.int64
    assert 0 <= times.min() < 10
    assert 990 <= times.max() < 1000
    assert torch.histc(times.double(), 10, 0, 1000).min() > 330


def test_a_schedule_without_signal_at_its_end_stays_finite() -> None:
    x0, noise, pred = rows()
    process = VPrediction(schedule(rescale_betas_zero_snr=True).alphas_cumprod, snr_gamma=5.0)
    assert process.loss(pred, x0, noise, torch.full((6,), 999)).isfinite().all()
    torch.testing.assert_close(process.add_noise(x0, noise, torch.full((6,), 999)), noise)
