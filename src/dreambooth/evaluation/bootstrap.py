"""How sure a mean over subjects is."""

from collections.abc import Sequence

import torch

from dreambooth.support.rng import generator


def interval(
    values: Sequence[float], seed: int = 0, level: float = 0.95, samples: int = 10_000
) -> tuple[float, float] | None:
    """The interval (low, high) of the mean of `values`, one a subject: percentile bootstrap, Efron (1979).

    Deviations are widened by sqrt(n / (n - 1)), else few subjects would look surer than they are. For the difference
    of two methods on the same subjects give their differences. None for fewer than two values.
    """
    count = len(values)
    if count < 2:
        return None
    measured = torch.tensor(values, dtype=torch.float64)
    drawn = torch.randint(count, (samples, count), generator=generator("bootstrap", seed))
    deviations = (measured[drawn].mean(1) - measured.mean()) * (count / (count - 1)) ** 0.5
    outside = (1 - level) / 2
    low, high = measured.mean() + deviations.quantile(torch.tensor([outside, 1 - outside], dtype=torch.float64))
    return low.item(), high.item()
