"""Every adapter on every family: it trains what it says and nothing else, resumes, merges, and opens in diffusers."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from dreambooth import models
from dreambooth.config import Base, Config
from dreambooth.models.base import DENOISER, DiffusionModel
from dreambooth.run import Run
from families import FAMILIES, Family
from tiny import attached
from trained import subject_of, train

ADAPTERS: dict[str, dict[str, Any]] = {
    "full": {},
    "lora": {"method": "lora", "lora_alpha": 8},
    "lora, denoiser only": {"method": "lora", "train_text_encoder": False},
    "lora, convolutions too": {"method": "lora", "lora_target_modules": ("to_q", "conv1", "ff.net.2", "fc1")},
    "dora": {"method": "lora", "lora_type": "dora"},
    "oft": {"method": "lora", "lora_type": "oft"},
    "textual inversion": {"method": "textual_inversion"},
    "textual inversion, 3 vectors": {"method": "textual_inversion", "num_vectors": 3},
    "pivotal": {"method": "pivotal", "num_vectors": 2, "embedding_lr": 1e-2},
    "prompt only": {"method": "prompt_only", "description": "orange dog"},
}
TRAINING = {"max_train_steps": 4, "learning_rate": 1e-2, "text_encoder_lr": 1e-2, "validation_steps": 100}


PAIRS = [
    (family, adapter)
    for family, its in FAMILIES.items()
    for adapter in its.adapters or (ADAPTERS if its.text else ("full", "lora, denoiser only", "dora", "oft"))
]
"""Every family with every adapter that it can have; the others are refused, test_conformance.py."""
FEW = [pair for pair in PAIRS if pair[1] not in ("dora", "oft") or pair[0] == "flux" or FAMILIES[pair[0]].text]
"""Without what differs from these in layers alone, for what an adapter does with any layers."""
few = pytest.mark.parametrize("pair", FEW, ids=lambda pair: f"{pair[0]}-{pair[1]}", indirect=True)


@pytest.fixture(params=PAIRS, ids=lambda pair: f"{pair[0]}-{pair[1]}")
def pair(request: pytest.FixtureRequest) -> tuple[str, str]:
    names: tuple[str, str] = request.param
    return names


@pytest.fixture
def family(pair: tuple[str, str]) -> Family:
    return FAMILIES[pair[0]]


@pytest.fixture
def make(family: Family) -> Callable[[], Any]:
    """Makes the same random model again and again."""
    return family.model


@pytest.fixture
def config(pair: tuple[str, str]) -> Config:
    settings = ADAPTERS[pair[1]]
    steps = {"max_train_steps": 0} if settings.get("method") == "prompt_only" else {}
    return Config.build({"model": "tiny", **TRAINING, **FAMILIES[pair[0]].settings, **settings, **steps})


def tensors(model: DiffusionModel) -> dict[str, Tensor]:
    """Copies of all weights of a model."""
    parts = model.weights.parts.items()
    return {f"{part}.{name}": t.clone() for part, module in parts for name, t in module.state_dict().items()}


def old_rows(tensor: Tensor, old: Tensor) -> Tensor:
    """Those that were there: of an embedding that learned words, the first."""
    return tensor[: len(old)] if old.dim() else tensor


def drawn(family: Family, model: DiffusionModel, config: Config) -> NDArray[np.int64]:
    """The subject and its class at two seeds, (4, H, W, 3) in [0, 255]."""
    subject = subject_of(config)
    prompts = [subject.prompt, subject.prompt, subject.fill("a red {}"), subject.class_prompt]
    return model.generate(prompts, [0, 1, 2, 3], family.sampling).astype(np.int64)


@few
def test_attaching_changes_nothing_that_is_computed(family: Family, make: Callable[[], Any], config: Config) -> None:
    model, plain = make(), make()
    attached(model, subject_of(config), config, family.stage)
    x_t, t = family.noisy(1), family.times(3)[1:2]
    stages = [family.stage_of(one) for one in (model, plain)]
    mine, theirs = (s.predict(x_t, t, family.told(s, s.condition(["a dog in the snow"]))) for s in stages)
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


@few
def test_exactly_what_is_in_the_groups_trains(family: Family, make: Callable[[], Any], config: Config) -> None:
    model = make()
    adapter = attached(model, subject_of(config), config, family.stage)
    grouped = [parameter for group in adapter.parameter_groups() for parameter in group["params"]]
    asking = [
        parameter for part in model.weights.parts.values() for parameter in part.parameters() if parameter.requires_grad
    ]
    assert {id(p) for p in grouped} == {id(p) for p in asking}
    assert len(grouped) == len({id(p) for p in grouped}) == len(adapter.state())
    assert {t.data_ptr() for t in adapter.state().values()} == {p.data_ptr() for p in grouped}
    assert all(group["lr"] == 1e-2 for group in adapter.parameter_groups())


@few
def test_steps_change_those_weights_and_no_other_bit(family: Family, config: Config, tmp_path: Path) -> None:
    model, fresh = family.model(), family.model()
    attached(fresh, subject_of(config), config, family.stage)
    before = tensors(fresh)
    adapter = train(family, model, config, tmp_path / "run")
    after = tensors(model)
    trained = {t.data_ptr() for t in adapter.state().values()}
    parts = model.weights.parts.items()
    named = [(part, n, t) for part, module in parts for n, t in module.state_dict().items() if t.data_ptr() in trained]
    idle = tuple(f"{part}.{start}" for part, starts in family.idle.items() for start in starts)  # decay at most
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    expected = {f"{part}.{n}" for part, n, _ in named}
    assert {name for name in changed ^ expected if not name.startswith(idle)} == set()
    assert len(named) == len(adapter.state())


@few
def test_the_state_makes_another_model_the_same(
    family: Family, make: Callable[[], Any], config: Config, tmp_path: Path
) -> None:
    model, other = make(), make()
    state = {name: t.clone() for name, t in train(family, model, config, tmp_path / "run").state().items()}
    adapter = attached(other, subject_of(config), config, family.stage)
    adapter.load(state)
    assert np.array_equal(drawn(family, model, config), drawn(family, other, config))
    with pytest.raises(ValueError, match="names differ"):
        adapter.load({**state, "denoiser.unknown": torch.zeros(1)})


@few
def test_a_resumed_training_equals_an_uninterrupted_one(
    family: Family, make: Callable[[], Any], config: Config, tmp_path: Path
) -> None:
    if config.method.method == "prompt_only":
        pytest.skip("nothing trains")
    whole, parted = make(), make()
    often = config.training.model_copy(update={"checkpointing_steps": 2, "checkpoints_total_limit": 4})
    config = config.model_copy(update={"training": often})
    first = train(family, whole, config, tmp_path / "whole")
    checkpoints = Run(tmp_path / "parted").checkpoints
    checkpoints.mkdir(parents=True)
    shutil.copytree(Run(tmp_path / "whole").checkpoints / "checkpoint-2", checkpoints / "checkpoint-2")
    second = train(family, parted, config, tmp_path / "parted")
    assert len(Run(tmp_path / "parted").losses.read_text().splitlines()) == 2  # the first two were not trained again
    assert first.state().keys() == second.state().keys()
    assert all(torch.equal(tensor, second.state()[name]) for name, tensor in first.state().items())


def test_the_saved_model_draws_the_same_pictures(
    family: Family, make: Callable[[], Any], config: Config, tmp_path: Path
) -> None:
    model, plain = make(), make()
    adapter = train(family, model, config, tmp_path / "run")
    pictures = drawn(family, model, config)
    if adapter.state():
        assert np.abs(pictures - drawn(family, plain, config)).max() > 4  # the training shows
    unmerged = model.fingerprint()
    adapter.merge()
    assert (model.fingerprint() == unmerged) == (config.method.method in ("dreambooth", "prompt_only"))
    model.save(tmp_path / "model")
    again = models.load(Base(model=str(tmp_path / "model")))
    assert again.fingerprint() == model.fingerprint()
    assert np.abs(drawn(family, again, config) - pictures).max() <= 1  # a sum is rounded elsewhere when it is merged
    assert tensors(again).keys() == tensors(plain).keys()


def test_what_does_not_train_is_bit_identical_in_the_saved_model(
    family: Family, make: Callable[[], Any], config: Config, tmp_path: Path
) -> None:
    model, plain = make(), tensors(make())
    train(family, model, config, tmp_path / "run").merge()
    merged = tensors(model)
    differing = {name for name, tensor in plain.items() if not torch.equal(tensor, old_rows(merged[name], tensor))}
    if config.method.method in ("textual_inversion", "prompt_only"):
        assert not differing  # the new rows come after all the old ones
    else:
        network = family.stage_of(model).parts[DENOISER]
        (mine,) = (part for part, module in model.weights.parts.items() if module is network)
        assert any(name.startswith(f"{mine}.") for name in differing)
        assert any(name.startswith("text_encoder.") for name in differing) == config.training.train_text_encoder
    assert not any(name.startswith("vae.") for name in differing)


def test_the_export_opens_in_diffusers(family: Family, config: Config, tmp_path: Path) -> None:
    model, plain = family.model(), family.model()
    adapter = train(family, model, config, tmp_path / "run")
    adapter.export(tmp_path / "adapter")
    if config.method.method in ("dreambooth", "prompt_only"):
        assert not (tmp_path / "adapter").exists()  # the model is what is shared
        return
    if config.method.lora_type == "oft":
        pytest.skip("diffusers reads no OFT; test_lora.py opens it with peft")
    plain.save(tmp_path / "base")
    pipeline = family.open(tmp_path / "base")
    if config.method.method != "lora":
        assert family.load_word is not None
        family.load_word(pipeline, tmp_path / "adapter" / "learned_embeds.safetensors")
    if config.method.method != "textual_inversion":
        pipeline.load_lora_weights(tmp_path / "adapter", weight_name="pytorch_lora_weights.safetensors")
    theirs: Any = family.wrap(pipeline, "theirs")
    family.stage_of(theirs).resolution = family.stage_of(model).resolution
    assert np.abs(drawn(family, theirs, config) - drawn(family, model, config)).max() <= 1
