"""A LoRA that is merged into weights in bfloat16 does what it did beside them, however small it is."""

from typing import Any

import pytest
import torch
from torch import Tensor

from dreambooth.adapters.merging import rounded
from dreambooth.config import Config
from dreambooth.models.base import DENOISER
from dreambooth.subject import Subject
from dreambooth.support.rng import normal
from tiny import attached, tiny_model

SUBJECT = Subject(photos=(), class_noun="dog", identifier="sks")


def test_rounding_is_right_on_the_mean_and_leaves_what_is_exact() -> None:
    value = 1 + 2**-10  # an eighth of the way from 1 to the next number of bfloat16, 1 + 2**-7
    drawn = rounded(torch.full((20_000,), value), "test").float()
    assert set(drawn.tolist()) == {1.0, 1 + 2**-7}
    deviation = 2**-7 * (1 / 8 * 7 / 8 / 20_000) ** 0.5
    assert abs(drawn.mean() - value) < 4 * deviation
    exact = torch.tensor([0.0, -0.0, 1.0, -1.5, 2.0**-126, float("inf"), -float("inf")])
    assert torch.equal(rounded(exact, "test").float(), exact)
    every_bit = torch.full((100,), -1, dtype=torch.int32).view(torch.float32)  # NaN, and would overflow as a number
    assert rounded(every_bit, "test").isnan().all()
    either = rounded(torch.full((20_000,), -value), "test").float()
    assert set(either.tolist()) == {-1.0, -1 - 2**-7} and abs(either.mean() + value) < 4 * deviation


def small_changes(dtype: torch.dtype, **settings: Any) -> dict[str, Tensor]:
    """What of each weight changes when an addition is merged that moves most by less than half of their last digit."""
    model = tiny_model()
    model.weights.round_to(torch.bfloat16)  # the same values in both precisions
    model.weights.round_to(dtype)
    denoiser = model.stages[0].parts[DENOISER]
    before = {name: tensor.float().clone() for name, tensor in denoiser.state_dict().items()}
    given: dict[str, Any] = {"model": "tiny", "method": "lora", "rank": 4, "train_text_encoder": False, **settings}
    adapter = attached(model, SUBJECT, Config.build(given))
    tensors = adapter.state().items()
    adapter.load({name: t if "magnitude" in name else t + 2e-4 * normal(t.shape, name) for name, t in tensors})
    adapter.merge()
    after = denoiser.state_dict()
    assert all(tensor.dtype == dtype for tensor in after.values())
    return {name: after[name].float() - old for name, old in before.items() if not torch.equal(after[name], old)}


@pytest.mark.parametrize("kind", ["lora", "dora", "oft"])
def test_a_small_addition_is_in_the_merged_weights(kind: str) -> None:
    exact = small_changes(torch.float32, lora_type=kind)
    found, again = (small_changes(torch.bfloat16, lora_type=kind) for _ in range(2))
    assert exact.keys() == found.keys() and all(torch.equal(found[name], again[name]) for name in found)
    shares = [float((found[name] * change).sum() / change.square().sum()) for name, change in exact.items()]
    assert len(shares) > 10 and abs(sum(shares) / len(shares) - 1) < 0.15  # rounded to the nearest, a LoRA leaves .2
