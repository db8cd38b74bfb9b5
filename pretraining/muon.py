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


def orthogonal(matrices: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Matrices (N, R, C) with all their singular values brought near 1, reckoned in this type."""
    x: Tensor = (matrices if matrices.shape[-2] <= matrices.shape[-1] else matrices.mT).to(dtype)
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(_ROUNDS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=_B, alpha=_C), x, beta=_A)
    return x if matrices.shape[-2] <= matrices.shape[-1] else x.mT


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
            parameters = [p for p in cast(list[nn.Parameter], group["params"]) if p.grad is not None]
            gradients = [cast(Tensor, p.grad) for p in parameters]
            for p in parameters:
                if "momentum" not in self.state[p]:
                    self.state[p]["momentum"] = torch.zeros_like(p)
            momenta = [self.state[p]["momentum"] for p in parameters]
            torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
            ahead = torch._foreach_lerp(gradients, momenta, group["momentum"])
            alike: dict[torch.Size, list[int]] = {}  # one product for all matrices of a shape: a GPU waits for launches
            for place, tensor in enumerate(ahead):
                alike.setdefault(tensor.flatten(1).shape, []).append(place)
            for shape, places in alike.items():
                steps = orthogonal(torch.stack([ahead[i].flatten(1) for i in places]), self.dtype)
                steps = steps.float() * (group["lr"] * 0.2 * max(shape) ** 0.5)
                for place, step in zip(places, steps, strict=True):
                    parameters[place].sub_(step.reshape(parameters[place].shape))
