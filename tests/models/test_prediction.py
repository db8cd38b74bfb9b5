"""What a U-Net predicts: as the file or folder says, as the user says, or asked about."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from dreambooth import models
from dreambooth.config import Base
from dreambooth.errors import ConfigError
from dreambooth.models import prediction
from dreambooth.models.base import Sampling
from dreambooth.models.stable_diffusion_xl import StableDiffusionXL
from models.test_single_file import published, written
from tiny import DIFFUSERS, tiny_model
from tiny_xl import tiny_xl_model

TYPES = ("epsilon", "v_prediction")


def loaded(file: Path, **base: Any) -> Any:
    return models.load(Base(model=str(file), **base))


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the package said, without what its libraries do."""
    return [record.getMessage() for record in caplog.records if record.name == "dreambooth"]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Single files of SDXL are those of the small pipeline."""
    monkeypatch.setattr(StableDiffusionXL, "published", published())


@pytest.fixture
def silent(tmp_path: Path) -> Path:
    """A file that does not say what it predicts."""
    weights = load_file(written(tmp_path / "said.safetensors"))
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize("predicts", TYPES)
def test_a_file_that_says_it_is_taken_at_its_word(
    predicts: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = written(tmp_path / "model.safetensors", prediction_type=predicts)
    with safe_open(file, "pt") as opened:
        assert opened.metadata()["modelspec.prediction_type"] == {"epsilon": "epsilon", "v_prediction": "v"}[predicts]
    weights = {name: tensor for name, tensor in load_file(file).items() if name != "v_pred"}
    save_file(weights, file, {"modelspec.prediction_type": prediction.spelled(predicts)})  # as kohya's scripts write it
    assert loaded(file).stages[0].process.prediction == predicts
    assert not said(caplog)


@pytest.mark.parametrize("asked", TYPES)
def test_a_silent_file_is_what_the_user_says(asked: Any, silent: Path, caplog: pytest.LogCaptureFixture) -> None:
    sampling = Sampling(sampler="euler", num_inference_steps=3, guidance_scale=3.0)
    model, other = loaded(silent, prediction_type=asked), tiny_xl_model(prediction_type=asked)
    assert model.stages[0].process.prediction == asked and not said(caplog)
    assert (model.generate(["a dog"], [0], sampling) == other.generate(["a dog"], [0], sampling)).all()


def test_a_silent_file_that_does_not_look_like_noise_is_asked_about(silent: Path) -> None:
    """Random weights answer noise with something else, as a model of velocity does."""
    with pytest.raises(ConfigError, match=r"no tensor v_pred.*looks like v_prediction.*--prediction-type v_prediction"):
        loaded(silent)


def test_a_silent_file_in_half_precision_is_assumed_aloud(silent: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert loaded(silent, dtype="bfloat16").stages[0].process.prediction == "epsilon"
    assert "epsilon is assumed" in caplog.text and "give --prediction-type" in caplog.text


def test_a_trained_model_is_told_by_its_answer_to_noise(caplog: pytest.LogCaptureFixture) -> None:
    """The embedded one predicts velocity; the noise that follows from it is what a model of noise would predict."""
    stage = models.load(Base()).stages[0]
    velocity: Any = stage.process
    noise = replace(velocity, prediction="epsilon")
    seen = {"posterior": stage.posterior, "condition": stage.condition}
    with pytest.raises(ConfigError, match=r"looks like v_prediction: .* a cosine of -?0\.0"):
        prediction.ask(SimpleNamespace(**seen, predict=stage.predict, process=noise), "it", 64)  # type: ignore[arg-type]

    def predict(x_t: torch.Tensor, t: torch.Tensor, conditioning: Any) -> torch.Tensor:
        alpha, sigma = velocity.alpha_sigma(t, x_t)
        made: torch.Tensor = alpha * stage.predict(x_t, t, conditioning) + sigma * x_t
        return made

    prediction.ask(SimpleNamespace(**seen, predict=predict, process=noise), "it", 64)  # type: ignore[arg-type]
    assert "epsilon is assumed, as its answer to pure noise says (1.00)" in caplog.text


def test_a_folder_is_contradicted_in_words_and_then_says_so_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tiny_model().save(tmp_path / "model")
    plain = loaded(tmp_path / "model", prediction_type="epsilon")
    assert not said(caplog)
    model = loaded(tmp_path / "model", prediction_type="v_prediction")
    assert "says of itself that it predicts epsilon, and is taken for a model of v_prediction" in caplog.text
    assert model.stages[0].process.prediction == "v_prediction" and model.fingerprint() != plain.fingerprint()
    model.save(tmp_path / "tuned")
    assert loaded(tmp_path / "tuned").stages[0].process.prediction == "v_prediction"


def test_a_file_is_contradicted_in_words(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = written(tmp_path / "model.safetensors", prediction_type="v_prediction")
    assert loaded(file, prediction_type="epsilon").stages[0].process.prediction == "epsilon"
    assert "says of itself that it predicts v_prediction" in caplog.text


@pytest.mark.parametrize("scheduler", ["FlowMatchEulerDiscreteScheduler", "DPMSolverMultistepScheduler"])
def test_a_flow_has_no_other_prediction(scheduler: str) -> None:
    its = {} if scheduler.startswith("Flow") else {"prediction_type": "flow_prediction", "use_flow_sigmas": True}
    with pytest.raises(ConfigError, match="a rectified flow and predicts nothing else: leave it out"):
        prediction.settle(getattr(DIFFUSERS, scheduler)(**its), "epsilon", "it")
