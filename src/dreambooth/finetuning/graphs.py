"""Passes of a module as CUDA graphs: one launch each, where a small batch waits for thousands.

https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import compress
from typing import Any, cast, final

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree  # torch's own graphs take arguments and outputs apart by it

from dreambooth.support.progress import log

WARM = 3
"""Passes made as they are before one is recorded, in which libraries choose their kernels."""

MOST = 8
"""Recorded passes of a module at most: each has memory of its own, for activations and gradients."""

APART = 0.05
"""Of a gradient's norm: as much as that of a replay may differ, the kernels of CUDA adding in no fixed order."""


@contextmanager
def recorded(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Inside, the passes of these modules that are to have gradients are recorded once and replayed from then on."""
    before = {module: vars(module).get("forward") for module in modules}  # of the object: a library's wrapper
    for module in before:
        cast(Any, module).forward = Recorded(module)
    try:
        yield
    finally:
        for module, forward in before.items():
            del module.forward
            if forward is not None:
                cast(Any, module).forward = forward


@final
class Recorded:
    """A module's forward pass, recorded at the second call for its shapes and for what is no tensor of its device.

    The first is made as it is, and shows which outputs have gradients: a weight that only others depend on has none.

    What it computes is what the module computes, by the same kernels. The weights are read where they lie, so that they
    may change in place between two calls and must not move; their gradients are left where the graph writes them. A
    call that nothing asks a gradient of is made as it is, and so is one before the backward pass of the last, one of a
    further shape than MOST, and one whose replay has found other gradients than the pass itself.

    Nothing of an earlier call may be alive at the second one that its weights could be reached by: autograd keeps the
    stream on which it first met a weight for as long, and a capture refuses that of a call made as it is.
    """

    def __init__(self, module: nn.Module) -> None:
        self.forward = module.forward
        self.weights = [its for its in module.parameters() if its.requires_grad]  # all modules are gone through: once
        self.device = next(module.parameters()).device
        self.asked: dict[object, list[bool]] = {}
        """Of each output, whether it had a gradient."""
        self.passes: dict[object, Pass | None] = {}
        """None: its replay has found other gradients."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return self.forward(*args, **kwargs)
        leaves, spec = pytree.tree_flatten((args, kwargs))
        at = [n for n, leaf in enumerate(leaves) if isinstance(leaf, Tensor) and leaf.device == self.device]
        tensors = [leaves[n] for n in at]
        if not (self.weights or _followed(tensors)):
            return self.forward(*args, **kwargs)
        key = str(spec), *(_kind(leaf, self.device) for leaf in leaves)
        if not any(self.asked.get(key, ())):
            return self._watched(key, self.forward(*args, **kwargs))
        if key not in self.passes and len(self.passes) < MOST:

            def function(*given: Tensor) -> Any:
                told = dict(zip(at, given, strict=True))
                filled = [told.get(n, leaf) for n, leaf in enumerate(leaves)]
                its, named = pytree.tree_unflatten(filled, spec)
                return self.forward(*its, **named)

            made = Pass(function, tensors, self.weights, self.asked[key])
            self.passes[key] = made if made.faithful else None  # its graphs go, and their memory
        its = self.passes.get(key)
        return its(*tensors) if its and not its.awaited else self.forward(*args, **kwargs)

    def _watched(self, key: object, outputs: Any) -> Any:
        """These outputs; a backward pass notes which of them it comes by."""
        leaves = pytree.tree_leaves(outputs)
        asked = self.asked[key] = [False] * len(leaves)
        for number, leaf in enumerate(leaves):
            if _is_followed(leaf):
                leaf.register_hook(lambda _, number=number: operator.setitem(asked, number, True))
        return outputs


def _kind(leaf: object, device: torch.device) -> object:
    """What a leaf must share with another to be given to the same graph; one that lies elsewhere is read just once."""
    if not isinstance(leaf, Tensor):
        return leaf
    return leaf.shape, leaf.dtype, leaf.requires_grad, b"" if leaf.device == device else leaf.numpy().tobytes()


@final
class Pass:
    """A function of tensors as two graphs, forward and backward.

    inputs: such as it will be given.  weights: whose gradients are wanted, beside those of inputs that ask for them.
    asked: of each output, whether it will have a gradient.
    """

    def __init__(
        self, function: Callable[..., Any], inputs: Sequence[Tensor], weights: Sequence[Tensor], asked: Sequence[bool]
    ) -> None:
        self.inputs = [its.detach().clone().requires_grad_(its.requires_grad) for its in inputs]
        self.anchor = torch.zeros((), device=inputs[0].device, requires_grad=True)  # has autograd ask for the weights
        self.awaited = False
        """Whether a backward pass is to come, for which the graph's memory holds what it needs."""
        self.given: list[Tensor] = []
        """The gradients of the outputs that have one."""
        sought = [*_followed(self.inputs), *weights]
        outputs: Any = None

        def ahead() -> Any:
            nonlocal outputs
            outputs = function(*self.inputs)
            return outputs

        def back() -> list[Tensor | None]:
            nonlocal outputs
            followed, outputs = list(compress(pytree.tree_leaves(outputs), asked)), None
            self.given = self.given or [torch.ones_like(its) for its in followed]
            with torch.autocast("cuda", enabled=False):  # as the loop's own backward pass
                return _gradients(followed, sought, self.given)

        precision, enabled = torch.get_autocast_dtype("cuda"), torch.is_autocast_enabled("cuda")
        with torch.autocast("cuda", precision, enabled=enabled, cache_enabled=False):  # a graph casts each time
            expected = warm_up(lambda: (ahead(), _norms(back()))[1])
            its, self.ahead = captured(ahead)
            found, self.back = captured(back, self.ahead.pool())
        leaves, self.spec = pytree.tree_flatten(its)
        self.follows = [_is_followed(leaf) for leaf in leaves]
        self.asked = list(compress(asked, self.follows))
        self.outputs = [leaf.detach() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        self.found = found[: len(sought) - len(weights)]
        told = zip(weights, found[len(self.found) :], strict=True)
        self.gradients = [(weight, gradient) for weight, gradient in told if gradient is not None]
        self.ahead.replay()
        self.back.replay()
        self.faithful = _alike(_norms(found), expected)
        """Whether a replay has found the gradients of the pass as it is."""
        if not self.faithful:
            log.warning("a recorded pass finds other gradients than the pass itself, which is made instead")

    def __call__(self, *tensors: Tensor) -> Any:
        followed = iter(_Replay.apply(self, self.anchor, *tensors))  # type: ignore[no-untyped-call]
        filled = [next(followed) if follows else its for follows, its in zip(self.follows, self.outputs, strict=True)]
        return pytree.tree_unflatten(filled, self.spec)

    def forward(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The outputs that depend on weights or on inputs that ask for gradients."""
        for kept, tensor in zip(self.inputs, tensors, strict=True):
            kept.detach().copy_(tensor)
        for weight, gradient in self.gradients:  # of an earlier micro-batch: the graphs share their memory
            if weight.grad is not None and weight.grad is gradient:
                weight.grad = gradient.clone()
        self.ahead.replay()
        self.awaited = True
        return tuple(its.detach() for its in compress(self.outputs, self.follows))

    def backward(self, gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
        """The inputs' gradients, by the outputs'; those of the weights become their `grad`, or are added to it."""
        if any(its is not None for its, asked in zip(gradients, self.asked, strict=True) if not asked):
            raise RuntimeError("a recorded pass has a gradient by an output that its first call had none by")
        for kept, tensor in zip(self.given, compress(gradients, self.asked), strict=True):
            kept.zero_() if tensor is None else kept.copy_(tensor)
        before = [(gradient, weight.grad) for weight, gradient in self.gradients if weight.grad is not None]
        self.back.replay()
        self.awaited = False
        if before:
            torch._foreach_add_(*map(list, zip(*before, strict=True)))
        for weight, gradient in self.gradients:
            weight.grad = gradient
        found = iter(self.found)
        return [next(found) if its.requires_grad else None for its in self.inputs]


class _Replay(torch.autograd.Function):
    """A pass in autograd's eyes."""

    @staticmethod
    def forward(ctx: Any, its: Pass, anchor: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.its = its
        ctx.set_materialize_grads(False)
        return its.forward(tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        return None, None, *ctx.its.backward(gradients)


def _is_followed(its: object) -> bool:
    return isinstance(its, Tensor) and its.requires_grad


def _followed(leaves: Iterable[Any]) -> list[Tensor]:
    return [leaf for leaf in leaves if _is_followed(leaf)]


def _gradients(outputs: Sequence[Tensor], sought: Sequence[Tensor], given: Sequence[Tensor]) -> list[Tensor | None]:
    """Of `outputs` by what is sought, laid out in memory as that is, which a fused AdamW wants."""
    found = torch.autograd.grad(outputs, sought, given, allow_unused=True)
    return [
        its if its is None or its.stride() == of.stride() else torch.empty_like(of).copy_(its)
        for its, of in zip(found, sought, strict=True)
    ]


def _norms(gradients: Sequence[Tensor | None]) -> Tensor:
    """Of each gradient that there is, one after another."""
    return torch.stack(torch._foreach_norm([its for its in gradients if its is not None]))


def _alike(norms: Tensor, expected: Tensor) -> bool:
    """Within APART, and a thousandth of the largest for those that are nearly nothing."""
    nothing = 1e-3 * float(expected.max())
    return norms.shape == expected.shape and torch.allclose(norms, expected, APART, nothing, equal_nan=True)


def warm_up(work: Callable[[], Tensor]) -> Tensor:
    """Do it on a side stream, as CUDA asks before a capture; what it returns."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM):
            found = work()
    torch.cuda.current_stream().wait_stream(stream)
    return found


def captured(work: Callable[[], Any], pool: Any = None) -> tuple[Any, torch.cuda.CUDAGraph]:
    """What it returns, and the graph that does it again, into the same memory."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool):
        found = work()
    return found, graph
