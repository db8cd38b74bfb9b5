"""Blocks that wait in the CPU's memory: what they compute, what trains on them, and what a device need not hold.

There is one device here. The weights that wait are therefore spoiled, and their copies are true: whatever is computed
by the waiting ones, forward or backward, is NaN.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from weakref import WeakSet

import pytest
import torch
from torch import Tensor

from dreambooth import models
from dreambooth.config import Base, Config
from dreambooth.config.machine import check_machine
from dreambooth.errors import ConfigError
from dreambooth.finetuning import training_step
from dreambooth.models import group_offload
from dreambooth.models.base import DiffusionModel
from dreambooth.plan.costs import Costs
from dreambooth.run import Run
from dreambooth.support.files import sha256
from families import FAMILIES, FLOWS, SUBJECT, Family
from tiny import attached
from trained import train


@pytest.fixture(params=FLOWS)
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


def configured(family: Family, **more: Any) -> Config:
    return Config.build({"model": "tiny", **family.settings, "method": "lora", "gradient_checkpointing": True, **more})


def read_by(model: DiffusionModel) -> set[str]:
    return model.weights.parts.keys() - {"vae"}


@torch.no_grad()
def spoil(model: DiffusionModel, monkeypatch: pytest.MonkeyPatch) -> int:
    """Have what waits be NaN, but for its copies; how many tensors that are."""
    true = dict[int, Tensor]()
    for part in read_by(model):
        for tensor in (tensor for block in group_offload.waiting(model.weights.parts[part]) for tensor in block):
            true[id(tensor)] = tensor.clone()
            tensor.fill_(torch.nan if tensor.is_floating_point() else -1)
    monkeypatch.setattr(group_offload, "bring", lambda tensor, device: true[id(tensor)])
    return len(true)


def gradients(family: Family, model: Any) -> Iterator[Tensor]:
    (stage,) = model.stages
    adapter = attached(model, SUBJECT, configured(family, rank=2))
    for group in adapter.parameter_groups():
        for number, parameter in enumerate(group["params"]):  # a new LoRA adds nothing, and half of it learns nothing
            torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(number))
    stage.parts["denoiser"].enable_gradient_checkpointing()
    batch = family.encoded().batch(seed=0, number=0, subject_rows=1, prior_rows=1)
    with torch.no_grad():
        words = stage.condition(batch.prompts)
    loss = training_step(stage, stage.process, batch, words, 1.0, 0)[0]
    loss.backward()
    yield loss.detach()
    yield from (parameter.grad for group in adapter.parameter_groups() for parameter in group["params"])


def test_loss_and_gradients_are_those_of_weights_that_are_there(
    family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = list(gradients(family, family.model()))
    model = family.model()
    model.weights.offload_blocks(read_by(model))
    assert spoil(model, monkeypatch) > 20
    found = list(gradients(family, model))
    assert len(found) == len(plain) > 3
    assert all(torch.equal(mine, its) for mine, its in zip(found, plain, strict=True))


def test_no_copy_outlives_its_block(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    model, copies, most = family.model(), WeakSet[Tensor](), 0

    def bring(tensor: Tensor, device: torch.device) -> Tensor:
        nonlocal most
        copies.add(copy := tensor.clone())
        most = max(most, sum(its.nbytes for its in copies))
        return copy

    model.weights.offload_blocks(read_by(model))
    monkeypatch.setattr(group_offload, "bring", bring)
    sizes = [
        sum(tensor.nbytes for tensor in block)
        for part in read_by(model)
        for block in group_offload.waiting(model.weights.parts[part])
    ]
    assert next(gradients(family, model)) and not copies
    assert max(sizes) <= most <= 2 * max(sizes) < sum(sizes)


def test_pictures_are_those_of_weights_that_are_there(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    model = family.model()
    plain = model.generate(["a dog", "a sks dog in the snow"], [1, 2], family.sampling)
    model.weights.offload_blocks(read_by(model))
    spoil(model, monkeypatch)
    assert (model.generate(["a dog", "a sks dog in the snow"], [1, 2], family.sampling) == plain).all()


def test_a_lora_learns_and_is_merged_as_on_weights_that_are_there(tmp_path: Path) -> None:
    family, left = FAMILIES["flux"], []
    for name in ("plain", "waits"):
        model = family.model()
        if name == "waits":
            model.weights.offload_blocks(read_by(model))
        before = model.fingerprint()
        adapter = train(family, model, configured(family, max_train_steps=3, learning_rate=1e-2), tmp_path / name)
        checkpoint = Run(tmp_path / name).checkpoints / "checkpoint-3" / "weights.safetensors"
        adapter.merge()
        model.save(tmp_path / f"{name}-model")
        weights = tmp_path / f"{name}-model" / "transformer" / "diffusion_pytorch_model.safetensors"
        left.append((before, sha256(checkpoint), sha256(weights), model.fingerprint()))
    assert left[0] == left[1] and left[0][0] != left[0][3]
    assert models.load(Base(model=str(tmp_path / "waits-model"))).fingerprint() == left[0][3]


def test_the_plan_has_one_block_on_the_device() -> None:
    family = FAMILIES["flux"]
    plain = Costs.of(family.model(), configured(family))
    model = family.model()
    model.weights.offload_blocks(read_by(model))
    waits = Costs.of(model, configured(family, group_offload=True))
    sizes = [
        sum(tensor.nbytes for tensor in block)
        for part in read_by(model)
        for block in group_offload.waiting(model.weights.parts[part])
    ]
    assert len(sizes) > 3 and plain.weights - waits.weights == sum(sizes) - max(sizes)
    assert (waits.step, waits.step_peak, waits.trained) == (plain.step, plain.step_peak, plain.trained)


def test_it_is_asked_for_only_where_it_helps(tmp_path: Path) -> None:
    for settings, reason in (
        ({"method": "dreambooth"}, "group_offload: True means nothing to method dreambooth"),
        ({"gradient_checkpointing": False}, "wants gradient_checkpointing too"),
        ({"base_bits": "4"}, "leave out base_bits"),
    ):
        with pytest.raises(ConfigError, match=reason):
            Config.build({"method": "lora", "gradient_checkpointing": True, "group_offload": True, **settings})
    with pytest.raises(ConfigError, match="group_offload: spares the memory of a GPU with CUDA"):
        check_machine(configured(FAMILIES["flux"], group_offload=True))
    FAMILIES["stable diffusion"].model().save(tmp_path / "sd")
    with pytest.raises(ConfigError, match=r"group_offload: the denoiser of .* is a U-Net"):
        models.load(Base(model=str(tmp_path / "sd"), group_offload=True))
