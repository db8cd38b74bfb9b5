"""AdamW on clipped gradients, which a loss or gradient that is not finite never passes; and the running average.

Where torch has the fused form of AdamW, none of it waits for the device: clipping is its `grad_scale` and refusing a
step is its `found_inf`, two numbers that stay where they were computed.
"""

import math
from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from dreambooth.config import Training

FUSED = ("cpu", "cuda")
"""The devices whose fused AdamW reads `grad_scale` and `found_inf`."""


def lr_factor(step: int, training: Training) -> float:
    """What to multiply the learning rate of `step` (from 0) by: a linear warm-up, then the chosen decay towards 0."""
    warmup, total = training.lr_warmup_steps, training.max_train_steps
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, total - warmup)
    decays = {"constant": 1.0, "linear": 1.0 - progress, "cosine": 0.5 * (1.0 + math.cos(math.pi * progress))}
    return decays[training.lr_scheduler]


@final
class Optimizer:
    """AdamW over an adapter's parameter groups.

    scaler: of fp16 gradients; None where there is none.
    """

    def __init__(
        self, groups: list[dict[str, Any]], training: Training, scaler: torch.amp.GradScaler | None = None
    ) -> None:
        self.parameters: list[Tensor] = [parameter for group in groups for parameter in group["params"]]
        self.rates: list[float] = [group["lr"] for group in groups]
        self._training, self._scaler = training, scaler
        device = self.parameters[0].device
        self._failed = torch.zeros((), device=device)  # 1 from the first step on that was not finite
        fused = device.type in FUSED
        self._waits = not fused or scaler is not None
        self.adamw = torch.optim.AdamW(
            groups,
            betas=(training.adam_beta1, training.adam_beta2),
            weight_decay=training.adam_weight_decay,
            eps=training.adam_epsilon,
            fused=fused or None,
        )

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

    def step(self, step: int, loss: Tensor, norm: Tensor) -> float:
        """Take step number `step` (from 0) at its learning rate, and return that of the first group.

        Nothing changes where loss or norm is not finite, nor at any later step.
        """
        for group, rate in zip(self.adamw.param_groups, self.rates, strict=True):
            group["lr"] = rate * lr_factor(step, self._training)
        self._failed = torch.maximum(self._failed, (~(loss + norm).isfinite()).to(self._failed))
        most: float = self._training.max_grad_norm
        if not self._waits:
            fused: Any = self.adamw
            fused.grad_scale, fused.found_inf = ((norm + 1e-6) / most).clamp(min=1), self._failed
            self.adamw.step()
        elif not self._failed:
            clip_grads_with_norm_(self.parameters, most, norm)
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
