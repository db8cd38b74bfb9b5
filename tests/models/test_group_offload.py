"""Blocks that stay in the CPU's memory: what they compute, what trains on them, and what a device need not hold.

There is one device here. The weights that stay are therefore spoiled, and their copies are true: whatever is computed
by those that stay, forward or backward, is NaN.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from weakref import WeakSet

import pytest
import torch
from torch import Tensor

from dreambooth import models
from dreambooth.config import Base, Config
from dreambooth.config.machine import check_machine
from dreambooth.config.savings import of_memory
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


def offloaded(family: Family) -> Any:
    model = family.model()
    model.weights.offload_blocks(model.weights.parts.keys() - {"vae"})
    return model


def kept(model: DiffusionModel) -> list[list[Tensor]]:
    """What stays in the CPU's memory, by block."""
    parts = [part for name, part in model.weights.parts.items() if name != "vae"]
    return [block for part in parts for block in group_offload.frozen_by_block(part)]


def sizes(model: DiffusionModel) -> list[int]:
    return [sum(tensor.nbytes for tensor in block) for block in kept(model)]


@torch.no_grad()
def spoil(model: DiffusionModel, monkeypatch: pytest.MonkeyPatch) -> int:
    """Have what stays be NaN, but for its copies; how many tensors that are."""
    true = dict[int, Tensor]()
    for tensor in (tensor for block in kept(model) for tensor in block):
        true[id(tensor)] = tensor.clone()
        tensor.fill_(torch.nan if tensor.is_floating_point() else -1)
    monkeypatch.setattr(group_offload, "onto", lambda tensor, device: true[id(tensor)])
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
    yield loss.detach()
    loss.backward()
    yield from (parameter.grad for group in adapter.parameter_groups() for parameter in group["params"])


def test_loss_and_gradients_are_those_of_weights_that_are_there(
    family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = list(gradients(family, family.model()))
    model = offloaded(family)
    assert spoil(model, monkeypatch) > 20
    found = list(gradients(family, model))
    assert len(found) == len(plain) > 3
    assert all(torch.equal(mine, its) for mine, its in zip(found, plain, strict=True))


def test_no_copy_outlives_its_block(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    model, copies, most = offloaded(family), WeakSet[Tensor](), 0

    def onto(tensor: Tensor, device: torch.device) -> Tensor:
        nonlocal most
        copies.add(copy := tensor.clone())
        most = max(most, sum(its.nbytes for its in copies))
        return copy

    monkeypatch.setattr(group_offload, "onto", onto)
    steps = gradients(family, model)
    next(steps)
    assert not copies  # the backward pass is to come
    next(steps)
    assert not copies and most <= max(sizes(model))


def test_pictures_are_those_of_weights_that_are_there(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = ["a dog", "a sks dog in the snow"]
    plain = family.model().generate(prompts, [1, 2], family.sampling)
    model = offloaded(family)
    spoil(model, monkeypatch)
    assert (model.generate(prompts, [1, 2], family.sampling) == plain).all()


def test_a_lora_learns_and_is_merged_as_on_weights_that_are_there(tmp_path: Path) -> None:
    family, left = FAMILIES["flux"], []
    for name, model in {"plain": family.model(), "offloaded": offloaded(family)}.items():
        before = model.fingerprint()
        adapter = train(family, model, configured(family, max_train_steps=3, learning_rate=1e-2), tmp_path / name)
        checkpoint = Run(tmp_path / name).checkpoints / "checkpoint-3" / "weights.safetensors"
        adapter.merge()
        model.save(tmp_path / f"{name}-model")
        weights = tmp_path / f"{name}-model" / "transformer" / "diffusion_pytorch_model.safetensors"
        left.append((before, sha256(checkpoint), sha256(weights), model.fingerprint()))
    assert left[0] == left[1] and left[0][0] != left[0][3]
    assert models.load(Base(model=str(tmp_path / "offloaded-model"))).fingerprint() == left[0][3]


def test_the_plan_has_one_block_on_the_device_and_the_whole_model_on_the_disk() -> None:
    family = FAMILIES["flux"]
    plain, asked = configured(family), configured(family, group_offload=True)
    usual, its = Costs.of(family.model(), plain), Costs.of(offloaded(family), asked)
    each = sizes(offloaded(family))
    assert len(each) > 3 and its.kept_on_cpu == sum(each) - max(each)
    assert usual.training - its.training == usual.drawing(1, True) - its.drawing(1, True) == its.kept_on_cpu
    assert replace(its, kept_on_cpu=0) == usual
    assert Costs.of(family.model(), asked) == its  # as the plan asks of a model that is not opened so
    assert "--group-offload" in [saving.flag.partition(" --")[0] for saving in of_memory(flux(), True, False)]


def flux() -> Config:
    return Config.build({"model": "black-forest-labs/FLUX.1-dev"})


def test_it_is_asked_for_only_where_it_helps(tmp_path: Path) -> None:
    for settings, reason in (
        ({"method": "dreambooth"}, "group_offload: True means nothing to method dreambooth"),
        ({"method": "pivotal"}, "group_offload: True means nothing to method pivotal"),
        ({"gradient_checkpointing": False}, "wants gradient_checkpointing too"),
        ({"base_bits": "4"}, "cannot be combined with base_bits"),
    ):
        with pytest.raises(ConfigError, match=reason):
            Config.build({"method": "lora", "gradient_checkpointing": True, "group_offload": True, **settings})
    with pytest.raises(ConfigError, match="group_offload: spares the memory of a GPU with CUDA"):
        check_machine(configured(FAMILIES["flux"], group_offload=True))
    FAMILIES["stable diffusion"].model().save(tmp_path / "sd")
    (tmp_path / "sd" / "unet" / "diffusion_pytorch_model.safetensors").unlink()  # so early that none is looked for
    with pytest.raises(ConfigError, match=r"group_offload: .*sd is a U-Net.*in its place"):
        models.load(Base(model=str(tmp_path / "sd"), group_offload=True))
