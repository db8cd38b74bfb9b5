"""Recorded passes: what goes into a graph is all that `predict` is told, in every family; what refuses them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from accelerate import Accelerator  # type: ignore[import-untyped]
from torch import Tensor, nn

from dreambooth.config import Config
from dreambooth.errors import ConfigError
from dreambooth.finetuning.graphs import Recorded
from dreambooth.support.rng import normal
from families import FAMILIES

PROMPTS = ["a sks dog", "a dog"]


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, ...]]:
    """What was recorded; without CUDA nothing is, and the passes run as they are."""
    samples: list[tuple[Tensor, ...]] = []

    def record(network: nn.Module, given: tuple[Tensor, ...], **how: Any) -> Callable[..., Tensor]:
        samples.append(given)
        return network

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", record)
    return samples


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.filterwarnings("ignore:User provided device_type of 'cuda'")
def test_a_recorded_pass_is_told_what_predict_is_told(name: str, recorded: list[tuple[Tensor, ...]]) -> None:
    family = FAMILIES[name]
    stage = family.stage_of(family.model())
    predict = Recorded(stage, Accelerator(cpu=True))
    for seed in range(2):
        words = family.told(stage, stage.condition(PROMPTS))
        words.embeds.requires_grad_(words.embeds.is_leaf)
        x_t, t = normal((2, *family.latent), "x_t", seed), family.times(4)[1:3]
        torch.testing.assert_close(predict(x_t, t, words), stage.predict(x_t, t, words), rtol=0, atol=0)
    assert len(recorded) == 1
    x_t = normal((1, *family.latent), "x_t")
    words = family.told(stage, stage.condition(PROMPTS[:1]))
    torch.testing.assert_close(predict(x_t, t[:1], words), stage.predict(x_t, t[:1], words), rtol=0, atol=0)
    assert len(recorded) == 2  # other shapes


@pytest.mark.skipif(not torch.cuda.is_available(), reason="wants a GPU with CUDA")
def test_on_a_gpu_gradients_are_those_of_predict() -> None:
    family = FAMILIES["stable-diffusion"]
    model = family.model()
    model.to(torch.device("cuda"))
    stage = family.stage_of(model)
    network = stage.parts["unet"]
    words = stage.condition(PROMPTS)
    x_t, t = normal((2, *family.latent), "x_t").cuda(), family.times(4)[1:3].cuda()
    found = []
    for predict in (stage.predict, Recorded(stage, Accelerator())):
        network.zero_grad()
        predict(x_t, t, words).square().mean().backward()
        found.append([p.grad.clone() for p in network.parameters() if p.grad is not None])
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-5)


def test_recorded_passes_recompute_nothing() -> None:
    with pytest.raises(ConfigError, match="cuda_graphs: a recorded pass cannot recompute activations"):
        Config.build({"cuda_graphs": True, "gradient_checkpointing": True})
