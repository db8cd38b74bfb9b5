"""A whole step of a training as one CUDA graph: a small model's step is thousands of kernels to launch, a graph is one.

https://docs.pytorch.org/docs/stable/notes/cuda.html#whole-network-capture
"""

from collections.abc import Callable

import torch
from torch import Tensor

WARM = 3  # steps taken as they are, in which optimizers make their state and libraries choose their kernels


class Recorded:
    """A function of tensors, which keep their shapes; the fourth call is recorded and replayed from then on.

    All that it changes lies on the GPU and is changed in place; what it draws is drawn anew in each call, by torch's
    own generator.
    """

    def __init__(self, function: Callable[..., Tensor]) -> None:
        self.function, self.calls = function, 0
        self.graph: torch.cuda.CUDAGraph | None = None
        self.given: list[Tensor] = []
        self.found = torch.empty(0)

    def __call__(self, *tensors: Tensor) -> Tensor:
        self.calls += 1
        if self.calls <= WARM:
            return self._aside(*tensors)
        if self.graph is None:
            self.given = [tensor.clone() for tensor in tensors]
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.found = self.function(*self.given)
        for kept, tensor in zip(self.given, tensors, strict=True):
            kept.copy_(tensor)
        self.graph.replay()
        return self.found.clone()

    def _aside(self, *tensors: Tensor) -> Tensor:
        """On a side stream, as CUDA asks of warm-up before a capture."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            found = self.function(*tensors)
        torch.cuda.current_stream().wait_stream(stream)
        return found
