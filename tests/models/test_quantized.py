"""Frozen weights in 8 or 4 bits, where bitsandbytes is installed: a LoRA trains on them and fits the plain base."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dreambooth import adapters, models
from dreambooth.config import Base, Config
from dreambooth.errors import ConfigError
from dreambooth.models.quantized import Bits, Quantized, dequantize, quantize
from dreambooth.plan.costs import without_values
from families import FAMILIES
from tiny import tiny_pipeline
from trained import train

BITS: list[Bits] = ["8", "4"]
ERROR = {"8": 0.02, "4": 0.12}
"""Of the norm of normal weights, at most: NF4's is 9 %."""
SIZE = {"8": 1 + 4 / 256, "4": 1 / 2 + 4 / 64}
"""Bytes a weight, its share of its block's scale included."""


@pytest.fixture(autouse=True)
def extra() -> None:
    pytest.importorskip("bitsandbytes")


@pytest.mark.parametrize("bits", BITS)
def test_a_layer_keeps_its_weights_in_few_bits_and_its_gradient(bits: Bits) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(128, 96).requires_grad_(False)
    net = nn.Sequential(copy.deepcopy(layer))
    quantize(net, bits)
    its: Any = net[0]
    assert (its.weight - layer.weight).norm() < ERROR[bits] * layer.weight.norm()
    assert its.held.nbytes + its.scale.nbytes == SIZE[bits] * layer.weight.numel() and not list(its.parameters())[1:]
    x = torch.randn(2, 3, 128, requires_grad=True)
    net(x).square().sum().backward()
    again = x.detach().clone().requires_grad_()
    dequantize(net)
    plain: Any = net[0]
    assert type(plain) is nn.Linear and torch.equal(plain.weight, its.weight)
    plain(again).square().sum().backward()
    torch.testing.assert_close(x.grad, again.grad)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    tiny_pipeline().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("bits", BITS)
def test_a_lora_trains_on_frozen_bits_and_fits_the_plain_base(bits: Bits, base: Path, tmp_path: Path) -> None:
    its: dict[str, Any] = {"model": str(base), "method": "lora", "base_bits": bits, "train_text_encoder": False}
    config = Config.build({**its, "max_train_steps": 40, "learning_rate": 3e-2, "rank": 8})
    model: Any = models.load(config.base)
    plain, meta = models.load(Base(model=str(base))), without_values(model)
    assert meta.weights.parts["denoiser"].state_dict().keys() == model.weights.parts["denoiser"].state_dict().keys()
    assert model.fingerprint() != plain.fingerprint()
    held = {name: buffer.clone() for name, buffer in model.pipeline.unet.named_buffers()}
    layers = [layer for layer in model.pipeline.unet.modules() if isinstance(layer, Quantized)]
    assert len(layers) > 10 and not any(isinstance(layer, Quantized) for layer in model.pipeline.vae.modules())
    adapter = train(FAMILIES["stable diffusion"], model, config, tmp_path / "run")
    after = {name.replace("base_layer.", ""): buffer for name, buffer in adapter.modules()["denoiser"].named_buffers()}
    assert all(torch.equal(after[f"model.{name}"], buffer) for name, buffer in held.items())
    lines = [json.loads(line)["loss"] for line in (tmp_path / "run" / "losses.jsonl").read_text().splitlines()]
    assert sum(lines[-10:]) < 0.97 * sum(lines[:10])
    adapter.export(tmp_path / "lora")
    adapter.merge()
    model.save(tmp_path / "model")
    theirs = tiny_pipeline()
    theirs.load_lora_weights(str(tmp_path / "lora"))
    theirs.fuse_lora()
    theirs.unload_lora_weights()
    merged, fused, before = (its.state_dict() for its in (model.pipeline.unet, theirs.unet, tiny_pipeline().unet))
    names = [name for name in merged if name.endswith("to_q.weight")]
    for name in names:  # both moved by the same addition, from weights that differ by their rounding alone
        assert (merged[name] - fused[name]).norm() < ERROR[bits] * before[name].norm()
        assert (fused[name] - before[name]).norm() > 0.2 * before[name].norm()
    assert type(models.load(Base(model=str(tmp_path / "model")))) is type(plain)


@pytest.mark.parametrize("kind", [{"lora_type": "dora"}, {"lora_type": "oft"}, {"method": "pivotal"}], ids=str)
def test_the_other_additions_train_on_them_too(kind: dict[str, Any], base: Path, tmp_path: Path) -> None:
    its = {"model": str(base), "method": "lora", "base_bits": "4", "max_train_steps": 2, "learning_rate": 1e-2, **kind}
    config = Config.build(its)
    model: Any = models.load(config.base)
    before = model.pipeline.unet.mid_block.attentions[0].transformer_blocks[0].attn1.to_q.weight
    adapter = train(FAMILIES["stable diffusion"], model, config, tmp_path / "run")
    adapter.merge()
    model.save(tmp_path / "model")
    after = model.pipeline.unet.mid_block.attentions[0].transformer_blocks[0].attn1.to_q.weight
    assert 1e-4 < (after - before).norm() < before.norm()


def test_a_cascade_in_few_bits_trains_one_stage() -> None:
    its: dict[str, Any] = {"model": "toybox-cascade", "method": "lora", "base_bits": "8"}
    model = models.load(Config.build({**its, "base_bits": None}).base)
    with pytest.raises(ConfigError, match="base_bits: is for one stage"):
        adapters.check(model, Config.build(its))
    adapters.check(model, Config.build({**its, "stages": ("base",)}))


def test_all_weights_cannot_train_in_few_bits() -> None:
    with pytest.raises(ConfigError, match="base_bits: '4' means nothing to method dreambooth"):
        Config.build({"base_bits": "4"})
