"""A recorded step trains as the step itself does, and draws anew each time. On a GPU alone: nothing else records."""

import pytest
import torch
from torch import Tensor, nn

from pretraining.recorded import Recorded
from pretraining.state import Trained

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="wants a GPU with CUDA")


def trained_for(steps: int, recorded: bool) -> tuple[Trained, list[float]]:
    """A small net after some steps at falling rates, on batches and noise of their own; and its losses."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 36, 9)).cuda()
    trained = Trained({"net": net}, 1e-3, decay=0.9, muon_rate=1e-2)

    def descend(x: Tensor) -> Tensor:
        loss: Tensor = net(x + torch.randn_like(x)).square().mean()
        trained.descend(loss)
        return loss.detach()

    step, losses = Recorded(descend) if recorded else descend, []
    for number in range(steps):
        torch.manual_seed(number)
        trained.set_rates(1 - number / steps)
        losses.append(float(step(torch.randn(4, 3, 8, 8, device="cuda"))))
    return trained, losses


def test_a_recorded_step_is_the_step() -> None:
    (plain, before), (recorded, after) = trained_for(8, False), trained_for(8, True)
    assert len(set(after)) == 8
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-6)
    for name, average in plain.average.items():
        torch.testing.assert_close(recorded.average[name], average, rtol=1e-3, atol=1e-5)
