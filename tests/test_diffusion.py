"""The forward process, its targets and its weights against diffusers and against direct formulas."""

import math
from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor

from dreambooth.config.noise_levels import NOISE_LEVELS
from dreambooth.diffusion import (
    PREDICTIONS,
    DiscreteDiffusion,
    ForwardProcess,
    RectifiedFlow,
    ShiftBySize,
    row_errors,
)
from dreambooth.loss import prior_preservation_loss
from dreambooth.support.rng import generator

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
    ours = DiscreteDiffusion(theirs.alphas_cumprod, "v_prediction")
    x0, noise, _ = rows()
    times = torch.tensor([0, 1, 250, 500, 750, 999])
    torch.testing.assert_close(ours.add_noise(x0, noise, times), theirs.add_noise(x0, noise, times))
    torch.testing.assert_close(ours.target(x0, noise, times), theirs.get_velocity(x0, noise, times))


def test_the_target_of_each_prediction() -> None:
    x0, noise, _ = rows()
    alphas = schedule().alphas_cumprod
    alpha, sigma = alphas[TIMES].sqrt().view(-1, 1, 1, 1), (1 - alphas[TIMES]).sqrt().view(-1, 1, 1, 1)
    expected = {"epsilon": noise, "v_prediction": alpha * noise - sigma * x0, "sample": x0}
    assert expected.keys() == PREDICTIONS.keys()
    for name, target in expected.items():
        torch.testing.assert_close(DiscreteDiffusion(alphas, name).target(x0, noise, TIMES), target)


@pytest.mark.parametrize("name", list(PREDICTIONS))
def test_the_error_of_a_row_is_its_own_mean_square(name: str) -> None:
    x0, noise, pred = rows()
    process = DiscreteDiffusion(schedule().alphas_cumprod, name)
    error = row_errors(process, pred, x0, noise, TIMES)
    for row in range(6):
        direct = torch.nn.functional.mse_loss(pred[row], process.target(x0, noise, TIMES)[row])
        torch.testing.assert_close(error[row], direct)


def test_the_noise_error_is_equation_1_with_w_equal_to_the_snr() -> None:
    x0, noise, pred = rows()
    epsilon = DiscreteDiffusion(schedule().alphas_cumprod)
    alpha, sigma = epsilon.alpha_sigma(TIMES, x0)
    x_t = epsilon.add_noise(x0.double(), noise.double(), TIMES)
    denoised = (x_t - sigma * pred) / alpha  # the x0 that this noise prediction means
    weighted = (denoised - x0).square().flatten(1).mean(1) * epsilon.snr(TIMES)
    torch.testing.assert_close(row_errors(epsilon, pred, x0, noise, TIMES).double(), weighted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("gamma", [1.0, 5.0])
def test_min_snr_weights_against_the_papers_formulas(gamma: float) -> None:
    squared = schedule().alphas_cumprod.double()[TIMES]
    snr = squared / (1 - squared)
    clamped = torch.minimum(snr, torch.full_like(snr, gamma))
    divisors = {"epsilon": snr, "v_prediction": snr + 1, "sample": torch.ones_like(snr)}
    x0, noise, pred = rows()
    for name, divisor in divisors.items():
        plain = DiscreteDiffusion(schedule().alphas_cumprod, name)
        weighted = plain.with_snr_gamma(gamma)
        expected = row_errors(plain, pred, x0, noise, TIMES).double() * clamped / divisor
        torch.testing.assert_close(
            row_errors(weighted, pred, x0, noise, TIMES).double(), expected, rtol=1e-5, atol=1e-8
        )


def test_min_snr_gives_the_same_x0_error_whatever_is_predicted() -> None:
    """One denoised image, told as noise, as v and as x0, must cost the same."""
    x0, noise, denoised = rows()
    errors = []
    for kind in ("epsilon", "v_prediction", "sample"):
        process = DiscreteDiffusion(schedule().alphas_cumprod, kind, snr_gamma=5.0)
        alpha, sigma = process.alpha_sigma(TIMES, x0.double())
        meant_noise = (process.add_noise(x0.double(), noise.double(), TIMES) - alpha * denoised) / sigma
        pred = process.target(denoised.double(), meant_noise, TIMES)
        errors.append(row_errors(process, pred, x0.double(), noise.double(), TIMES))
    torch.testing.assert_close(errors[0], errors[2], rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(errors[1], errors[2], rtol=1e-3, atol=1e-5)


def test_min_snr_reaches_both_terms_of_the_loss() -> None:
    x0, noise, pred = rows()
    process = DiscreteDiffusion(schedule().alphas_cumprod)
    times, is_prior = torch.full((6,), 10), torch.tensor([False, True] * 3)
    plain, weighted = (row_errors(process.with_snr_gamma(gamma), pred, x0, noise, times) for gamma in (None, 5.0))
    weight = 5.0 / process.snr(times)[0].item()
    assert weight < 0.1
    for chosen in (is_prior, ~is_prior):
        torch.testing.assert_close(weighted[chosen], plain[chosen] * weight)
    both = [prior_preservation_loss(error, is_prior, 1.0) for error in (plain, weighted)]
    torch.testing.assert_close(both[1], both[0] * weight)


def test_times_are_uniform_whole_and_in_range() -> None:
    process = DiscreteDiffusion(schedule().alphas_cumprod)
    times = process.sample_t((1, 4, 8, 8), *(generator("t", row) for row in range(4000)))
    assert times.shape == (4000,)
    assert times.dtype == torch.int64
    assert 0 <= times.min() < 10
    assert 990 <= times.max() < 1000
    assert torch.histc(times.double(), 10, 0, 1000).min() > 330


def test_a_schedule_without_signal_at_its_end_stays_finite() -> None:
    x0, noise, pred = rows()
    process = DiscreteDiffusion(schedule(rescale_betas_zero_snr=True).alphas_cumprod, "v_prediction", snr_gamma=5.0)
    assert row_errors(process, pred, x0, noise, torch.full((6,), 999)).isfinite().all()
    torch.testing.assert_close(process.add_noise(x0, noise, torch.full((6,), 999)), noise)


def test_a_place_that_weighs_nothing_costs_nothing() -> None:
    """A row's error is the weighted mean over its places, so that a small subject counts as much as a large one."""
    x0, noise, pred = rows()
    process = DiscreteDiffusion(schedule().alphas_cumprod)
    plain = row_errors(process, pred, x0, noise, TIMES)
    alike = torch.full((6, 1, 3, 3), 0.3)
    torch.testing.assert_close(row_errors(process, pred, x0, noise, TIMES, alike), plain)
    alike[:, :, 1:] = 0
    top = row_errors(process, pred[:, :, :1], x0[:, :, :1], noise[:, :, :1], TIMES)
    torch.testing.assert_close(row_errors(process, pred, x0, noise, TIMES, alike), top)


SIGMAS = torch.tensor([1e-3, 0.1, 0.5, 0.9, 1.0])


def test_a_rectified_flow_goes_straight_from_photo_to_noise() -> None:
    x0, noise, _ = rows()
    x0, noise, flow = x0[:5].double(), noise[:5].double(), RectifiedFlow()
    x_t, sigma = flow.add_noise(x0, noise, SIGMAS), SIGMAS.double().view(-1, 1, 1, 1)
    torch.testing.assert_close(x_t[-1], noise[-1])
    torch.testing.assert_close(flow.add_noise(x0, noise, torch.full((5,), 1e-12)), x0)
    v = flow.target(x0, noise, SIGMAS)
    torch.testing.assert_close(x_t - sigma * v, x0, atol=1e-6, rtol=1e-6)  # one Euler step to sigma 0
    torch.testing.assert_close(x_t + (1 - sigma) * v, noise, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(flow.snr(SIGMAS), ((1 - SIGMAS.double()) / SIGMAS.double()) ** 2)


def test_noising_along_a_flow_is_diffusers() -> None:
    scheduler: Any = diffusers.FlowMatchEulerDiscreteScheduler
    theirs = scheduler(shift=3.0)
    x0, noise, _ = rows()
    at = [0, 200, 500, 700, 900, 999]
    flow, sigma = RectifiedFlow(shift=3.0), theirs.sigmas[at]
    torch.testing.assert_close(flow.add_noise(x0, noise, sigma), theirs.scale_noise(x0, theirs.timesteps[at], noise))
    uniform = torch.linspace(1, 1 / 1000, 1000)[at]
    torch.testing.assert_close(3 * uniform / (1 + 2 * uniform), sigma)  # the shift of the class is the scheduler's


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("density", ["uniform", "logit_normal"])
def test_sigma_is_drawn_from_the_declared_density(density: Any, shift: float) -> None:
    """P(sigma <= s) in closed form: s, or Phi(logit s), at the place that the shift maps to s."""
    flow = RectifiedFlow(shift=shift, density=density)
    sigma = flow.sample_t((1, 4, 8, 8), *(generator("sigma", row) for row in range(4000)))
    assert sigma.shape == (4000,) and sigma.dtype == torch.float32 and sigma.min() > 0 and sigma.max() <= 1
    for at in (0.2, 0.5, 0.7, 0.9):
        unshifted = torch.tensor(at / (shift - (shift - 1) * at))
        expected = unshifted if density == "uniform" else torch.special.ndtr(unshifted.logit())
        assert (sigma <= at).float().mean().item() == pytest.approx(expected.item(), abs=0.025)


def test_the_mode_density_is_the_papers_at_the_noisy_side_up() -> None:
    """sigma falls with u, so P(sigma <= f(u)) = 1 - u, at equation 20's own values."""
    flow = RectifiedFlow(density="mode", scale=1.29)
    sigma = flow.sample_t((1, 4, 8, 8), *(generator("sigma", row) for row in range(4000)))
    assert sigma.min() > 0 and sigma.max() <= 1
    for u in (0.1, 0.3, 0.5, 0.8):
        value = 1 - u - 1.29 * (math.cos(math.pi / 2 * u) ** 2 - 1 + u)
        assert (sigma <= value).float().mean().item() == pytest.approx(1 - u, abs=0.025)


def test_a_shift_by_size_is_that_of_the_pipelines() -> None:
    """Its e^mu at every number of tokens, and sigmas as the scheduler shifts them."""
    from diffusers.pipelines.flux.pipeline_flux import calculate_shift

    shift = ShiftBySize(tokens=(256, 4096), mu=(0.5, 1.15), patch=2)
    for side in (32, 64, 128, 256):
        mu = calculate_shift((side // 2) ** 2, 256, 4096, 0.5, 1.15)
        assert shift.of((1, 16, side, side)) == pytest.approx(math.exp(mu))
    theirs: Any = diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    theirs.set_timesteps(sigmas=[1.0, 0.75, 0.5, 0.25], mu=1.15)
    drawn = torch.tensor([1.0, 0.75, 0.5, 0.25])
    s = shift.of((1, 16, 128, 128))
    torch.testing.assert_close(s * drawn / (1 + (s - 1) * drawn), theirs.sigmas[:4])
    small, large = (
        RectifiedFlow(shift=shift).sample_t((1, 16, side, side), *(generator("s", row) for row in range(9)))
        for side in (32, 128)
    )
    assert (large > small).all()


@pytest.mark.parametrize("name", NOISE_LEVELS)
def test_named_noise_levels_are_what_the_table_says(name: Any) -> None:
    own = RectifiedFlow(shift=2.0, snr_gamma=5.0)
    found, levels = own.with_noise_levels(name), NOISE_LEVELS[name]
    assert found.snr_gamma == 5.0 and own.with_noise_levels(None) is own
    assert (found.density, found.scale, found.x0_weighted) == (levels.density, levels.scale, levels.x0_weighted)
    assert found.shift == (2.0 if levels.shift is None else levels.shift)
    with pytest.raises(ValueError, match="draws its times uniformly"):
        DiscreteDiffusion(schedule().alphas_cumprod).with_noise_levels(name)


def test_weighed_as_x0_the_error_is_that_of_the_x0_that_the_velocity_means() -> None:
    """As diffusers' and kohya's scripts of SD3 have it, by their own formula x - sigma v."""
    x0, noise, pred = (tensor[:5].double() for tensor in rows())
    flow, sigma = RectifiedFlow(x0_weighted=True), SIGMAS.double().view(-1, 1, 1, 1)
    denoised = flow.add_noise(x0, noise, SIGMAS) - sigma * pred
    expected = (denoised - x0).square().flatten(1).mean(1)
    torch.testing.assert_close(row_errors(flow, pred, x0, noise, SIGMAS).double(), expected, rtol=1e-5, atol=1e-9)


def test_min_snr_along_a_flow_gives_the_same_x0_error() -> None:
    """The error of v, weighted, is that of the x0 which v means, times min(SNR, gamma)."""
    x0, noise, pred = (tensor[:5].double() for tensor in rows())
    flow, sigma = RectifiedFlow(snr_gamma=5.0), SIGMAS.double()
    denoised = flow.add_noise(x0, noise, SIGMAS) - sigma.view(-1, 1, 1, 1) * pred
    expected = (denoised - x0).square().flatten(1).mean(1) * flow.snr(SIGMAS).clamp(max=5.0)
    torch.testing.assert_close(row_errors(flow, pred, x0, noise, SIGMAS).double(), expected, rtol=1e-3, atol=1e-6)
    assert torch.equal(RectifiedFlow().weight(SIGMAS), torch.ones(5))


def test_every_process_says_all_that_the_loop_asks() -> None:
    """By its type, which mypy checks; here that both give the same kinds of answers."""
    x0, noise, pred = rows()
    processes: list[ForwardProcess] = [DiscreteDiffusion(schedule().alphas_cumprod), RectifiedFlow(density="uniform")]
    for process in processes:
        t = process.sample_t((1, 4, 8, 8), *(generator("t", row) for row in range(6)))
        assert t.shape == process.weight(t).shape == process.snr(t).shape == (6,)
        assert process.snr(t).dtype == torch.float64
        assert row_errors(process.with_snr_gamma(5.0), pred, x0, noise, t).shape == (6,)
        assert process.add_noise(x0, noise, t).shape == process.target(x0, noise, t).shape == x0.shape
