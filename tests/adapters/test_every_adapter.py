"""Every adapter on every family: it trains what it says and nothing else, resumes, merges, and opens in diffusers."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from peft import PeftModel
from torch import Tensor

from dreambooth import models
from dreambooth.adapters import Adapter
from dreambooth.config import Base, Config
from dreambooth.models.base import DENOISER, DiffusionModel
from dreambooth.report.snippets import adapter_snippet
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


ALONE = ("full", "lora, denoiser only", "dora", "oft", "prompt only")
"""What a family can have whose text encoders stay as they are; the rest is refused, test_conformance.py."""
PAIRS = [(family, adapter) for family, its in FAMILIES.items() for adapter in (ADAPTERS if its.text else ALONE)]
"""Every family with every adapter that it can have."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a training left: of the model as trained, and of the model after the adapter was merged into it."""

    root: Path
    """With run/, the adapter's export in adapter/, and the merged model in model/."""
    state: dict[str, Tensor]
    names: set[str]
    """The weights of the model that are the adapter's state."""
    weights: dict[str, Tensor]
    merged: dict[str, Tensor]
    fingerprints: tuple[str, str, str]
    """As trained, merged, and saved."""
    pictures: NDArray[np.int64]
    """As trained."""


@pytest.fixture(scope="module", params=PAIRS, ids=lambda pair: f"{pair[0]}-{pair[1]}")
def pair(request: pytest.FixtureRequest) -> tuple[str, str]:
    names: tuple[str, str] = request.param
    return names


@pytest.fixture(scope="module")
def family(pair: tuple[str, str]) -> Family:
    return FAMILIES[pair[0]]


@pytest.fixture(scope="module")
def config(pair: tuple[str, str]) -> Config:
    settings = {**ADAPTERS[pair[1]], "checkpointing_steps": 2, "checkpoints_total_limit": 4}
    steps = {"max_train_steps": 0} if settings.get("method") == "prompt_only" else {}
    return Config.build({"model": "tiny", **TRAINING, **FAMILIES[pair[0]].settings, **settings, **steps})


@pytest.fixture(scope="module")
def plain(family: Family) -> DiffusionModel:
    """The model without an adapter; only to be read."""
    model: DiffusionModel = family.model()
    return model


@pytest.fixture(scope="module")
def attached_to(family: Family, config: Config) -> tuple[DiffusionModel, Adapter]:
    """The same model with the adapter before it trains; only to be read."""
    model = family.model()
    return model, attached(model, subject_of(config), config, family.stage)


@pytest.fixture(scope="module")
def trained(family: Family, config: Config, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """One training, looked at, exported, merged and saved; every test of a pair looks at this one."""
    root, model = tmp_path_factory.mktemp("trained"), family.model()
    adapter = train(family, model, config, root / "run")
    state = adapter.state()
    places = {t.data_ptr() for t in state.values()}
    parts = model.weights.parts.items()
    names = [f"{part}.{n}" for part, of in parts for n, t in of.state_dict().items() if t.data_ptr() in places]
    assert len(names) == len(set(names)) == len(state)
    state = {name: t.clone() for name, t in state.items()}
    weights, unmerged, pictures = tensors(model), model.fingerprint(), drawn(family, model, config)
    adapter.export(root / "adapter")
    adapter.merge()
    merged = model.fingerprint()
    model.save(root / "model")
    return Trained(
        root=root,
        state=state,
        names=set(names),
        weights=weights,
        merged=tensors(model),
        fingerprints=(unmerged, merged, model.fingerprint()),
        pictures=pictures,
    )


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


def test_attaching_changes_nothing_that_is_computed(
    family: Family, plain: DiffusionModel, attached_to: tuple[DiffusionModel, Adapter]
) -> None:
    x_t, t = family.noisy(1), family.times(3)[1:2]
    stages = [family.stage_of(one) for one in (attached_to[0], plain)]
    mine, theirs = (s.predict(x_t, t, family.told(s, s.condition(["a dog in the snow"]))) for s in stages)
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


def test_exactly_what_is_in_the_groups_trains(attached_to: tuple[DiffusionModel, Adapter]) -> None:
    model, adapter = attached_to
    grouped = [parameter for group in adapter.parameter_groups() for parameter in group["params"]]
    asking = [
        parameter for part in model.weights.parts.values() for parameter in part.parameters() if parameter.requires_grad
    ]
    assert {id(p) for p in grouped} == {id(p) for p in asking}
    assert len(grouped) == len({id(p) for p in grouped}) == len(adapter.state())
    assert {t.data_ptr() for t in adapter.state().values()} == {p.data_ptr() for p in grouped}
    assert all(group["lr"] == 1e-2 for group in adapter.parameter_groups())


def test_steps_change_those_weights_and_no_other_bit(
    family: Family, attached_to: tuple[DiffusionModel, Adapter], trained: Trained
) -> None:
    before, after = tensors(attached_to[0]), trained.weights
    idle = tuple(f"{part}.{start}" for part, starts in family.idle.items() for start in starts)  # decay at most
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name for name in changed ^ trained.names if not name.startswith(idle)} == set()


def test_the_state_makes_another_model_the_same(family: Family, config: Config, trained: Trained) -> None:
    other = family.model()
    adapter = attached(other, subject_of(config), config, family.stage)
    adapter.load(trained.state)
    assert np.array_equal(trained.pictures, drawn(family, other, config))
    with pytest.raises(ValueError, match="names differ"):
        adapter.load({**trained.state, "denoiser.unknown": torch.zeros(1)})


def test_a_resumed_training_equals_an_uninterrupted_one(
    family: Family, config: Config, trained: Trained, tmp_path: Path
) -> None:
    if config.method.method == "prompt_only":
        pytest.skip("nothing trains")
    checkpoints = Run(tmp_path).checkpoints
    checkpoints.mkdir(parents=True)
    shutil.copytree(Run(trained.root / "run").checkpoints / "checkpoint-2", checkpoints / "checkpoint-2")
    resumed = train(family, family.model(), config, tmp_path).state()
    assert len(Run(tmp_path).losses.read_text().splitlines()) == 2  # the first two were not trained again
    assert trained.state.keys() == resumed.keys()
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in trained.state.items())


def test_the_saved_model_draws_the_same_pictures(
    family: Family, config: Config, plain: DiffusionModel, trained: Trained
) -> None:
    unmerged, merged, saved = trained.fingerprints
    if trained.state:
        assert np.abs(trained.pictures - drawn(family, plain, config)).max() > 4  # the training shows
    assert (merged == unmerged) == (config.method.method in ("dreambooth", "prompt_only"))
    again = models.load(Base(model=str(trained.root / "model")))
    assert again.fingerprint() == saved
    rounded = np.abs(drawn(family, again, config) - trained.pictures)  # a sum is rounded elsewhere when it is merged
    assert rounded.max() <= 1
    assert tensors(again).keys() == tensors(plain).keys()


def test_what_does_not_train_is_bit_identical_in_the_saved_model(
    family: Family, config: Config, plain: DiffusionModel, trained: Trained
) -> None:
    differing = {
        name
        for name, tensor in tensors(plain).items()
        if not torch.equal(tensor, old_rows(trained.merged[name], tensor))
    }
    if config.method.method in ("textual_inversion", "prompt_only"):
        assert not differing  # the new rows come after all the old ones
    else:
        network = family.stage_of(plain).parts[DENOISER]
        (mine,) = (part for part, module in plain.weights.parts.items() if module is network)
        assert any(name.startswith(f"{mine}.") for name in differing)
        assert any(name.startswith("text_encoder.") for name in differing) == config.training.train_text_encoder
    assert not any(name.startswith("vae.") for name in differing)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft asks transformers by it
def test_the_export_opens_in_diffusers(
    family: Family,
    config: Config,
    plain: DiffusionModel,
    trained: Trained,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    adapter = trained.root / "adapter"
    if config.method.method in ("dreambooth", "prompt_only"):
        assert not adapter.exists()  # the model is what is shared
        return
    plain.save(tmp_path)
    pipeline = family.open(tmp_path)
    if config.method.method != "lora":
        assert family.load_word is not None
        family.load_word(pipeline, adapter / "learned_embeds.safetensors")
    if config.method.lora_type == "oft":  # which diffusers does not read: by peft, as the model card says
        card = adapter_snippet(subject_of(config), config, adapter, trained.root / "model")
        lines = [line for line in card.splitlines() if line.startswith("PeftModel.")]
        monkeypatch.chdir(trained.root)
        exec("\n".join(lines), {"PeftModel": PeftModel, "pipeline": pipeline})
        assert len(lines) == len(family.components)
    elif config.method.method != "textual_inversion":
        pipeline.load_lora_weights(adapter, weight_name="pytorch_lora_weights.safetensors")
    theirs: Any = family.wrap(pipeline, "theirs")
    family.stage_of(theirs).resolution = family.stage_of(plain).resolution
    assert np.abs(drawn(family, theirs, config) - trained.pictures).max() <= 1
