"""The optimizer against torch's own AdamW and clipping; what is not finite never passes it."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dreambooth.support.optimizer import Optimizer, lr_factor

INFINITE, NOT_A_NUMBER = float("inf"), float("nan")


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))


BETAS, EPS, DECAY, MOST = (0.9, 0.999), 1e-8, 0.01, 1.0


def optimizer(net: nn.Module, scaler: Any = None) -> Optimizer:
    groups = [{"params": list(net.parameters()), "lr": 1e-2}]
    return Optimizer(groups, betas=BETAS, eps=EPS, weight_decay=DECAY, max_grad_norm=MOST, scaler=scaler)


def loss_of(net: nn.Module, step: int, scale: float) -> Tensor:
    generator = torch.Generator().manual_seed(step)
    loss: Tensor = scale * net(torch.randn(4, 5, generator=generator)).square().mean()
    return loss


def values(net: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in net.parameters()]


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4], ids="clipped {}".format)
def test_it_is_torchs_adamw_on_clipped_gradients(scale: float) -> None:
    net, its = network(), network()
    mine = optimizer(net)
    theirs = torch.optim.AdamW(its.parameters(), betas=BETAS, eps=EPS, weight_decay=DECAY)
    for step in range(8):
        loss = loss_of(net, step, scale)
        loss.backward()
        norm = mine.norm()
        factor = lr_factor(step, "cosine", warmup=2, total=8)
        rate = mine.step(factor, loss, norm)
        loss_of(its, step, scale).backward()
        its_norm = nn.utils.clip_grad_norm_(its.parameters(), MOST)
        theirs.param_groups[0]["lr"] = rate
        theirs.step()
        theirs.zero_grad()
        torch.testing.assert_close(norm, its_norm)
        assert rate == pytest.approx(1e-2 * factor)
    torch.testing.assert_close(values(net), values(its), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("scaled", [False, True], ids=["plain", "scaled, as of fp16"])
def test_the_pull_to_the_start_is_the_gradient_of_the_squared_distance(scaled: bool) -> None:
    net, its = network(), network()
    scaler = torch.amp.GradScaler("cpu", enabled=scaled)
    start, groups = values(its), [{"params": list(net.parameters()), "lr": 1e-2}]
    settings: Any = {"betas": BETAS, "eps": EPS, "weight_decay": DECAY, "max_grad_norm": MOST}
    mine = Optimizer(groups, **settings, scaler=scaler if scaled else None, l2_to_start=0.3)
    theirs = torch.optim.AdamW(its.parameters(), lr=1e-2, betas=BETAS, eps=EPS, weight_decay=DECAY)
    for step in range(8):
        loss = loss_of(net, step, 1.0)
        scaler.scale(loss).backward()
        mine.step(1.0, loss, mine.norm())
        squares = [(now - before).square().sum() for now, before in zip(its.parameters(), start, strict=True)]
        (loss_of(its, step, 1.0) + 0.3 * torch.stack(squares).sum()).backward()
        nn.utils.clip_grad_norm_(its.parameters(), MOST)
        theirs.step()
        theirs.zero_grad()
    torch.testing.assert_close(values(net), values(its), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("spoiled", ["loss", "gradient"])
def test_nothing_changes_from_the_first_step_on_that_is_not_finite(
    spoiled: str, fused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not fused:
        monkeypatch.setattr("dreambooth.support.optimizer.FUSED", ())
    net = network()
    its = optimizer(net)
    averages = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    kept: list[Any] = []
    for step in range(4):
        loss = loss_of(net, step, 1.0)
        loss.backward()
        if step == 2 and spoiled == "gradient":
            next(net.parameters()).grad[0, 0] = INFINITE  # type: ignore[index]
        said = torch.tensor(NOT_A_NUMBER) if step == 2 and spoiled == "loss" else loss.detach()
        its.step(1.0, said, its.norm())
        its.average(averages, net.state_dict(), 0.5)
        kept.append(copy.deepcopy([values(net), averages, its.adamw.state_dict()["state"]]))
    torch.testing.assert_close(kept[3], kept[1], rtol=0, atol=0)
    assert not torch.equal(kept[1][0][0], kept[0][0][0])


def test_the_average_is_the_recurrence() -> None:
    net = network()
    its, averages = optimizer(net), {"weight": torch.zeros(2, 2)}
    its.average(averages, {"weight": torch.ones(2, 2)}, 0.9)
    its.average(averages, {"weight": torch.ones(2, 2)}, 0.9)
    torch.testing.assert_close(averages["weight"], torch.full((2, 2), 1 - 0.9**2))


def test_a_scale_that_is_too_large_is_halved_and_the_step_made_again() -> None:
    net, its = network(), network()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    mine, plain = optimizer(net, scaler), optimizer(its)
    tries = 0
    while True:
        loss = loss_of(net, 0, 1e4)
        scaler.scale(loss).backward()
        norm = mine.norm()
        tries += 1
        if not mine.overflowed(loss, norm):
            break
    assert tries > 1 and scaler.get_scale() == 2.0 ** (128 - tries)
    mine.step(1.0, loss, norm)
    loss = loss_of(its, 0, 1e4)
    loss.backward()
    plain.step(1.0, loss, plain.norm())
    torch.testing.assert_close(values(net), values(its), rtol=1e-5, atol=1e-7)


def test_no_scale_helps_a_loss_that_is_not_finite() -> None:
    net = network()
    scaler = torch.amp.GradScaler("cpu")
    its, before = optimizer(net, scaler), values(net)
    scaler.scale(loss_of(net, 0, NOT_A_NUMBER)).backward()
    norm, loss = its.norm(), torch.tensor(NOT_A_NUMBER)
    assert not its.overflowed(loss, norm)
    its.step(1.0, loss, norm)
    torch.testing.assert_close(values(net), before, rtol=0, atol=0)


def test_the_learning_rate_is_a_function_of_the_step() -> None:
    def rates(lr_scheduler: str) -> list[float]:
        return [round(lr_factor(step, lr_scheduler, warmup=4, total=8), 4) for step in range(8)]

    assert rates("constant") == [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]
    assert rates("linear") == [0.25, 0.5, 0.75, 1, 1, 0.75, 0.5, 0.25]
    assert rates("cosine") == [0.25, 0.5, 0.75, 1, 1, 0.8536, 0.5, 0.1464]


def test_a_step_counts_as_a_change_of_every_weight() -> None:
    """By autograd's version counters models.weights knows that a saved model's fingerprint is no longer true."""
    net = network()
    before = [parameter._version for parameter in net.parameters()]
    its, loss = optimizer(net), loss_of(net, 0, 1.0)
    loss.backward()
    its.step(1.0, loss, its.norm())
    assert all(parameter._version > was for parameter, was in zip(net.parameters(), before, strict=True))
