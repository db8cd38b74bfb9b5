"""The forward process of section 3 and what the network is asked to predict.

B samples; t is an integer time in [0, T); alphas_cumprod[t] = alpha_t^2 and sigma_t^2 = 1 - alpha_t^2, so that
x_t = alpha_t x0 + sigma_t noise, and SNR(t) = alpha_t^2 / sigma_t^2.
"""

from abc import ABC, abstractmethod
from typing import Self, final

import torch
from torch import Tensor


class ForwardProcess(ABC):
    """Noise levels, the noising of x0, the network's target, and the weight of each row's error.

    alphas_cumprod: (T,) alpha_t^2, falling from about 1 to about 0.
    snr_gamma: clamp of Min-SNR weighting (Hang et al. 2023, https://arxiv.org/abs/2303.09556), or None for an
    unweighted error. For epsilon prediction the unweighted error is Eq. 1 with w_t = SNR(t).
    """

    def __init__(self, alphas_cumprod: Tensor, snr_gamma: float | None = None) -> None:
        self.alphas_cumprod = alphas_cumprod.double().cpu()
        self.snr_gamma = snr_gamma

    def with_snr_gamma(self, snr_gamma: float | None) -> Self:
        """The same process with its error weighted by Min-SNR, or unweighted."""
        return type(self)(self.alphas_cumprod, snr_gamma)

    def alpha_sigma(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """alpha_t and sigma_t of each row, shaped (B, 1, ...) to multiply `like` (B, ...)."""
        squared = self.alphas_cumprod[t.cpu()]
        shape = (len(t), *[1] * (like.dim() - 1))
        return squared.sqrt().to(like).reshape(shape), (1 - squared).sqrt().to(like).reshape(shape)

    def sample_t(self, *generators: torch.Generator) -> Tensor:
        """(B,) times, uniform on [0, T), one from each row's generator."""
        times = [torch.randint(len(self.alphas_cumprod), (), generator=generator) for generator in generators]
        return torch.stack(times)

    def add_noise(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """x_t = alpha_t x0 + sigma_t noise, (B, ...)."""
        alpha, sigma = self.alpha_sigma(t, x0)
        return alpha * x0 + sigma * noise

    def snr(self, t: Tensor) -> Tensor:
        """(B,) alpha_t^2 / sigma_t^2, float64 on the CPU."""
        squared = self.alphas_cumprod[t.cpu()]
        return squared / (1 - squared)

    def loss(self, pred: Tensor, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """(B,) squared error of each row, averaged over its elements and weighted by its own noise level (Eq. 1)."""
        error = (pred.float() - self.target(x0, noise, t).float()).square().flatten(1).mean(1)
        if self.snr_gamma is None:
            return error
        return error * self.min_snr_weight(self.snr(t), self.snr_gamma).to(error)

    @abstractmethod
    def target(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """What the network should output for x_t, (B, ...)."""

    @abstractmethod
    def min_snr_weight(self, snr: Tensor, gamma: float) -> Tensor:
        """(B,) min(SNR, gamma) in units of this target: the x0 error's weight over what the target scales it by."""


@final
class EpsilonPrediction(ForwardProcess):
    """The network predicts the noise (Ho et al. 2020, https://arxiv.org/abs/2006.11239)."""

    def target(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        return noise

    def min_snr_weight(self, snr: Tensor, gamma: float) -> Tensor:
        return (gamma / snr).clamp(max=1.0)


@final
class VPrediction(ForwardProcess):
    """The network predicts v = alpha_t noise - sigma_t x0 (Salimans & Ho 2022, https://arxiv.org/abs/2202.00512)."""

    def target(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = self.alpha_sigma(t, x0)
        return alpha * noise - sigma * x0

    def min_snr_weight(self, snr: Tensor, gamma: float) -> Tensor:
        return snr.clamp(max=gamma) / (snr + 1)


@final
class SamplePrediction(ForwardProcess):
    """The network predicts x0 itself, as Eq. 1 is written."""

    def target(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        return x0

    def min_snr_weight(self, snr: Tensor, gamma: float) -> Tensor:
        return snr.clamp(max=gamma)


PROCESSES: dict[str, type[ForwardProcess]] = {
    "epsilon": EpsilonPrediction,
    "v_prediction": VPrediction,
    "sample": SamplePrediction,
}
"""The target by its name in a diffusers scheduler's `prediction_type`."""
