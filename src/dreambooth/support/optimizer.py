"""AdamW on clipped gradients, which a loss or gradient that is not finite never passes; and the running average.

Where torch has the fused form of AdamW, none of it waits for the device: clipping is its `grad_scale` and refusing a
step is its `found_inf`, two numbers that stay where they were computed. With moments of 8 bits, AdamW is that of
bitsandbytes (Dettmers et al. 2022), an extra, which waits for the device by itself.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any, final

import torch
from torch import Tensor
from torch.autograd.graph import increment_version
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

FUSED = ("cpu", "cuda")
"""The devices whose fused AdamW reads `grad_scale` and `found_inf`."""

BLOCK, LEAST = 256, 4096
"""Moments of 8 bits have a float32 scale each so many; weights of fewer than LEAST elements keep 32 bits."""


def moments_size(parameters: Iterable[Tensor], eight_bit: bool) -> int:
    """Bytes of the two moments that AdamW keeps of each parameter."""
    return sum(
        2 * (its.numel() + 4 * -(-its.numel() // BLOCK)) if eight_bit and its.numel() >= LEAST else 2 * its.nbytes
        for its in parameters
    )


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

    max_grad_norm: to clip to.  scaler: of fp16 gradients; None where there is none.  eight_bit: of the moments.
    l2_to_start: so many times the squared distance to the parameters as they are now counts as part of every loss
    (L2-SP of Li et al. 2018, https://arxiv.org/abs/1802.01483).
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
        eight_bit: bool = False,
        l2_to_start: float = 0.0,
    ) -> None:
        self.parameters: list[Tensor] = [parameter for group in groups for parameter in group["params"]]
        self.rates: list[float] = [group["lr"] for group in groups]
        self._max_grad_norm, self._scaler, self._eight_bit = max_grad_norm, scaler, eight_bit
        self._l2, self._start = l2_to_start, [p.detach().clone() for p in self.parameters] if l2_to_start else []
        device = self.parameters[0].device
        self._failed = torch.zeros((), device=device)  # 1 from the first step on that was not finite
        fused = device.type in FUSED and not eight_bit
        self._waits = not fused or scaler is not None
        self.adamw: torch.optim.Optimizer
        if eight_bit:
            from bitsandbytes.optim import AdamW8bit

            self.adamw = AdamW8bit(groups, betas=betas, eps=eps, weight_decay=weight_decay, min_8bit_size=LEAST)
        else:
            self.adamw = torch.optim.AdamW(groups, betas=betas, eps=eps, weight_decay=weight_decay, fused=fused or None)

    @property
    def moments(self) -> dict[int, dict[str, Tensor]]:
        """All that AdamW keeps, by the number of the parameter, each a tensor of its own."""
        kept = self.adamw.state
        return {
            number: {
                name: value.clone() if name.startswith("qmap") else torch.as_tensor(value)  # parameters share a qmap
                for name, value in kept[parameter].items()
            }
            for number, parameter in enumerate(self.parameters)
            if parameter in kept
        }

    @property
    def size(self) -> int:
        """Bytes of the moments, once there are some."""
        return moments_size(self.parameters, self._eight_bit)

    @property
    def scale(self) -> Mapping[str, int | float]:
        """The state of the fp16 gradient scaler, or empty."""
        return {} if self._scaler is None else self._scaler.state_dict()

    def load(self, moments: Mapping[int, Mapping[str, Tensor]], scale: Mapping[str, int | float]) -> None:
        """Put back `moments` and `scale`."""
        state: dict[int, dict[str, Any]] = {number: dict(its) for number, its in moments.items()}
        if self._eight_bit:  # it counts steps outside of tensors
            state = {number: {**its, "step": int(its["step"])} for number, its in state.items()}
        self.adamw.load_state_dict({**self.adamw.state_dict(), "state": state})
        if self._scaler is not None:
            self._scaler.load_state_dict(dict(scale))

    def norm(self) -> Tensor:
        """The norm of all gradients together, a scalar on their device; once a step, as it completes the gradients."""
        if self._scaler is not None:
            self._scaler.unscale_(self.adamw)
        if self._l2:
            self._pull_back()
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        return get_total_norm(gradients, foreach=True if self.parameters[0].device.type in FUSED else None)

    @torch.no_grad()
    def _pull_back(self) -> None:
        """Add the gradient of the squared distance to the start, without a copy of all weights for the difference."""
        pulled = [(its, start) for its, start in zip(self.parameters, self._start, strict=True) if its.grad is not None]
        gradients, now, before = zip(*((its.grad, its, start) for its, start in pulled), strict=True)
        torch._foreach_add_(gradients, now, alpha=2 * self._l2)
        torch._foreach_add_(gradients, before, alpha=-2 * self._l2)

    def overflowed(self, loss: Tensor, norm: Tensor) -> bool:
        """Whether the scale was too large for the gradients of this finite loss: the step is to be made again.

        The scale is halved then, and the gradients are dropped.
        """
        if self._scaler is None or self._failed or norm.isfinite() or not loss.isfinite():
            return False
        if self._scaler.get_scale() <= 1:
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
        elif not self._failed:
            clip_grads_with_norm_(self.parameters, self._max_grad_norm, norm)
            if self._scaler is None:
                self.adamw.step()
            else:
                self._scaler.step(self.adamw)
                self._scaler.update()
        elif self._scaler is not None:
            self._scaler.update(self._scaler.get_scale())  # stays as it is; the next step may divide by it again
        increment_version(self.parameters)  # not every kernel does, and models.weights sees by it what has moved
        self.adamw.zero_grad()
        return float(self.adamw.param_groups[0]["lr"])

    def average(self, averages: Mapping[str, Tensor], tensors: Mapping[str, Tensor], decay: float) -> None:
        """Move the running `averages` towards `tensors`, unless a step was not finite."""
        if averages:
            share = (1 - decay) * (1 - self._failed)
            mine, theirs = list(averages.values()), [tensors[name] for name in averages]
            torch._foreach_lerp_(mine, theirs, [share] * len(mine))
