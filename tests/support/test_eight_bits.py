"""AdamW with moments of 8 bits, by bitsandbytes where it is installed: near torch's own, a quarter of its state."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from dreambooth.config import Config, machine
from dreambooth.config.machine import check_machine
from dreambooth.errors import ConfigError
from dreambooth.run import checkpoint
from dreambooth.support.optimizer import Optimizer, moments_size
from dreambooth.support.tensor_files import save_tensors
from trained import resumed_otherwise


@pytest.fixture
def extra() -> None:
    pytest.importorskip("bitsandbytes")


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 128), nn.Tanh(), nn.Linear(128, 64))


def optimizer(net: nn.Module, eight_bit: bool = True) -> Optimizer:
    groups = [{"params": list(net.parameters()), "lr": 1e-3}]
    return Optimizer(groups, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01, max_grad_norm=1.0, eight_bit=eight_bit)


def step(net: nn.Module, its: Optimizer, spoiled: bool = False) -> float:
    x = torch.linspace(-1, 1, 64 * 64).reshape(64, 64)
    loss: Tensor = (net(x) - x.sin()).square().mean()
    loss.backward()
    if spoiled:
        next(net.parameters()).grad[0, 0] = float("inf")  # type: ignore[index]
    its.step(1.0, loss.detach(), its.norm())
    return loss.item()


def values(net: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in net.parameters()]


@pytest.mark.usefixtures("extra")
def test_it_goes_where_torchs_adamw_goes_with_a_quarter_of_its_state() -> None:
    net, plain = network(), network()
    start, mine, theirs = values(net), optimizer(net), optimizer(plain, eight_bit=False)
    versions = [parameter._version for parameter in net.parameters()]
    losses = [step(net, mine) for _ in range(20)]
    assert losses[-1] < 0.5 * losses[0]
    for _ in range(20):
        step(plain, theirs)
    for now, its, began in zip(values(net), values(plain), start, strict=True):
        assert (now - its).norm() < 0.05 * (its - began).norm()
    assert all(p._version > was for p, was in zip(net.parameters(), versions, strict=True))
    kept = [its for its in checkpoint.flat(mine.moments).values() if its.numel() not in (1, 256)]  # no step, no qmap
    assert sum(its.nbytes for its in kept) == mine.size == moments_size(net.parameters(), eight_bit=True)
    assert mine.size < 0.28 * theirs.size


@pytest.mark.usefixtures("extra")
def test_nothing_changes_from_the_first_step_on_that_is_not_finite() -> None:
    net = network()
    its, kept = optimizer(net), []
    for spoiled in (False, True, False):
        step(net, its, spoiled)
        kept.append(copy.deepcopy([values(net), its.moments]))
    torch.testing.assert_close(kept[2], kept[0], rtol=0, atol=0)


@pytest.mark.usefixtures("extra")
def test_its_state_comes_back_from_a_file_to_the_bit(tmp_path: Path) -> None:
    net = network()
    its = optimizer(net)
    for _ in range(3):
        step(net, its)
    save_tensors(tmp_path / "state", checkpoint.flat(its.moments))
    other = copy.deepcopy(net)
    again = optimizer(other)
    again.load(checkpoint.nested(load_file(tmp_path / "state")), {})
    for _ in range(3):
        step(net, its)
        step(other, again)
    torch.testing.assert_close([values(other), again.moments], [values(net), its.moments], rtol=0, atol=0)


@pytest.mark.usefixtures("extra")
def test_a_resumed_run_leaves_the_bytes_of_an_uninterrupted_one(tmp_path: Path) -> None:
    assert resumed_otherwise("stable diffusion", {"use_8bit_adam": True, "use_ema": True}, 3, tmp_path, every=2) == []
    state = load_file(tmp_path / "whole" / "checkpoints" / "checkpoint-3" / "optimizer.safetensors")
    assert {its.dtype for name, its in state.items() if "state1" in name} == {torch.uint8, torch.float32}


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"use_8bit_adam": True}, r"use_8bit_adam: bitsandbytes is not installed: pip install 'dreambooth\[bnb\]'\."),
        ({"memory": "48", "mixed_precision": "no"}, r"\[bnb\]'; --memory 48 may have chosen it\."),
        ({"method": "lora", "base_bits": "4"}, r"base_bits: bitsandbytes is not installed"),
    ],
)
def test_without_the_extra_it_is_refused(settings: dict[str, Any], named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=named):
        check_machine(Config.build(settings))
