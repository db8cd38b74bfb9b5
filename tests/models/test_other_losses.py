"""Masks, the losses that ask the base model, and turns of two subjects, beside Stable Diffusion: on latents of unlike
grids, with pooled words, masks of words and framings. What they are is tested by hand on Stable Diffusion."""

import json
from dataclasses import replace
from math import log
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from dreambooth.config import Config, Data
from dreambooth.data.dataset import Examples, LatentDataset, encode_once, examples
from dreambooth.data.turns import Dataset, in_turns
from dreambooth.finetuning import finetune, training_step
from dreambooth.finetuning.base_prediction import BasePrediction
from dreambooth.run import Run
from dreambooth.subject import Subject
from dreambooth.support.rng import generator, normal
from families import FAMILIES, SUBJECT, Family
from tiny import attached

SIDE = 32
"""Of a photo, at least; so no photo is resized here, and the edge of a mask stays sharp."""
FRAMING = torch.tensor([[48, 40, 3, 0, 16, 16], [640, 480, 0, 90, 16, 16], *[[16, 16, 0, 0, 16, 16]] * 3])


@pytest.fixture(params=["sdxl", "flux", "flux2 klein", "sana"])
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


def dataset(family: Family, **more: Any) -> LatentDataset:
    """Two photos and three class images of random latents, each with a framing, which SDXL alone reads."""
    return replace(family.encoded(), framing=FRAMING, **more)


def photos_alone(family: Family, **more: Any) -> LatentDataset:
    """Without class images."""
    return replace(family.encoded(class_images=0), framing=FRAMING[:2], **more)


def config_of(family: Family, **given: object) -> Config:
    """Two steps of a LoRA of the denoiser, at a rate that shows; settings that are given go before."""
    few = {"max_train_steps": 2, "learning_rate": 1e-2, "checkpointing_steps": 2, "validation_steps": 100}
    plain = {"method": "lora", "train_text_encoder": False, "use_ema": False}
    return Config.build({"model": "tiny", **few, **plain, **family.settings, **given})


def trained(family: Family, rows: Dataset, root: Path, **given: object) -> tuple[Any, list[dict[str, Any]]]:
    """The model after a training on these rows, and the lines of its losses."""
    root.mkdir()
    config, model, run = config_of(family, **given), family.model(), Run(root)
    finetune(model, model.stages[0], attached(model, SUBJECT, config), rows, config, run)
    lines = [json.loads(line) for line in run.losses.read_text().splitlines()]
    assert len(lines) == 2 and all(torch.tensor([line["loss"], line["grad_norm"]]).isfinite().all() for line in lines)
    return model, lines


def denoiser(model: Any) -> dict[str, Tensor]:
    """Its weights."""
    weights: dict[str, Tensor] = model.stages[0].parts["denoiser"].state_dict()
    return weights


def half_masked(folder: Path) -> Examples:
    """A photo whose left half is the subject's, beside which a place counts a quarter; and a class image."""
    photo, other, mask = (folder / name for name in ("rex.png", "class.png", "rex.mask.png"))
    for file in (photo, other):
        pixels = torch.randint(256, (SIDE, SIDE, 3), generator=generator(file.name), dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(file)
    half = Image.new("L", (SIDE, SIDE))
    half.paste(255, (0, 0, SIDE // 2, SIDE))
    half.save(mask)
    return examples(replace(SUBJECT, photos=(photo,)), [other], Data(unmasked_weight=0.25), SIDE, 0, {photo: mask})


def test_a_mask_weighs_the_places_of_any_grid(family: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From files to the loss: a photo's error is a mean by weight, and a class image counts everywhere."""
    (stage,) = family.model().stages
    rows = encode_once(half_masked(tmp_path), stage.posterior)
    batch = rows.batch(0, 0, 1, 1)
    words, width = stage.condition(batch.prompts), batch.mean.shape[-1]
    assert width == SIDE * family.latent[-1] // family.side
    seen: list[Tensor] = []
    predict = stage.predict

    def spied(*asked: Any) -> Tensor:
        seen.append(predict(*asked))
        return seen[-1]

    monkeypatch.setattr(stage, "predict", spied)
    with torch.no_grad():
        loss, error = training_step(stage, stage.process, batch, words, 0.5, 7)
    x0 = batch.mean + batch.std * normal(batch.mean.shape, "latent", 7)
    noise = normal(x0.shape, "noise", 7)
    squared = (seen[0] - (noise if family.velocity is None else noise - x0)).square()
    left, right = squared[0, ..., : width // 2].mean(), squared[0, ..., width // 2 :].mean()
    expected = torch.stack([(left + 0.25 * right) / 1.25, squared[1].mean()])
    torch.testing.assert_close(error, expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(loss, expected[0] + 0.5 * expected[1], rtol=1e-4, atol=1e-6)
    assert (left - right).abs() > 1e-3


def test_the_prior_term_of_the_base_model_is_the_distance_to_it_on_the_photos_own_latents(family: Family) -> None:
    """Rows of the class are photos, told the class, each with the framing of its photo."""
    model, (base,) = family.model(), family.model().stages
    (stage,) = model.stages
    adapter = attached(model, SUBJECT, config_of(family, prior_target="base"))
    adapter.load({name: 0.1 * normal(tensor.shape, name) for name, tensor in adapter.state().items()})
    batch = photos_alone(family, twin=SUBJECT.class_prompt).batch(0, 0, 2, 2)
    words, held = stage.condition(batch.prompts), BasePrediction(stage, adapter, {})
    loss, error = training_step(stage, stage.process, batch, words, 0.5, 7, base=held)
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for g in adapter.parameter_groups() for p in g["params"])
    x0 = batch.mean[:2] + batch.std[:2] * normal((2, *family.latent), "latent", 7)
    noise = normal(x0.shape, "noise", 7)
    t = stage.process.sample_t(x0.shape, *(generator("t", 7, row) for row in range(2)))
    x_t = stage.process.add_noise(x0, noise, t)
    with torch.no_grad():
        its = replace(batch, framing=FRAMING[list(batch.rows[:2])])
        words = base.with_row_conditioning(base.condition([SUBJECT.class_prompt] * 2), its)
        mine, theirs = (one.predict(x_t, t, words) for one in (stage, base))
    expected = (mine - theirs).square().flatten(1).mean(1)
    torch.testing.assert_close(error[2:].detach(), expected, rtol=1e-3, atol=1e-7)
    assert expected.min() > 1e-6


def test_trainings_that_are_held_to_the_base_model_begin_at_it(family: Family, tmp_path: Path) -> None:
    """A model that is its own base: no second term yet, or -log sigmoid(0) = log 2 of Direct Consistency."""
    twins = photos_alone(family, twin=SUBJECT.class_prompt)
    _, lines = trained(family, twins, tmp_path / "base", prior_target="base")
    assert lines[0]["prior"] < 1e-9 < lines[1]["prior"]
    alone = {"with_prior_preservation": False, "dco_beta": 1000.0}
    _, lines = trained(family, photos_alone(family), tmp_path / "dco", **alone)
    assert lines[0]["loss"] == pytest.approx(log(2), rel=1e-3) and lines[1]["loss"] != lines[0]["loss"]
    assert not any("prior" in line for line in lines)


def test_weights_that_are_pulled_back_to_the_base_stay_nearer_to_it(family: Family, tmp_path: Path) -> None:
    moved, base = [], denoiser(family.model())
    for pull in (0.0, 1000.0):
        its: dict[str, Any] = {"method": "dreambooth", "l2_to_base": pull, "learning_rate": 1e-3}
        model, _ = trained(family, dataset(family), tmp_path / str(pull), **its)
        moved.append(sum(float((tensor - base[name]).square().sum()) for name, tensor in denoiser(model).items()))
    assert 0 < moved[1] < 0.8 * moved[0]


def test_two_subjects_take_turns_and_each_step_is_told_its_own_words(family: Family, tmp_path: Path) -> None:
    cat = Subject(photos=(), class_noun="cat", identifier="zwx")
    dogs = dataset(family)
    prompts = tuple(cat.class_prompt if prior else cat.prompt for prior in dogs.is_prior.tolist())
    (stage,), told = family.model().stages, list[Tensor]()

    def watch(module: Any, args: Any, kwargs: Any) -> None:
        words = kwargs.get("encoder_hidden_states")
        told.append((args[2] if words is None else words).detach().clone())

    config, model, run = config_of(family), family.model(), Run(tmp_path)
    model.stages[0].parts["denoiser"].register_forward_pre_hook(watch, with_kwargs=True)
    both = in_turns([dogs, replace(dogs, prompts=prompts)])
    finetune(model, model.stages[0], attached(model, SUBJECT, config), both, config, run)
    for words, subject in zip(told, (SUBJECT, cat), strict=True):
        torch.testing.assert_close(words, stage.condition([subject.prompt, subject.class_prompt]).embeds)
    lines = [json.loads(line) for line in run.losses.read_text().splitlines()]
    _, alone = trained(family, dogs, tmp_path / "alone")
    assert lines[0]["loss"] == alone[0]["loss"] and lines[1]["loss"] != alone[1]["loss"]
