"""counting.py: closed forms of arithmetic and memory, and equality with what a real step is counted as."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from dreambooth import models
from dreambooth.config import Config
from dreambooth.finetuning import training_step
from dreambooth.generation.requests import sampling_of
from dreambooth.plan.costs import DECODED, STAND_IN, Costs, without_values, zeros
from dreambooth.plan.counting import META, as_computed, checkpointing, cost
from dreambooth.plan.estimate import Estimate
from dreambooth.plan.work import Work
from families import FAMILIES
from tiny import attached, tiny_model


def empty(*shape: int, trains: bool = False) -> Tensor:
    return torch.empty(shape, device=META, requires_grad=trains)


def test_a_product_of_matrices_is_two_for_each_triple_and_holds_its_result() -> None:
    a, b = empty(5, 7), empty(7, 11)
    its = cost(lambda: a @ b, lambda: [a, b])
    assert (its.flop, its.peak) == (2 * 5 * 7 * 11, 4 * 5 * 11)


def test_memory_that_is_given_back_is_held_once() -> None:
    a = empty(1000)

    def compute() -> Tensor:
        out = a
        for _ in range(10):
            out = out + 1
        return out

    assert cost(compute, lambda: [a]).peak == 2 * 4 * 1000


def test_a_view_of_what_was_there_before_holds_nothing() -> None:
    a = empty(10, 20)
    assert cost(lambda: a.t().reshape(20, 2, 5)[:3].detach(), lambda: [a]).peak == 0


def test_backward_is_counted_too() -> None:
    """Gradients of both factors: twice the arithmetic of the product."""
    a, b = empty(5, 7, trains=True), empty(7, 11, trains=True)
    assert cost(lambda: (a @ b).sum().backward(), lambda: [a, b]).flop == 3 * 2 * 5 * 7 * 11


def test_attention_keeps_no_matrix_of_all_pairs() -> None:
    q = empty(1, 2, 4096, 8, trains=True)

    def attend() -> None:
        F.scaled_dot_product_attention(q, q, q).sum().backward()

    assert cost(as_computed(attend, None)).peak < 4 * 4096**2 / 10


def test_low_precision_halves_what_a_layer_keeps_and_norms_stay_in_float32() -> None:
    layer, norm = nn.Linear(64, 64, bias=False, device=META), nn.LayerNorm(64, device=META)
    x = empty(1000, 64)
    low, full = (as_computed(layer, dtype)(x) for dtype in (torch.bfloat16, None))
    assert (low.dtype, full.dtype) == (torch.bfloat16, torch.float32)
    assert as_computed(norm, torch.bfloat16)(low).dtype == torch.float32


@pytest.mark.parametrize("low", [None, torch.bfloat16])
def test_a_checkpoint_computes_again_and_keeps_less(low: torch.dtype | None) -> None:
    blocks = nn.ModuleList(nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 64)) for _ in range(8)).to(META)
    x = empty(500, 64, trains=True)

    def plain() -> None:
        out = x
        for block in blocks:
            out = as_computed(block, low)(out)
        out.sum().backward()

    def sparing() -> None:
        out = x
        for block in blocks:
            out = checkpointing(low)(block, out)
        out.sum().backward()

    whole, less = (cost(compute, lambda: [x, *blocks.parameters()]) for compute in (plain, sparing))
    assert less.flop == pytest.approx(whole.flop * 7 / 6) and less.peak < 0.7 * whole.peak


def test_the_arithmetic_of_a_step_is_what_a_real_step_is_counted_as() -> None:
    model = tiny_model()
    config = Config.build({"model": "tiny", "train_batch_size": 2})
    costs = Costs.of(model, config)
    adapter = attached(model, STAND_IN, config)
    (stage,) = model.stages
    batch = zeros(torch.zeros(1, 4, 16, 16), 2, 2, 32)
    with FlopCounterMode(display=False) as counter:
        loss, _ = training_step(stage, stage.process, batch, stage.condition(batch.prompts), 1.0, 0, 0)
        loss.backward()
    assert sum(costs.steps) == pytest.approx(counter.get_total_flops(), rel=0.02)
    (trained,) = costs.trained
    assert trained == sum(p.nbytes for group in adapter.parameter_groups() for p in group["params"])
    assert costs.state == 2 * trained and costs.saved == (3 * trained,)


@pytest.mark.parametrize("method", ["lora", "textual_inversion", "pivotal"])
def test_a_model_is_as_it_was_after_its_costs_were_counted(method: str) -> None:
    model = tiny_model()
    before, words = model.fingerprint(), len(model.tokenizers["text_encoder"])
    whole = Costs.of(model, Config.build({"model": "tiny"}))
    costs = Costs.of(model, Config.build({"model": "tiny", "method": method}))
    assert sum(costs.trained) < sum(whole.trained) / 5 and costs.training < whole.training
    assert (model.fingerprint(), len(model.tokenizers["text_encoder"])) == (before, words)
    assert next(without_values(model).weights.parts["denoiser"].parameters()).device == META


@pytest.mark.parametrize("method", ["dreambooth", "lora"])
@pytest.mark.parametrize("name", FAMILIES)
def test_the_costs_of_every_family_can_be_counted(name: str, method: str) -> None:
    model = FAMILIES[name].model()
    settings = {"method": method, "gradient_checkpointing": True, "train_text_encoder": False}  # some never train
    costs = Costs.of(model, Config.build({"model": "tiny", **settings}))
    assert all(costs.evaluations) and sum(costs.steps) > 2 * sum(costs.evaluations) and costs.draw_peak > 0
    assert all(costs.trained) and sum(costs.trained) <= costs.weights


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("name", FAMILIES)
def test_as_many_forward_passes_are_counted_as_a_picture_takes(name: str, guidance: float) -> None:
    """Guidance doubles them, but where the denoiser is given it as a number."""
    model, rows = FAMILIES[name].model(), list[int]()
    sampling = replace(FAMILIES[name].sampling, num_inference_steps=3, guidance_scale=guidance)

    def count(module: nn.Module, args: Any, named: Any) -> None:
        rows.append(len((*args, named.get("hidden_states"), named.get("x"), named.get("sample"))[0]))

    for stage in model.stages:
        stage.parts["denoiser"].register_forward_pre_hook(count, with_kwargs=True)
    model.generate(["a dog"], [0], sampling)
    assert sum(rows) == sum(stage.looks(sampling) for stage in model.stages)


def test_each_stage_of_a_cascade_is_counted_as_often_as_it_works() -> None:
    config = Config.build(model="toybox-cascade")
    model = models.load(config.base)
    costs = Costs.of(model, config)
    assert [stage.looks(sampling_of(config.generation)) for stage in model.stages] == [100, 8]  # guidance 2, and none
    small, large = costs.evaluations
    assert costs.pictures(2, [100, 8]) == 2 * (100 * small + 8 * large + DECODED * costs.picture)
    steps = {"base": 200, "super_resolution": 100}
    work = Work(class_images=0, samples={}, probes=0, probed=0, live=0, steps=steps, scored=0)
    estimate = Estimate(config=config, work=work, costs=costs, model=model, photos=4)
    assert estimate.trained == pytest.approx(200 * costs.steps[0] + 100 * costs.steps[1])
    alone = Costs.of(model, Config.build(model="toybox-cascade", stages=("base",)))
    assert (alone.steps, alone.trained, alone.saved) == (
        (costs.steps[0], 0),
        (costs.trained[0], 0),
        (costs.saved[0], 0),
    )
