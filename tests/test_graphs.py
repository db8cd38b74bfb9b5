"""Recorded passes: what they compute is what the modules compute, in every family; what refuses them.

Without CUDA a stand-in records: it does the work again at every replay and writes what comes out where a graph would.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from dreambooth.config import Config
from dreambooth.errors import ConfigError
from dreambooth.finetuning import graphs, loop
from dreambooth.support.rng import normal
from families import FAMILIES, WITH_TEXT
from test_finetuning import train

PROMPTS = ["a sks dog", "a dog"]
GPU = torch.cuda.is_available()
equal = partial(torch.testing.assert_close, rtol=1e-3 if GPU else 0, atol=1e-5 if GPU else 0)
"""Of predictions: CUDA's kernels add in no fixed order, the stand-in does the same work."""
near = partial(torch.testing.assert_close, rtol=1e-3 if GPU else 1e-5, atol=1e-5 if GPU else 1e-6)
"""Of gradients, which autograd adds up in another order."""


class StandIn:
    """A graph of a CPU. What shares its memory is overwritten by a replay, as a pass back is by the next one ahead."""

    recorded = 0

    def __init__(self, work: Callable[[], Any], sharing: "StandIn | None") -> None:
        self.work, self.found = work, work()
        self.shared: list[Tensor] = []
        if sharing is not None:
            sharing.shared += [its for its in pytree.tree_leaves(self.found) if isinstance(its, Tensor)]
        StandIn.recorded += 1

    def pool(self) -> "StandIn":
        return self

    @torch.enable_grad()
    def replay(self) -> None:
        for its in self.shared:
            its.fill_(torch.nan)
        for kept, its in zip(pytree.tree_leaves(self.found), pytree.tree_leaves(self.work()), strict=True):
            if isinstance(kept, Tensor):
                kept.detach().copy_(its.detach())


@pytest.fixture(autouse=True)
def recording(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the stand-in, where there is no CUDA."""
    if GPU:
        return

    def captured(work: Callable[[], Any], pool: StandIn | None = None) -> tuple[Any, StandIn]:
        graph = StandIn(work, pool)
        return graph.found, graph

    monkeypatch.setattr(StandIn, "recorded", 0)
    monkeypatch.setattr(graphs, "captured", captured)
    monkeypatch.setattr(graphs, "warm_up", lambda work: work())


def gradients(*modules: nn.Module) -> list[Tensor]:
    """Of all weights that have one, which are forgotten there."""
    weights = [weight for module in modules for weight in module.parameters() if weight.grad is not None]
    found = [weight.grad.clone() for weight in weights if weight.grad is not None]
    for weight in weights:
        weight.grad = None
    return found


def all_replayed(*modules: Any) -> bool:
    """Whether no recorded pass was set aside, for which the modules themselves would have stood in."""
    return all(module.forward.passes and all(module.forward.passes.values()) for module in modules)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.filterwarnings("ignore:User provided device_type of 'cuda'")
def test_gradients_are_those_of_predict(name: str) -> None:
    """Of the denoiser's weights and of the words: at three calls, the second being recorded, and of other shapes."""
    if name == "qwen-image" and GPU:
        pytest.skip("refused: see below")
    family = FAMILIES[name]
    model = family.model()
    if GPU:
        model.to(torch.device("cuda"))
    stage = family.stage_of(model)
    network = stage.parts["denoiser"].requires_grad_(True)
    t = family.times(4)[1:3].to(stage.device)

    def told(count: int, seed: int) -> tuple[Tensor, list[Tensor]]:
        words = family.told(stage, stage.condition(PROMPTS[:count]))
        words.embeds.requires_grad_(words.embeds.is_leaf)
        x_t = normal((count, *family.latent), "x_t", seed).to(stage.device)
        prediction = stage.predict(x_t, t[:count], words)
        prediction.square().mean().backward()
        of_words = [] if words.embeds.grad is None else [words.embeds.grad]
        return prediction.detach().clone(), [*gradients(network), *of_words]

    cases = [(2, 0), (2, 1), (2, 2), (1, 0), (1, 1)]
    expected = [told(*case) for case in cases]
    with graphs.recorded([network]):
        found = [told(*case) for case in cases]
        assert all_replayed(network)
        if not GPU:
            assert StandIn.recorded == 4  # two passes of each of two shapes
    found.append(told(*cases[0]))  # the module is what it was
    expected.append(expected[0])
    for (prediction, its), (plain, of_plain) in zip(found, expected, strict=True):
        equal(prediction, plain)
        near(its, of_plain)
        assert len(its) > 1


@pytest.mark.filterwarnings("ignore:User provided device_type of 'cuda'")
@pytest.mark.parametrize("name", WITH_TEXT)
def test_text_encoders_and_micro_batches(name: str) -> None:
    """Gradients of two backward passes add up, of the text encoders too; no gradients, no graph."""
    family = FAMILIES[name]
    model = family.model()
    if GPU:
        model.to(torch.device("cuda"))
    stage = family.stage_of(model)
    modules = [module.requires_grad_(True) for module in stage.parts.values()]
    x_t, t = normal((2, *family.latent), "x_t").to(stage.device), family.times(4)[1:3].to(stage.device)

    def added_up() -> list[Tensor]:
        for micro in range(2):
            words = family.told(stage, stage.condition(PROMPTS))
            stage.predict(x_t + micro, t, words).square().mean().backward()
            del words  # as the loop does
        return gradients(*modules)

    expected = added_up()
    with graphs.recorded(modules):
        for _ in range(3):
            near(added_up(), expected)
        assert all_replayed(*modules)
        if not GPU:
            assert StandIn.recorded == 2 * len(modules)
        with torch.no_grad():
            stage.predict(x_t[:1], t[:1], family.told(stage, stage.condition(PROMPTS[:1])))
        if not GPU:
            assert StandIn.recorded == 2 * len(modules)


@pytest.mark.filterwarnings("ignore:User provided device_type of 'cuda'")
def test_a_second_call_before_the_backward_pass_is_made_as_it_is() -> None:
    """What the graph's memory holds is the first one's until then."""
    module = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 1))
    if GPU:
        module.cuda()
    place = next(module.parameters()).device
    one, other = normal((2, 3), "one").to(place), normal((2, 3), "other").to(place)

    def both() -> list[Tensor]:
        (module(one).sum() + module(other).square().sum()).backward()
        return gradients(module)

    expected = both()
    with graphs.recorded([module]):
        for _ in range(3):
            torch.testing.assert_close(both(), expected)


class Two(nn.Module):
    """Two outputs of two weights."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(3, 1), nn.Linear(3, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        one: Tensor = self.one(x).sum()
        other: Tensor = self.other(x).sum()
        return one, other


@pytest.mark.filterwarnings("ignore:User provided device_type of 'cuda'")
def test_a_weight_that_no_loss_asks_for_has_no_gradient() -> None:
    """AdamW would let it decay; and a gradient by another output than at first is refused rather than lost."""
    module = Two()
    if GPU:
        module.cuda()
    x = normal((2, 3), "x").to(next(module.parameters()).device)
    with graphs.recorded([module]):
        for _ in range(3):
            module(x)[0].backward()
            assert module.one.weight.grad is not None
            assert module.other.weight.grad is None
            gradients(module)
        with pytest.raises(RuntimeError, match="by an output that its first call had none by"):
            module(x)[1].backward()


@pytest.mark.skipif(GPU, reason="breaks the stand-in")
@pytest.mark.filterwarnings("ignore:User provided device_type of 'cuda'")
def test_a_graph_that_finds_other_gradients_is_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    module = nn.Linear(3, 1)
    monkeypatch.setattr(StandIn, "replay", lambda self: [its.fill_(0.5) for its in self.shared])
    expected = [torch.tensor([[2.0, 2.0, 2.0]]), torch.tensor([2.0])]
    with graphs.recorded([module]):
        for _ in range(3):
            module(torch.ones(2, 3)).sum().backward()
            torch.testing.assert_close(gradients(module), expected)
    assert "a recorded pass finds other gradients than the pass itself" in caplog.text


@pytest.mark.skipif(GPU, reason="CUDA itself refuses the capture")
@pytest.mark.filterwarnings("ignore:User provided device_type of 'cuda'")
def test_of_a_micro_batch_nothing_is_alive_where_the_next_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Autograd's node of a weight lives as long as what was computed by it, and keeps the stream of that."""
    node: Any = torch.autograd.graph.get_gradient_edge
    watched, made = graphs.Recorded._watched, graphs.Pass.__init__
    alive = []

    def watch(its: graphs.Recorded, key: object, outputs: Any) -> Any:
        for weight in its.weights:
            node(weight).node.metadata["of a call made as it is"] = True
        return watched(its, key, outputs)

    def make(its: graphs.Pass, function: Any, inputs: Any, weights: list[Tensor], asked: Any) -> None:
        alive.append(sum(bool(node(weight).node.metadata) for weight in weights))
        made(its, function, inputs, weights, asked)

    monkeypatch.setattr(graphs.Recorded, "_watched", watch)
    monkeypatch.setattr(graphs.Pass, "__init__", make)
    settings: dict[str, Any] = {"max_train_steps": 2, "gradient_accumulation_steps": 2}
    _, plain = train(tmp_path / "plain", **settings)
    monkeypatch.setattr(loop._Loop, "recorded", lambda its: graphs.recorded(its.stage.parts.values()))
    _, recorded = train(tmp_path / "recorded", **settings)
    assert alive == [0, 0]
    for one, other in zip(recorded, plain, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)


@pytest.mark.skipif(GPU, reason="counts what the stand-in records")
@pytest.mark.filterwarnings("ignore:User provided device_type of 'cuda'")
def test_what_is_not_recorded() -> None:
    """Shapes beyond MOST, and a module without anything to train."""
    module = nn.Linear(3, 1)
    with graphs.recorded([module]):
        for rows in [*range(1, graphs.MOST + 3)] * 2:
            module(normal((rows, 3), "x")).sum().backward()
        assert StandIn.recorded == 2 * graphs.MOST
    assert "forward" not in vars(module)
    with graphs.recorded([module.requires_grad_(False)]):
        assert not module(normal((1, 3), "x")).requires_grad
    assert StandIn.recorded == 2 * graphs.MOST


def test_a_pass_that_asks_the_processor_is_not_recorded() -> None:
    with pytest.raises(ConfigError, match="cuda_graphs: a pass of Qwen/Qwen-Image cannot be recorded"):
        Config.build({"model": "Qwen/Qwen-Image", "cuda_graphs": True})


def test_recorded_passes_recompute_nothing() -> None:
    with pytest.raises(ConfigError, match="cuda_graphs: a recorded pass cannot recompute activations"):
        Config.build({"cuda_graphs": True, "gradient_checkpointing": True})
