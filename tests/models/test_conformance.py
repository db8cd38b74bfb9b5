"""What every family must prove, on small random weights and without a network.

Each of these would have caught a fault that was found in a training script of the field: a step with another sign or
unit, a prompt that changes with its neighbours, class images told the words of the subject, a LoRA read at another
scale, a word that is unlike in training and in use.
"""

import json
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from dreambooth import models
from dreambooth.adapters import Adapter
from dreambooth.config import Base, Config, Naming
from dreambooth.config.worlds import DEFAULT_WORLD, WORLDS
from dreambooth.diffusion import row_errors
from dreambooth.errors import ConfigError
from dreambooth.finetuning import finetune, training_step
from dreambooth.identifier import with_identifier
from dreambooth.models.base import DENOISER, Conditioning
from dreambooth.run import Run
from dreambooth.subject import Subject
from dreambooth.support.rng import generator, normal
from families import FAMILIES, SUBJECT, WITH_TEXT, Family
from tiny import attached

PROMPTS = ["a sks dog", "a photo of a small blue dog in the snow, and a cat with a mug on the beach", "", "a dog"]


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


@pytest.fixture(scope="module")
def plain(family: Family) -> Any:
    """One model of the family for all tests that only read it."""
    return family.model()


@pytest.fixture(scope="module")
def drawn(family: Family, plain: Any) -> NDArray[np.uint8]:
    """What it draws of the prompts at the seeds 0, 1, 2, 3."""
    pictures: NDArray[np.uint8] = plain.generate(PROMPTS, [0, 1, 2, 3], family.sampling)
    return pictures


def fields(conditioning: Conditioning) -> list[Tensor]:
    """All tensors of a conditioning."""
    parts = [conditioning.embeds, conditioning.pooled, conditioning.mask, *conditioning.extras.values()]
    return [tensor for tensor in parts if tensor is not None]


def settings(family: Family, **given: object) -> Config:
    """A short training of everything that may train."""
    few = {"max_train_steps": 4, "learning_rate": 1e-3, "checkpointing_steps": 2}
    return Config.build(
        {"model": "tiny", **few, "validation_steps": 100, "method": "dreambooth", **family.settings, **given}
    )


def lora(family: Family, model: Any, **given: object) -> Adapter:
    """A LoRA with random weights in both halves, alpha twice its rank: as it begins, it changes nothing."""
    adapter = attached(model, SUBJECT, settings(family, method="lora", rank=3, lora_alpha=6, **given), family.stage)
    adapter.load({name: 0.1 * normal(tensor.shape, name) for name, tensor in adapter.state().items()})
    return adapter


def weights(family: Family, model: Any) -> dict[str, Tensor]:
    """Copies of the weights of all parts that may train."""
    parts = family.stage_of(model).parts.items()
    return {f"{part}.{name}": t.clone() for part, module in parts for name, t in module.state_dict().items()}


def changes(before: dict[str, Tensor], after: dict[str, Tensor]) -> dict[str, Tensor]:
    """What was added to every weight that is not the same."""
    return {name: after[name] - old for name, old in before.items() if not torch.equal(old, after[name])}


def watched(predict: Any, seen: list[Tensor]) -> Any:
    """`predict`, writing down the words that it is told."""

    def watching(x_t: Tensor, t: Tensor, conditioning: Conditioning) -> Any:
        seen.append(conditioning.embeds.detach().clone())
        return predict(x_t, t, conditioning)

    return watching


def test_a_prediction_is_the_pipelines_own_step(family: Family, plain: Any) -> None:
    """Sign, unit of time, packing and what else the network is told: all as diffusers calls it when it draws."""
    pipeline = family.pipeline()
    pipeline.scheduler = family.scheduler(pipeline.scheduler)
    seen: list[tuple[Tensor, Tensor, Tensor]] = []
    denoiser = getattr(pipeline, family.components["denoiser"]).eval()
    names = list(signature(denoiser.forward).parameters)

    def watch(module: Any, args: Any, kwargs: Any, output: Any) -> None:
        seen.append(family.seen({**dict(zip(names, args, strict=False)), **kwargs}, output))

    denoiser.register_forward_hook(watch, with_kwargs=True)
    generators = [torch.Generator().manual_seed(seed) for seed in range(len(PROMPTS))]
    pipeline(prompt=list(PROMPTS), num_inference_steps=2, generator=generators, **family.drawn, **family.unguided)
    assert len(seen) == 2
    stage = family.stage_of(plain)
    for given, t, output in seen:
        x_t, words = family.as_given(given, stage.condition(PROMPTS))
        found = stage.predict(x_t, t.expand(len(x_t)), words)
        torch.testing.assert_close(found, output, rtol=1e-5, atol=5e-6)


def test_a_prompt_alone_equals_its_row_in_a_mixed_batch(family: Family, plain: Any) -> None:
    stage = family.stage_of(plain)
    x_t, t = family.noisy(len(PROMPTS)), family.times(len(PROMPTS))
    together = stage.predict(x_t, t, family.told(stage, stage.condition(PROMPTS)))
    stacked = stage.predict(x_t, t, family.told(stage, stage.stack([stage.condition([prompt]) for prompt in PROMPTS])))
    torch.testing.assert_close(stacked, together, rtol=1e-4, atol=1e-5)
    for row, prompt in enumerate(PROMPTS):
        alone = stage.predict(x_t[row, None], t[row, None], family.told(stage, stage.condition([prompt]), row))
        torch.testing.assert_close(alone[0], together[row], rtol=1e-4, atol=1e-5)
    assert (together[0] - together[3]).abs().max() > 1e-4  # the words matter


def test_rows_of_one_batch_have_the_errors_that_they_have_alone(family: Family, plain: Any) -> None:
    """Photos and class images of unlike prompts in one batch."""
    stage, rows = family.stage_of(plain), family.encoded()
    x0, noise, t = rows.mean, family.noisy(len(rows.mean), "noise"), family.times(len(rows.mean))
    x_t = stage.process.add_noise(x0, noise, t)
    words = family.told(stage, stage.condition(rows.prompts))
    together = row_errors(stage.process, stage.predict(x_t, t, words), x0, noise, t)
    for row, prompt in enumerate(rows.prompts):
        one = slice(row, row + 1)
        pred = stage.predict(x_t[one], t[one], family.told(stage, stage.condition([prompt]), row))
        torch.testing.assert_close(row_errors(stage.process, pred, x0[one], noise[one], t[one])[0], together[row])


def test_prompts_are_read_and_never_written_to(family: Family, plain: Any) -> None:
    prompts = list(PROMPTS)
    family.stage_of(plain).condition(prompts)
    plain.generate(prompts, list(range(len(prompts))), replace(family.sampling, num_inference_steps=2))
    assert prompts == PROMPTS


def test_times_are_drawn_as_declared_and_later_is_noisier(family: Family, plain: Any) -> None:
    """Uniform over a schedule, or the declared density of a flow with the model's own shift."""
    process = family.stage_of(plain).process
    t = process.sample_t((1, *family.latent), *(generator("t", row) for row in range(2000)))
    for time, share in family.density.items():
        assert (t <= time).double().mean().item() == pytest.approx(share, abs=0.04)
    snr = process.snr(family.times(5))
    assert snr[0] > 100 and snr[-1] < 0.01 and (snr.diff() < 0).all()


def test_the_scale_and_the_shift_of_the_latents_are_heeded(family: Family) -> None:
    model = family.model()
    side = family.stage_of(model).resolution
    images = torch.rand(2, 3, side, side, generator=generator("images")) * 2 - 1
    if family.text:
        model.pipeline.vae.register_to_config(scaling_factor=0.7, shift_factor=0.3)
    mean, std = family.stage_of(model).posterior(images)
    expected = family.latents(family.pipeline().vae.eval(), images)
    assert mean.shape[1:] == family.latent
    torch.testing.assert_close((mean, std), expected)


def test_a_picture_is_drawn_in_the_least_number_of_steps(family: Family) -> None:
    model = family.model()
    few = replace(family.sampling, num_inference_steps=model.least_steps)
    assert model.generate(["a dog"], [0], few).std() > 0


def test_what_is_saved_opens_in_diffusers_and_draws_the_same(
    family: Family, drawn: NDArray[np.uint8], tmp_path: Path
) -> None:
    family.model().save(tmp_path / "model")
    theirs = family.open(tmp_path / "model")
    theirs.scheduler = family.scheduler(theirs.scheduler)
    theirs.set_progress_bar_config(disable=True)
    for row, prompt in enumerate(PROMPTS):
        image = theirs(
            prompt=prompt, num_inference_steps=3, generator=torch.Generator().manual_seed(row), output_type="np",
            **family.drawn, **family.guided,
        ).images[0]  # fmt: skip
        assert np.abs(image * 255 - drawn[row]).max() <= 1


def test_what_is_saved_names_its_world_and_one_of_photographs_names_none(family: Family, tmp_path: Path) -> None:
    family.pipeline().save_pretrained(tmp_path / "theirs")
    model = family.model()
    for world in WORLDS:
        model.world = world
        model.save(tmp_path / world)
        ours, theirs = (json.loads((tmp_path / name / "model_index.json").read_text()) for name in (world, "theirs"))
        for own in ("_resolution", "_super_resolution"):  # a flow is small here; a cascade says how it draws
            ours.pop(own, None)
        assert ours == (theirs if world == DEFAULT_WORLD else theirs | {"_world": world})
        assert models.load(Base(model=str(tmp_path / world))).world == world


@pytest.mark.parametrize("text", [True, False], ids=["text too", "denoiser alone"])
@pytest.mark.parametrize("method", ["dreambooth", "lora"])
def test_gradients_reach_exactly_what_trains(family: Family, method: str, text: bool) -> None:
    if text and not family.text:
        with pytest.raises(ConfigError, match="the text encoders of tiny stay as they are"):
            attached(family.model(), SUBJECT, settings(family, method=method, train_text_encoder=True), family.stage)
        return
    model = family.model()
    stage = family.stage_of(model)
    given = {"method": method, "train_text_encoder": text}
    adapter = (
        lora(family, model, train_text_encoder=text)
        if method == "lora"
        else attached(model, SUBJECT, settings(family, **given), family.stage)
    )
    batch = family.encoded().batch(seed=0, number=0, subject_rows=1, prior_rows=2)
    loss, _ = training_step(stage, stage.process, batch, stage.condition(batch.prompts), 1.0, 0)
    loss.backward()
    trained = {id(p) for group in adapter.parameter_groups() for p in group["params"]}
    own = {id(module): part for part, module in stage.parts.items()}
    for module in model.weights.parts.values():
        part = own.get(id(module), "")  # what is no part of the stage never trains with it
        assert any(id(p) in trained for p in module.parameters()) == (
            part == DENOISER or (text and part in stage.text_parts)
        )
        for name, parameter in module.named_parameters():
            reached = parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
            idle = name.startswith(family.idle.get(part, ()))
            assert reached == (id(parameter) in trained and not idle), f"{part}.{name}"


def test_the_prior_term_is_there_and_reads_its_own_words(family: Family, tmp_path: Path) -> None:
    """Class rows are told the class, photos the subject, where the text trains and where it is encoded once."""
    for text in (True, False) if family.text else (False,):
        model = family.model()
        seen: list[Tensor] = []
        stage = family.stage_of(model)
        stage.predict = watched(stage.predict, seen)
        mine, prior = (stage.condition([p]).embeds[0] for p in (SUBJECT.prompt, SUBJECT.class_prompt))
        config = settings(family, max_train_steps=1, train_text_encoder=text, train_batch_size=2)
        run = Run(tmp_path / str(text))
        run.root.mkdir()
        finetune(model, stage, attached(model, SUBJECT, config, family.stage), family.encoded(), config, run)
        (embeds,) = seen
        for row, words in enumerate([mine, mine, prior, prior]):
            torch.testing.assert_close(embeds[row, : len(words)], words, rtol=1e-4, atol=1e-5)
            assert not embeds[row, len(words) :].any()
        assert '"prior"' in run.losses.read_text()
    batch = family.encoded().batch(seed=0, number=0, subject_rows=1, prior_rows=2)
    loss, error = training_step(stage, stage.process, batch, stage.condition(batch.prompts), 0.5, 0)
    torch.testing.assert_close(loss, error[~batch.is_prior].mean() + 0.5 * error[batch.is_prior].mean())


@pytest.mark.parametrize("file", ["pytorch_lora_weights.safetensors", "sks-dog-kohya.safetensors"])
def test_diffusers_loads_the_true_change_from_a_lora(family: Family, file: str, tmp_path: Path) -> None:
    if file not in family.lora_files:
        pytest.skip("one file is for all programs; its names are tested in test_comfyui.py")
    model, fresh = family.model(), family.model()
    before = weights(family, model)
    adapter = lora(family, model)
    adapter.export(tmp_path / "adapter")
    adapter.merge()
    true = changes(before, weights(family, model))
    fresh.save(tmp_path / "base")
    pipeline = family.open(tmp_path / "base")
    pipeline.load_lora_weights(tmp_path / "adapter", weight_name=file)
    pipeline.fuse_lora(components=list(family.components.values()))
    pipeline.unload_lora_weights()
    theirs = {
        f"{part}.{name}": tensor
        for part in family.stage_of(model).parts
        for name, tensor in getattr(pipeline, family.components.get(part, part)).state_dict().items()
    }
    found = changes(before, theirs)
    assert found.keys() == true.keys() and {name.split(".")[0] for name in true} == set(family.components)
    for name, change in true.items():
        torch.testing.assert_close(found[name], change, rtol=0, atol=1e-6)


@pytest.mark.parametrize("family", WITH_TEXT, indirect=True)
def test_new_words_leave_old_prompts_alone(family: Family) -> None:
    model = family.model()
    stage = family.stage_of(model)
    before = fields(stage.condition(PROMPTS))
    added = model.add_tokens(["<dog>", "<dog>_1"])
    assert set(added) == set(model.tokenizers) == set(stage.text_parts)
    assert all(torch.equal(old, new) for old, new in zip(before, fields(stage.condition(PROMPTS)), strict=True))


def test_an_identifier_survives_every_tokenizer(plain: Any) -> None:
    tokenizers = list(plain.tokenizers.values())
    for seed in range(3):
        subject = with_identifier(Subject(photos=(), class_noun="dog"), tokenizers, Naming(), seed)
        for tokenizer in tokenizers:
            tokens = tokenizer(f" {subject.identifier}", add_special_tokens=False)["input_ids"]
            assert len(tokens) <= 3 and tokenizer.decode(tokens).strip() == subject.identifier


@pytest.mark.parametrize("method", ["dreambooth", "lora", "dora", "oft", "textual_inversion", "pivotal"])
def test_what_trains_is_float32_where_the_rest_is_bfloat16(
    family: Family, method: str, drawn: NDArray[np.uint8], tmp_path: Path
) -> None:
    kind = {"method": "lora", "lora_type": method} if method in ("dora", "oft") else {"method": method}
    if method in ("textual_inversion", "pivotal") and not family.text:
        with pytest.raises(ConfigError, match="large language models"):
            attached(family.model(), replace(SUBJECT, identifier="<dog>"), settings(family, **kind), family.stage)
        return
    family.model().save(tmp_path / "base")
    model: Any = models.load(Base(model=str(tmp_path / "base"), dtype="bfloat16"))
    assert model.dtype == torch.bfloat16
    config = settings(family, **kind, train_text_encoder=method == "pivotal", max_train_steps=2)
    adapter = attached(model, replace(SUBJECT, identifier="<dog>"), config, family.stage)
    trained = {id(p) for group in adapter.parameter_groups() for p in group["params"]}
    own = family.stage_of(model).parts.values()
    for module in (*own, *filter(None, [model.pipeline.components.get("vae")])):
        exact = set(getattr(module, "_keep_in_fp32_modules", None) or ())  # norms, of a network that asks for it
        for name, parameter in module.named_parameters():
            expected = torch.float32 if id(parameter) in trained else torch.bfloat16
            assert parameter.dtype == expected or exact & set(name.split(".")), name
    before = {name: tensor.clone() for name, tensor in adapter.state().items()}
    run = Run(tmp_path / "run")
    run.root.mkdir()
    finetune(model, family.stage_of(model), adapter, family.encoded(), config, run)
    assert any(not torch.equal(tensor, before[name]) for name, tensor in adapter.state().items())
    if method not in ("dreambooth", "lora"):
        return  # drawing in bfloat16 is slow, and these two are all of a model's ways to compute
    found = model.generate(PROMPTS, [0, 1, 2, 3], family.sampling)
    assert found.shape == (4, family.side, family.side, 3) and found.std() > 0
    assert np.abs(found.astype(int) - drawn).mean() < family.coarse
