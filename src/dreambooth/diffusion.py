"""The forward process of section 3 and what the network is asked to predict.

B rows; t (B,) is a time of the process, and later is noisier: x_t = alpha_t x0 + sigma_t noise, and
SNR(t) = alpha_t^2 / sigma_t^2. A process knows no family: units, signs and shapes of a network are its family's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import exp, pi
from typing import NamedTuple, Protocol, Self, final

import torch
from torch import Tensor

from dreambooth.config.noise_levels import NOISE_LEVELS, Density, NoiseLevelsName


class ForwardProcess(Protocol):
    """Noise levels, the noising of x0, the network's target, and the weight of each row's error."""

    def sample_t(self, shape: Sequence[int], *generators: torch.Generator) -> Tensor:
        """(B,) times for x0 of `shape` (B, C, h, w), one from each row's generator."""

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

    def with_noise_levels(self, name: NoiseLevelsName | None) -> Self:
        """The same process with its times drawn as `name` says, or as they are; ValueError where it has one way."""


def row_errors(
    process: ForwardProcess,
    pred: Tensor,
    x0: Tensor,
    noise: Tensor,
    t: Tensor,
    weight: Tensor | None = None,
    target: Tensor | None = None,
) -> Tensor:
    """(B,) squared error of each row's prediction (B, C, h, w), weighted by its own noise level (Eq. 1).

    weight: (B, 1, h, w), how much each place of a row counts in its mean; None: all the same.  target: (B, C, h, w),
    what the rows are held to; None: what they were made of.
    """
    target = process.target(x0, noise, t) if target is None else target
    squared = (pred.float() - target.float()).square()
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

    def sample_t(self, shape: Sequence[int], *generators: torch.Generator) -> Tensor:
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

    def with_noise_levels(self, name: NoiseLevelsName | None) -> Self:
        if name is not None:
            raise ValueError("a diffusion in steps draws its times uniformly")
        return self


class ShiftBySize(NamedTuple):
    """A shift that grows with the picture: more cells need more noise to hide the same (Esser et al. 2024, eq. 23).

    exp(mu), and mu is a line through two points. tokens: the numbers of tokens at which it is mu.  patch: cells of the
    latent along the side of a token.
    """

    tokens: tuple[int, int]
    mu: tuple[float, float]
    patch: int

    def of(self, shape: Sequence[int]) -> float:
        """The shift for latents of `shape` (B, C, h, w)."""
        count = shape[-2] * shape[-1] / self.patch**2
        (first, last), (low, high) = self.tokens, self.mu
        return exp(low + (high - low) * (count - first) / (last - first))


DENSITIES: dict[Density, Callable[[torch.Generator, float], Tensor]] = {
    "uniform": lambda generator, scale: 1 - torch.rand((), generator=generator),  # in (0, 1]
    "logit_normal": lambda generator, scale: (scale * torch.randn((), generator=generator)).sigmoid(),
    "mode": lambda generator, scale: _mode(torch.rand((), generator=generator), scale),
}
"""How sigma is drawn before the shift, given a scale: section 3.1 of https://arxiv.org/abs/2403.03206."""


def _mode(u: Tensor, scale: float) -> Tensor:
    """Equation 20: heavy where noise and photo are mixed; falls from 1 at u = 0 to 0 at u = 1."""
    return 1 - u - scale * (torch.cos(pi / 2 * u).square() - 1 + u)


@final
@dataclass(frozen=True)
class RectifiedFlow:
    """A straight line from photo to noise (Liu et al. 2022, https://arxiv.org/abs/2209.03003): t is sigma in (0, 1].

    alpha = 1 - sigma; the target noise - x0 is dx/dsigma, whatever sign and unit of time a network has.
    shift: the odds sigma / (1 - sigma) are multiplied by it; above 1 it means more noise.  density, scale: how sigma is
    drawn before the shift, see DENSITIES.  x0_weighted: the error of v is weighed as that of the x0 that it means.
    """

    shift: float | ShiftBySize = 1.0
    density: Density = "logit_normal"
    scale: float = 1.0
    x0_weighted: bool = False
    snr_gamma: float | None = None

    def sample_t(self, shape: Sequence[int], *generators: torch.Generator) -> Tensor:
        sigma = torch.stack([DENSITIES[self.density](generator, self.scale) for generator in generators])
        shift = self.shift.of(shape) if isinstance(self.shift, ShiftBySize) else self.shift
        return shift * sigma / (1 + (shift - 1) * sigma)

    def add_noise(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        sigma = _along(t, x0)
        return (1 - sigma) * x0 + sigma * noise

    def target(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        return noise - x0

    def snr(self, t: Tensor) -> Tensor:
        sigma = t.to(_exact(t.device))
        return ((1 - sigma) / sigma).square()

    def weight(self, t: Tensor) -> Tensor:
        if self.snr_gamma is None and not self.x0_weighted:
            return torch.ones(len(t), device=t.device)
        # x0 = x_sigma - sigma v: an error of v is one of x0 over sigma
        squared = t.to(_exact(t.device)).square()
        return squared if self.snr_gamma is None else self.snr(t).clamp(max=self.snr_gamma) * squared

    def with_snr_gamma(self, snr_gamma: float | None) -> Self:
        return replace(self, snr_gamma=snr_gamma)

    def with_noise_levels(self, name: NoiseLevelsName | None) -> Self:
        if name is None:
            return self
        levels = NOISE_LEVELS[name]
        return replace(
            self,
            density=levels.density,
            scale=levels.scale,
            shift=self.shift if levels.shift is None else levels.shift,
            x0_weighted=levels.x0_weighted,
        )


def _exact(device: torch.device) -> torch.dtype:
    """In which noise levels are computed: Apple's devices have no float64, and the loss is float32 on all."""
    return torch.float64 if device.type == "cpu" else torch.float32


def _along(values: Tensor, like: Tensor) -> Tensor:
    """(B,) values as (B, 1, ...), to multiply `like` (B, ...)."""
    shape: Sequence[int] = (len(values), *[1] * (like.dim() - 1))
    return values.to(like).reshape(shape)
