"""The denoiser's forward and backward pass as CUDA graphs: one launch each, where a small batch waits for thousands.

https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

from collections.abc import Callable
from dataclasses import replace
from typing import cast

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]
from torch import Tensor, nn

from dreambooth.models.base import DENOISER, Conditioning, Stage

Key = tuple[tuple[tuple[int, ...], ...], bytes]
"""Shapes of what goes in, and the mask, which lies on the CPU and is read while a graph is recorded."""


class Recorded:
    """`Stage.predict`, recorded at the first call for its shapes and mask and replayed from then on.

    What it computes is what `predict` computes, by the same kernels; the weights are read where they lie, so that they
    may change in place between two calls and must not move.
    """

    def __init__(self, stage: Stage, accelerator: Accelerator) -> None:
        self.stage, self.accelerator = stage, accelerator
        self.graphs: dict[Key, Callable[..., Tensor]] = {}

    def __call__(self, x_t: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        tensors = {
            "embeds": conditioning.embeds,
            **({} if conditioning.pooled is None else {"pooled": conditioning.pooled}),
            **conditioning.extras,
        }
        inputs = (x_t, t, *tensors.values())
        mask = b"" if conditioning.mask is None else conditioning.mask.numpy().tobytes()
        key = tuple(tuple(tensor.shape) for tensor in inputs), mask
        if key not in self.graphs:
            self.graphs[key] = self._record(_Pass(self.stage, conditioning, list(tensors)), inputs)
        return self.graphs[key](*inputs)

    def _record(self, network: "_Pass", inputs: tuple[Tensor, ...]) -> Callable[..., Tensor]:
        samples = tuple(x.detach().clone().requires_grad_(x.requires_grad) for x in inputs)
        precision = torch.bfloat16 if self.accelerator.mixed_precision == "bf16" else torch.float16
        enabled = self.accelerator.mixed_precision != "no"
        with torch.autocast("cuda", precision, enabled=enabled, cache_enabled=False):  # a graph casts each time
            graphed = torch.cuda.make_graphed_callables(network, samples, allow_unused_input=True)
        return cast(Callable[..., Tensor], graphed)


class _Pass(nn.Module):
    """`predict` as a module of tensors alone, as a graph takes it."""

    def __init__(self, stage: Stage, conditioning: Conditioning, names: list[str]) -> None:
        super().__init__()
        self.network = stage.parts[DENOISER]  # whose parameters a graph asks for
        self.stage, self.conditioning, self.names = stage, conditioning, names

    def forward(self, x_t: Tensor, t: Tensor, *tensors: Tensor) -> Tensor:
        named = dict(zip(self.names, tensors, strict=True))
        extras = {name: named[name] for name in self.conditioning.extras}
        words = replace(self.conditioning, embeds=named["embeds"], pooled=named.get("pooled"), extras=extras)
        prediction: Tensor = self.stage.predict(x_t, t, words)
        return prediction
