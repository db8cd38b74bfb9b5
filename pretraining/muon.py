"""Muon: momentum whose matrices are made orthogonal, so that every direction of a layer learns at one speed.

Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/; the step is scaled to the size of an AdamW step as in
https://arxiv.org/abs/2502.16982. In float32 unless told otherwise: torch.optim.Muon works in bfloat16, which many CPUs
only emulate, and takes no convolutions.
"""

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn

_A, _B, _C = 3.4445, -4.7750, 2.0315  # of the quintic that brings singular values near 1 in five rounds
_ROUNDS = 5


def orthogonal(matrix: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """The matrix (R, C) with all its singular values brought near 1, reckoned in this type."""
    x = (matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T).to(dtype)
    x = x / (x.norm() + 1e-7)
    for _ in range(_ROUNDS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=_B, alpha=_C), x, beta=_A)
    return x if matrix.shape[0] <= matrix.shape[1] else x.T


def is_matrix(name: str, parameter: Tensor) -> bool:
    """Whether Muon is made for it: the weight of a layer, not a table of embeddings, and not nearly a vector."""
    return (
        parameter.dim() >= 2
        and "embedding" not in name
        and min(parameter.shape[0], parameter.numel() // parameter.shape[0]) >= 8
    )


class Muon(torch.optim.Optimizer):
    """For parameters of two and more dimensions; what follows the first counts as one."""

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float, momentum: float = 0.95, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step along the orthogonal part of Nesterov's momentum."""
        for group in self.param_groups:
            for parameter in cast(list[nn.Parameter], group["params"]):
                if parameter.grad is None:
                    continue
                momentum = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
                momentum.lerp_(parameter.grad, 1 - group["momentum"])
                ahead = parameter.grad.lerp(momentum, group["momentum"]).flatten(1)
                scale = 0.2 * max(ahead.shape) ** 0.5
                parameter.add_(orthogonal(ahead, self.dtype).reshape(parameter.shape), alpha=-group["lr"] * scale)
