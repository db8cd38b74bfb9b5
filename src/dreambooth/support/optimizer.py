"""AdamW on clipped gradients, which a loss or gradient that is not finite never passes; and the running average.

Where torch has the fused form of AdamW, none of it waits for the device: clipping is its `grad_scale` and refusing a
step is its `found_inf`, two numbers that stay where they were computed.
"""

import math
from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor
from torch.autograd.graph import increment_version
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

FUSED = ("cpu", "cuda")
"""The devices whose fused AdamW reads `grad_scale` and `found_inf`."""


def lr_factor(step: int, scheduler: str, warmup: int, total: int) -> float:
    """What to multiply the learning rate of `step` (from 0) by: a linear warm-up, then the chosen decay towards 0."""
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, total - warmup)
    decays = {"constant": 1.0, "linear": 1.0 - progress, "cosine": 0.5 * (1.0 + math.cos(math.pi * progress))}
    return decays[scheduler]


@final
class Optimizer:
    """AdamW over parameter groups.

    max_grad_norm: to clip to.  scaler: of fp16 gradients; None where there is none.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        *,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
        max_grad_norm: float,
        scaler: torch.amp.GradScaler | None = None,
    ) -> None:
        self.parameters: list[Tensor] = [parameter for group in groups for parameter in group["params"]]
        self.rates: list[float] = [group["lr"] for group in groups]
        self._max_grad_norm, self._scaler = max_grad_norm, scaler
        device = self.parameters[0].device
        self._failed = torch.zeros((), device=device)  # 1 from the first step on that was not finite
        fused = device.type in FUSED
        self._waits = not fused or scaler is not None
        self.adamw = torch.optim.AdamW(groups, betas=betas, eps=eps, weight_decay=weight_decay, fused=fused or None)

    @property
    def scale(self) -> Mapping[str, int | float]:
        """The state of the fp16 gradient scaler, or empty."""
        return {} if self._scaler is None else self._scaler.state_dict()

    def load(self, moments: Mapping[int, Mapping[str, Tensor]], scale: Mapping[str, int | float]) -> None:
        """Put back the "state" of AdamW's state_dict, and `scale`."""
        self.adamw.load_state_dict({**self.adamw.state_dict(), "state": dict(moments)})
        if self._scaler is not None:
            self._scaler.load_state_dict(dict(scale))

    def norm(self) -> Tensor:
        """The norm of all gradients together, a scalar on their device; once a step."""
        if self._scaler is not None:
            self._scaler.unscale_(self.adamw)
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        return get_total_norm(gradients, foreach=True if self.parameters[0].device.type in FUSED else None)

    def overflowed(self, loss: Tensor, norm: Tensor) -> bool:
        """Whether the scale was too large for the gradients of this finite loss: the step is to be made again.

        The scale is halved then, and the gradients are dropped.
        """
        if self._scaler is None or norm.isfinite() or not loss.isfinite() or self._scaler.get_scale() <= 1:
            return False
        self._scaler.update()
        self.adamw.zero_grad()
        return True

    def step(self, factor: float, loss: Tensor, norm: Tensor) -> float:
        """Take a step at `factor` times the learning rates, and return that of the first group.

        Nothing changes where loss or norm is not finite, nor at any later step.
        """
        for group, rate in zip(self.adamw.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        self._failed = torch.maximum(self._failed, (~(loss + norm).isfinite()).to(self._failed))
        if not self._waits:
            fused: Any = self.adamw
            fused.grad_scale = ((norm + 1e-6) / self._max_grad_norm).clamp(min=1)
            fused.found_inf = self._failed
            self.adamw.step()
            increment_version(self.parameters)  # the kernel does not, and models.weights sees by it what has moved
        elif not self._failed:
            clip_grads_with_norm_(self.parameters, self._max_grad_norm, norm)
            if self._scaler is None:
                self.adamw.step()
            else:
                self._scaler.step(self.adamw)
                self._scaler.update()
        self.adamw.zero_grad()
        return float(self.adamw.param_groups[0]["lr"])

    def average(self, averages: Mapping[str, Tensor], tensors: Mapping[str, Tensor], decay: float) -> None:
        """Move the running `averages` towards `tensors`, unless a step was not finite."""
        if averages:
            share = (1 - decay) * (1 - self._failed)
            mine, theirs = list(averages.values()), [tensors[name] for name in averages]
            torch._foreach_lerp_(mine, theirs, [share] * len(mine))
