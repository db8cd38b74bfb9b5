"""The forward process of section 3 and what the network is asked to predict.

B rows; t (B,) is a time of the process, and later is noisier: x_t = alpha_t x0 + sigma_t noise, and
SNR(t) = alpha_t^2 / sigma_t^2. A process knows no family: units, signs and shapes of a network are its family's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple, Protocol, Self, final

import torch
from torch import Tensor


class ForwardProcess(Protocol):
    """Noise levels, the noising of x0, the network's target, and the weight of each row's error."""

    def sample_t(self, *generators: torch.Generator) -> Tensor:
        """(B,) times, one from each row's generator."""

    def add_noise(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """x_t = alpha_t x0 + sigma_t noise, (B, ...)."""

    def target(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """What the network should output for x_t, (B, ...)."""

    def snr(self, t: Tensor) -> Tensor:
        """(B,) alpha_t^2 / sigma_t^2 where t is; float64 on the CPU, float32 elsewhere."""

    def weight(self, t: Tensor) -> Tensor:
        """(B,) weights of the rows' errors: 1, or Min-SNR (Hang et al. 2023, https://arxiv.org/abs/2303.09556)."""

    def with_snr_gamma(self, snr_gamma: float | None) -> Self:
        """The same process with its error weighted by Min-SNR clamped at `snr_gamma`, or unweighted."""


def row_errors(
    process: ForwardProcess, pred: Tensor, x0: Tensor, noise: Tensor, t: Tensor, weight: Tensor | None = None
) -> Tensor:
    """(B,) squared error of each row's prediction (B, C, h, w), weighted by its own noise level (Eq. 1).

    weight: (B, 1, h, w), how much each place of a row counts in its mean; None: all the same.
    """
    squared = (pred.float() - process.target(x0, noise, t).float()).square()
    if weight is None:
        error = squared.flatten(1).mean(1)
    else:
        weight = weight.to(squared).expand_as(squared)
        error = (weight * squared).flatten(1).sum(1) / weight.flatten(1).sum(1)
    return error * process.weight(t).to(error)


class _Prediction(NamedTuple):
    """What a network of some kind predicts, and min(SNR, gamma), the weight of the x0 error, in its units."""

    target: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    """x0, noise, alpha_t, sigma_t to (B, ...)."""
    min_snr: Callable[[Tensor, float], Tensor]
    """(B,) SNR and gamma to (B,)."""


PREDICTIONS = {
    # the noise (Ho et al. 2020, https://arxiv.org/abs/2006.11239): its unweighted error is Eq. 1 with w_t = SNR(t)
    "epsilon": _Prediction(
        target=lambda x0, noise, alpha, sigma: noise,
        min_snr=lambda snr, gamma: (gamma / snr).clamp(max=1.0),
    ),
    # alpha_t noise - sigma_t x0 (Salimans & Ho 2022, https://arxiv.org/abs/2202.00512)
    "v_prediction": _Prediction(
        target=lambda x0, noise, alpha, sigma: alpha * noise - sigma * x0,
        min_snr=lambda snr, gamma: snr.clamp(max=gamma) / (snr + 1),
    ),
    # x0 itself, as Eq. 1 is written
    "sample": _Prediction(
        target=lambda x0, noise, alpha, sigma: x0,
        min_snr=lambda snr, gamma: snr.clamp(max=gamma),
    ),
}
"""By the name in a diffusers scheduler's `prediction_type`."""


@final
@dataclass(frozen=True, eq=False)
class DiscreteDiffusion:
    """Diffusion in T steps: t is an integer in [0, T), drawn uniformly.

    alphas_cumprod: (T,) alpha_t^2 = 1 - sigma_t^2, falling from about 1 to about 0.  prediction: one of PREDICTIONS.
    """

    alphas_cumprod: Tensor
    prediction: str = "epsilon"
    snr_gamma: float | None = None
    _tables: dict[torch.device, Tensor] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "alphas_cumprod", self.alphas_cumprod.cpu().double())

    def _levels(self, t: Tensor) -> Tensor:
        """alpha, sigma and SNR, (3, B), from a table that each device has of its own: to ask the CPU, a GPU waits."""
        if t.device not in self._tables:
            squared = self.alphas_cumprod
            table = torch.stack([squared.sqrt(), (1 - squared).sqrt(), squared / (1 - squared)])
            self._tables[t.device] = table.to(t.device, _exact(t.device))
        return self._tables[t.device][:, t]

    def sample_t(self, *generators: torch.Generator) -> Tensor:
        times = [torch.randint(len(self.alphas_cumprod), (), generator=generator) for generator in generators]
        return torch.stack(times)

    def alpha_sigma(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """alpha_t and sigma_t of each row, shaped (B, 1, ...) to multiply `like` (B, ...)."""
        alpha, sigma, _ = self._levels(t)
        return _along(alpha, like), _along(sigma, like)

    def add_noise(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = self.alpha_sigma(t, x0)
        return alpha * x0 + sigma * noise

    def target(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        return PREDICTIONS[self.prediction].target(x0, noise, *self.alpha_sigma(t, x0))

    def snr(self, t: Tensor) -> Tensor:
        return self._levels(t)[2]

    def weight(self, t: Tensor) -> Tensor:
        if self.snr_gamma is None:
            return torch.ones(len(t), device=t.device)
        return PREDICTIONS[self.prediction].min_snr(self.snr(t), self.snr_gamma)

    def with_snr_gamma(self, snr_gamma: float | None) -> Self:
        return replace(self, snr_gamma=snr_gamma)


@final
@dataclass(frozen=True)
class RectifiedFlow:
    """A straight line from photo to noise (Liu et al. 2022, https://arxiv.org/abs/2209.03003): t is sigma in (0, 1].

    alpha = 1 - sigma; the target noise - x0 is dx/dsigma, whatever sign and unit of time a network has.
    density: how sigma is drawn before the shift, uniformly or as the sigmoid of a standard normal.
    shift: the odds sigma / (1 - sigma) are multiplied by it; above 1 it means more noise. Both are those of Esser et
    al. 2024, https://arxiv.org/abs/2403.03206, section 3.1 and equation 23.
    """

    shift: float = 1.0
    density: Literal["uniform", "logit_normal"] = "logit_normal"
    snr_gamma: float | None = None

    def sample_t(self, *generators: torch.Generator) -> Tensor:
        sigma = torch.stack([self._unshifted(generator) for generator in generators])
        return self.shift * sigma / (1 + (self.shift - 1) * sigma)

    def _unshifted(self, generator: torch.Generator) -> Tensor:
        if self.density == "uniform":
            return 1 - torch.rand((), generator=generator)  # in (0, 1]
        return torch.randn((), generator=generator).sigmoid()

    def add_noise(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        sigma = _along(t, x0)
        return (1 - sigma) * x0 + sigma * noise

    def target(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        return noise - x0

    def snr(self, t: Tensor) -> Tensor:
        sigma = t.to(_exact(t.device))
        return ((1 - sigma) / sigma).square()

    def weight(self, t: Tensor) -> Tensor:
        if self.snr_gamma is None:
            return torch.ones(len(t), device=t.device)
        # x0 = x_sigma - sigma v: an error of v is one of x0 over sigma
        return self.snr(t).clamp(max=self.snr_gamma) * t.to(_exact(t.device)).square()

    def with_snr_gamma(self, snr_gamma: float | None) -> Self:
        return replace(self, snr_gamma=snr_gamma)


def _exact(device: torch.device) -> torch.dtype:
    """In which noise levels are computed: Apple's devices have no float64, and the loss is float32 on all."""
    return torch.float64 if device.type == "cpu" else torch.float32


def _along(values: Tensor, like: Tensor) -> Tensor:
    """(B,) values as (B, 1, ...), to multiply `like` (B, ...)."""
    shape: Sequence[int] = (len(values), *[1] * (like.dim() - 1))
    return values.to(like).reshape(shape)
