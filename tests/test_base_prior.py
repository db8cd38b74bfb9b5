"""The second term held to the base model's own predictions: by hand, what it is not, and a training with it."""

from dataclasses import replace
from math import log
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import mse_loss

from dreambooth.config import Config
from dreambooth.data.dataset import LatentDataset
from dreambooth.data.turns import in_turns
from dreambooth.errors import ConfigError
from dreambooth.finetuning.base_prediction import BasePrediction
from dreambooth.finetuning.step import training_step
from dreambooth.loss import direct_consistency
from dreambooth.plan.costs import Costs
from dreambooth.prior import class_prior, lacking
from dreambooth.run import Run
from dreambooth.support.rng import generator, normal
from test_finetuning import SUBJECT, photos, train
from tiny import attached, tiny_model

LORA = Config.build(method="lora", prior_target="base")


def twins() -> LatentDataset:
    """Photos, and no class image."""
    return replace(photos(class_images=0), twin="a dog")


def tuned(strength: float) -> tuple[Any, Any]:
    """A small model, and a LoRA of it and of its text encoder whose values are noise of this size."""
    model = tiny_model(size=16)
    adapter: Any = attached(model, SUBJECT, LORA)
    if strength:
        adapter.load({name: strength * normal(tensor.shape, name) for name, tensor in adapter.state().items()})
    return model, adapter


def test_a_step_equals_one_by_hand() -> None:
    """Eq. 1 on two photos, and on the same noisy latents "a dog" before and after the training."""
    (model, adapter), base = tuned(0.1), tiny_model(size=16).pipeline
    (stage,) = model.stages
    batch = twins().batch(0, 4, 2, 2)
    assert batch.prompts == ("a sks dog", "a sks dog", "a dog", "a dog") and batch.is_prior.tolist() == [0, 0, 1, 1]
    words, held = stage.condition(batch.prompts), BasePrediction(stage, adapter, {})
    loss, _ = training_step(stage, stage.process, batch, words, 0.7, 0, 4, base=held)
    loss.backward()
    assert all(parameter.requires_grad for group in adapter.parameter_groups() for parameter in group["params"])
    assert any(parameter.grad.any() for group in adapter.parameter_groups() for parameter in group["params"])

    noise = normal((2, 4, 8, 8), "noise", 0, 4)
    x0 = batch.mean[:2] + batch.std[:2] * normal((2, 4, 8, 8), "latent", 0, 4)
    t = torch.stack([torch.randint(1000, (), generator=generator("t", 0, 4, row)) for row in range(2)])
    x_t = base.scheduler.add_noise(x0, noise, t)
    with torch.no_grad():
        theirs = base.unet(x_t, t, base.encode_prompt(["a dog"] * 2, "cpu", 1, False)[0]).sample
        mine = stage.predict(x_t, t, stage.condition(["a dog"] * 2))
        subject = stage.predict(x_t, t, stage.condition(["a sks dog"] * 2))
    expected = mse_loss(subject, noise) + 0.7 * mse_loss(mine, theirs)
    torch.testing.assert_close(loss.detach(), expected, rtol=1e-4, atol=1e-6)
    assert mse_loss(mine, theirs) > 1e-4


def test_it_is_not_the_papers_term() -> None:
    """Before the first step it is 0, where Eq. 2's is the error of class images, which it never sees."""
    model, adapter = tuned(0)
    (stage,) = model.stages
    held, batch = BasePrediction(stage, adapter, {}), twins().batch(0, 0, 1, 1)
    loss, error = training_step(stage, stage.process, batch, stage.condition(batch.prompts), 5.0, 0, 0, base=held)
    assert error[1] < 1e-10 and abs(loss - error[0]) < 1e-9
    paper = photos().batch(0, 0, 1, 1)
    loss, error = training_step(stage, stage.process, paper, stage.condition(paper.prompts), 5.0, 0, 0)
    assert error[1] > 0.1 and not torch.equal(paper.mean[0], paper.mean[1])


def test_a_lora_that_is_set_aside_leaves_the_base_model() -> None:
    (model, adapter), plain = tuned(0.1), tiny_model(size=16).stages[0]
    (stage,) = model.stages
    x_t, t = normal((1, 4, 8, 8), "x"), torch.tensor([500])
    changed = stage.predict(x_t, t, stage.condition(["a dog"]))
    with adapter.set_aside(), torch.no_grad():
        assert torch.equal(
            stage.predict(x_t, t, stage.condition(["a dog"])), plain.predict(x_t, t, plain.condition(["a dog"]))
        )
    assert torch.equal(stage.predict(x_t, t, stage.condition(["a dog"])), changed)
    with pytest.raises(NotImplementedError, match="not kept beside"):
        attached(tiny_model(size=16), SUBJECT, Config()).set_aside()


def test_a_photo_and_its_twin_stay_together_where_processes_share_a_batch() -> None:
    batch = in_turns([twins(), replace(twins(), twin="a cat")]).batch(0, 1, 2, 2)
    assert batch.prompts[2:] == ("a cat", "a cat") and batch.rows[2:] == batch.rows[:2]
    (one, other) = batch.take([0, 3]), batch.take([1, 2])
    assert list(one.numbers) == [0, 1] and list(other.numbers) == [1, 0]
    assert list(one.prior.numbers) == [1] and other.prior.prompts == ("a cat",)
    masked = replace(twins(), weight=torch.full((3, 1, 8, 8), 0.5)).batch(0, 0, 1, 1)
    assert masked.weight is not None and masked.weight[:, 0, 0, 0].tolist() == [0.5, 1.0]


@pytest.mark.parametrize("train_text_encoder", [True, False])
def test_a_training_keeps_what_the_class_means_on_its_photos(tmp_path: Path, train_text_encoder: bool) -> None:
    settings = {"method": "lora", "prior_target": "base", "train_text_encoder": train_text_encoder, "rank": 2}
    drift = []
    for weight in (0.0, 100.0):
        its: dict[str, Any] = {**settings, "prior_loss_weight": weight, "max_grad_norm": 1e9, "learning_rate": 1e-2}
        _, lines = train(tmp_path / str(weight), dataset=twins(), checkpointing_steps=10, **its)
        assert lines[0]["prior"] < 1e-10 < lines[-1]["prior"]
        drift.append(sum(line["prior"] for line in lines[5:]))
    assert drift[1] < 0.5 * drift[0]


def test_direct_consistency_equals_one_by_hand() -> None:
    """-log sigmoid(-beta (mine - theirs)) of the same noisy photos by the same prompt, and no second term."""
    (model, adapter), base = tuned(0.1), tiny_model(size=16).pipeline
    (stage,) = model.stages
    batch = photos(class_images=0).batch(0, 4, 2, 0)
    words, of_base = stage.condition(batch.prompts), BasePrediction(stage, adapter, {}, dco_beta=20.0)
    loss, error = training_step(stage, stage.process, batch, words, 0.7, 0, 4, base=of_base)
    loss.backward()
    assert any(parameter.grad.any() for group in adapter.parameter_groups() for parameter in group["params"])

    noise = normal((2, 4, 8, 8), "noise", 0, 4)
    x0 = batch.mean + batch.std * normal((2, 4, 8, 8), "latent", 0, 4)
    t = torch.stack([torch.randint(1000, (), generator=generator("t", 0, 4, row)) for row in range(2)])
    x_t = base.scheduler.add_noise(x0, noise, t)
    with torch.no_grad():
        theirs = base.unet(x_t, t, base.encode_prompt(["a sks dog"] * 2, "cpu", 1, False)[0]).sample
        mine = stage.predict(x_t, t, words)
    difference = (mine - noise).square().mean((1, 2, 3)) - (theirs - noise).square().mean((1, 2, 3))
    torch.testing.assert_close(loss.detach(), -(-20 * difference).sigmoid().log().mean(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(error.detach(), (mine - noise).square().mean((1, 2, 3)), rtol=1e-4, atol=1e-6)
    assert difference.abs().min() > 1e-4


def test_direct_consistency_vanishes_where_the_model_is_better_by_far() -> None:
    error = torch.tensor([0.5, 0.5, 0.1], requires_grad=True)
    direct_consistency(error, torch.tensor([0.5, 0.1, 0.5]), 100.0).sum().backward()
    assert error.grad is not None
    torch.testing.assert_close(error.grad, torch.tensor([50.0, 100.0, 0.0]))


def test_a_training_by_direct_consistency_begins_as_a_plain_one_at_half_of_beta(tmp_path: Path) -> None:
    """A model that is its own base has -log sigmoid(0) = log 2, whose slope along the error is beta / 2."""
    its: dict[str, Any] = {"method": "lora", "with_prior_preservation": False, "max_train_steps": 1}
    _, (plain,) = train(tmp_path / "plain", dataset=photos(class_images=0), **its)
    _, (dco,) = train(tmp_path / "dco", dataset=photos(class_images=0), dco_beta=1000.0, **its)
    assert dco["loss"] == pytest.approx(log(2), rel=1e-5) and dco["subject"] == plain["subject"]
    assert dco["grad_norm"] == pytest.approx(500 * plain["grad_norm"], rel=1e-3)


def test_no_class_image_is_drawn(tmp_path: Path) -> None:
    model = tiny_model(size=16)
    assert class_prior(model, SUBJECT, LORA.prior, Run(tmp_path), tmp_path / "library") == ()
    assert not list(tmp_path.iterdir())


def test_the_plan_knows_of_one_look_more_and_of_no_class_image() -> None:
    model = tiny_model(size=16)
    its: Any = {"method": "lora", "train_text_encoder": False}
    paper, base = (Costs.of(model, Config.build(its, prior_target=target)) for target in ("class_images", "base"))
    assert base.steps[0] - paper.steps[0] == paper.evaluations[0]
    assert lacking(model, SUBJECT, LORA.prior, 100) == 0 < lacking(model, SUBJECT, Config().prior, 100)
    alone, dco = (Costs.of(model, Config.build(its, with_prior_preservation=False, dco_beta=b)) for b in (None, 1e3))
    assert dco.steps[0] - alone.steps[0] == alone.evaluations[0]


def test_the_plan_knows_of_the_weights_to_be_pulled_back_to() -> None:
    plain, pulled = (Costs.of(tiny_model(size=16), Config.build(l2_to_base=weight)) for weight in (0.0, 0.1))
    assert pulled.state - plain.state == sum(plain.trained) and pulled.saved == plain.saved


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, "base is the model with its LoRA set aside: choose --method lora"),
        ({"method": "pivotal"}, "choose --method lora"),
        ({"method": "lora", "with_prior_preservation": False}, "there is no second term without"),
    ],
)
def test_it_is_refused_where_it_means_nothing(settings: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Config.build(prior_target="base", **settings)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"method": "lora", "dco_beta": 1000.0}, "in place of class images: add --no-with-prior-preservation"),
        ({"method": "lora", "dco_beta": 1000.0, "prior_target": "base"}, "cannot be held by both"),
        ({"with_prior_preservation": False, "dco_beta": 1000.0}, "means nothing to method dreambooth"),
        ({"method": "lora", "l2_to_base": 0.1}, "means nothing to method lora"),
    ],
)
def test_the_others_are_refused_where_they_mean_nothing(settings: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Config.build(settings)
