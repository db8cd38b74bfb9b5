"""The model that a run made, as its samples are drawn: what was learned is in it, whatever it is held in."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from dreambooth import models, recipe
from dreambooth.config import Base, Config
from dreambooth.data.photos import photos_in
from dreambooth.models.base import DENOISER, DiffusionModel
from dreambooth.models.quantized import Bits
from dreambooth.personal import personal_model
from dreambooth.recipe import base_model, dreambooth
from dreambooth.run import Run
from dreambooth.subject import Subject
from tiny import SHORT, tiny_pipeline


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    tiny_pipeline().save_pretrained(folder)
    return folder


def made(base: Path, photos_dir: Path, root: Path, **settings: Any) -> Run:
    subject = Subject(photos=photos_in(photos_dir), class_noun="dog")
    small = {**SHORT, "prompts": ("a {} in the snow",), "probe": False, "with_prior_preservation": False}
    return dreambooth(subject, Config.build({**small, "model": str(base), **settings}), root)


@torch.no_grad()
def prediction(model: DiffusionModel) -> Tensor:
    stage, noise = model.stages[0], torch.Generator().manual_seed(0)
    x_t = torch.randn(4, 4, 8, 8, generator=noise)
    return stage.predict(x_t, torch.tensor([100, 300, 500, 900]), stage.condition(["a dog"] * 4))


@pytest.mark.parametrize("bits", ["8", "4"])
@pytest.mark.parametrize("method", ["lora", "pivotal"])
def test_what_was_learned_beside_few_bits_is_drawn(
    method: str, bits: Bits, base: Path, photos_dir: Path, tmp_path: Path
) -> None:
    """To hold the sum in few bits would round a small change away: of NF4 hardly any is left."""
    pytest.importorskip("bitsandbytes")
    run = made(base, photos_dir, tmp_path / "run", method=method, base_bits=bits, use_ema=True, ema_decay=0.5)
    before = prediction(models.load(Base(model=str(base), base_bits=bits)))
    change = prediction(models.load(Base(model=str(run.model)))) - before
    kept = prediction(personal_model(run)) - before
    assert change.norm() > 0 and (kept - change).norm() < 0.02 * change.norm()


def test_without_the_weights_of_the_training_the_saved_model_is_drawn_from(
    base: Path, photos_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("bitsandbytes")
    run = made(base, photos_dir, tmp_path / "run", method="lora", base_bits="4")
    shutil.rmtree(run.checkpoints)
    whole = prediction(models.load(Base(model=str(run.model))))
    assert torch.equal(prediction(personal_model(run)), whole)
    assert "without --base-bits" in caplog.text and "keeps no weights of its training" in caplog.text


def test_weights_that_trained_as_a_whole_are_drawn_with_as_they_were_trained(
    base: Path, photos_dir: Path, tmp_path: Path
) -> None:
    run = made(base, photos_dir, tmp_path / "run", dtype="bfloat16", max_train_steps=1, num_inference_steps=1)
    (file,) = (run.model / "unet").glob("*.safetensors")
    mine = personal_model(run).stages[0].parts[DENOISER].state_dict()
    for name, saved in load_file(file).items():
        assert saved.dtype is torch.float32 and torch.equal(mine[name], saved)


def test_one_model_is_held_at_a_time(
    base: Path, photos_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where one fits, two need not: before the samples are drawn, the base model's memory is free."""
    bases: list[DiffusionModel] = []

    def of_base(run: Run) -> DiffusionModel:
        bases.append(base_model(run))
        return bases[-1]

    def opened(run: Run) -> DiffusionModel:
        for part in bases[-1].weights.parts.values():
            assert {tensor.device.type for tensor in part.state_dict().values()} == {"meta"}
        return personal_model(run)

    monkeypatch.setattr(recipe, "base_model", of_base)
    monkeypatch.setattr(recipe, "personal_model", opened)
    run = made(base, photos_dir, tmp_path / "run")
    shutil.rmtree(run.samples / "after")
    made(base, photos_dir, tmp_path / "run")
    assert len(bases) == 2 and list((run.samples / "after").iterdir())
