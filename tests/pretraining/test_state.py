"""Muon makes matrices orthogonal, and a training that was saved goes on to the bit."""

from pathlib import Path

import torch
from torch import Tensor, nn

from pretraining.muon import is_matrix, orthogonal
from pretraining.state import Trained


def test_singular_values_come_near_one() -> None:
    for shape in ((16, 48), (48, 16), (32, 32)):
        values = torch.linalg.svdvals(orthogonal(torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))))
        assert values.min() > 0.3 and values.max() < 1.3


def test_embeddings_and_thin_layers_are_not_for_muon() -> None:
    assert is_matrix("conv.weight", torch.zeros(16, 8, 3, 3))
    assert not is_matrix("token_embedding.weight", torch.zeros(100, 16))
    assert not is_matrix("norm.weight", torch.zeros(16)) and not is_matrix("out.weight", torch.zeros(3, 16))


def fresh() -> Trained:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 36, 9))
    return Trained({"net": net}, 1e-3, decay=0.9, muon_rate=1e-2)


def loss_of(trained: Trained) -> Tensor:
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(trained.step))
    value: Tensor = trained.modules["net"](x).square().mean()
    return value


def test_a_saved_training_goes_on_to_the_bit(tmp_path: Path) -> None:
    whole, first, second = fresh(), fresh(), fresh()
    for _ in range(6):
        whole.update(loss_of(whole), 0.5)
    for _ in range(3):
        first.update(loss_of(first), 0.5)
    first.save(tmp_path / "state.safetensors")
    second.load(tmp_path / "state.safetensors")
    for _ in range(3):
        second.update(loss_of(second), 0.5)
    assert second.step == 6
    for name, parameter in whole.parameters.items():
        assert torch.equal(parameter, second.parameters[name])
        assert torch.equal(whole.average[name], second.average[name])


def test_the_running_statistics_of_batch_norms_are_saved_with_it(tmp_path: Path) -> None:
    def normed() -> Trained:
        torch.manual_seed(0)
        return Trained({"net": nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))}, 1e-3, decay=0.9)

    first, second = normed(), normed()
    first.update(loss_of(first), 0.5)
    first.save(tmp_path / "state.safetensors")
    second.load(tmp_path / "state.safetensors", weights_only=True)
    for name, values in first.buffers.items():
        assert torch.equal(values, second.buffers[name])
    assert second.modules["net"][1].running_mean.abs().sum() > 0  # type: ignore[index]
