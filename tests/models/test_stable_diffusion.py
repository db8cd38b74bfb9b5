"""The family against diffusers' own pipeline: prompts, latents, predictions, pictures, folders."""

import logging
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from transformers import CLIPTokenizer

from dreambooth import models
from dreambooth.config import Base, Config
from dreambooth.config.samplers import SAMPLERS
from dreambooth.diffusion import PREDICTIONS, DiscreteDiffusion
from dreambooth.errors import ModelError
from dreambooth.models.base import Sampling
from dreambooth.models.stable_diffusion import StableDiffusion
from dreambooth.subject import Subject
from tiny import CONTEXT, attached, tiny_model, tiny_pipeline

DIFFUSERS: Any = diffusers
# diffusers' DPM-Solver asks numpy for an array of a tensor, which numpy 2 would like asked otherwise
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def sampling(sampler: str = "ddim", guidance_scale: float = 3.0, steps: int = 4) -> Sampling:
    return Sampling(sampler=sampler, num_inference_steps=steps, guidance_scale=guidance_scale)


def test_conditioning_equals_the_pipelines() -> None:
    model = tiny_model()
    prompts = ["a sks dog", "a photo of a dog in the snow, on and on and on and on and on and on and on", ""]
    expected, _ = model.pipeline.encode_prompt(prompts, "cpu", 1, False)
    found = model.stages[0].condition(prompts).embeds
    assert found.shape == (3, CONTEXT, 32)
    assert torch.equal(found, expected)


def test_a_cut_prompt_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    model = tiny_model()
    fits, long = " ".join(["dog"] * (CONTEXT - 2)), " ".join(["dog"] * (CONTEXT - 1))
    with caplog.at_level(logging.WARNING):
        model.stages[0].condition([fits])
        assert not caplog.records
        model.stages[0].condition([long, "a dog"])
        model.stages[0].condition([long])
    assert len(caplog.records) == 1
    assert long in caplog.text


def test_the_posterior_is_the_scaled_distribution_of_the_vae() -> None:
    model = tiny_model()
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    mean, std = model.stages[0].posterior(images)
    assert mean.shape == std.shape == (2, 4, 16, 16)
    assert not mean.requires_grad
    theirs = model.pipeline.vae.encode(images).latent_dist
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(0))
    sample = theirs.sample(torch.Generator().manual_seed(0)) * model.pipeline.vae.config.scaling_factor
    torch.testing.assert_close(mean + std * noise, sample)


@pytest.mark.parametrize("prediction_type", list(PREDICTIONS))
def test_the_process_is_the_schedulers(prediction_type: str) -> None:
    model = tiny_model(prediction_type, rescale_betas_zero_snr=True)
    process = model.stages[0].process
    assert isinstance(process, DiscreteDiffusion) and process.prediction == prediction_type
    assert torch.equal(process.alphas_cumprod, model.pipeline.scheduler.alphas_cumprod.double())
    assert process.alphas_cumprod[-1] == 0
    assert process.snr_gamma is None


def test_a_prediction_has_the_shape_of_its_target() -> None:
    model = tiny_model()
    x_t, t = torch.randn(2, 4, 16, 16), torch.tensor([0, 999])
    (stage,) = model.stages
    pred = stage.predict(x_t, t, stage.condition(["a dog", "a cat"]))
    assert pred.shape == stage.process.target(x_t, x_t, t).shape


@pytest.mark.parametrize("sampler", StableDiffusion.samplers)
def test_pictures_equal_the_pipelines(sampler: str) -> None:
    model = tiny_model()
    found = model.generate(["a sks dog", "a cat"], [7, 8], sampling(sampler))
    pipeline: Any = tiny_pipeline()
    pipeline.scheduler = getattr(diffusers, SAMPLERS[sampler]).from_config(
        pipeline.scheduler.config, timestep_spacing="leading"
    )
    pipeline.unet.eval(), pipeline.text_encoder.eval(), pipeline.vae.eval()
    generators = [torch.Generator().manual_seed(seed) for seed in (7, 8)]
    theirs = pipeline(
        ["a sks dog", "a cat"], num_inference_steps=4, guidance_scale=3.0, generator=generators, output_type="np"
    )
    assert found.shape == (2, 32, 32, 3)
    assert found.dtype == np.uint8
    assert np.abs(found / 255 - theirs.images).max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize("sampler", StableDiffusion.samplers)
def test_a_seeds_picture_does_not_depend_on_its_batch(sampler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    prompts, seeds = ["a dog", "a cat", "a sks dog", "a car"], [1, 2, 3, 4]
    together = model.generate(prompts, seeds, sampling(sampler)).astype(int)
    alone = np.concatenate([model.generate([p], [s], sampling(sampler)) for p, s in zip(prompts, seeds, strict=True)])
    monkeypatch.setattr("dreambooth.models.pipelines.PIXELS_AT_ONCE", 3 * 32 * 32)
    chunked = model.generate(prompts, seeds, sampling(sampler))
    turned = model.generate(prompts[::-1], seeds[::-1], sampling(sampler))[::-1]
    for other in (alone, chunked, turned):
        assert np.abs(together - other).max() <= 1
    assert np.abs(together[0] - together[1]).max() > 10


def test_generating_leaves_the_training_state_alone() -> None:
    model = tiny_model()
    attached(model, Subject(photos=(), class_noun="dog"), Config.build({"train_text_encoder": False}))
    model.pipeline.unet.train()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    model.generate(["a dog"], [0], sampling("ddpm"))
    assert torch.equal(before, torch.get_rng_state())
    assert all(module.training for module in model.pipeline.unet.modules())
    assert not any(module.training for module in model.pipeline.vae.modules())
    assert all(p.requires_grad for p in model.pipeline.unet.parameters())
    assert not any(p.requires_grad for p in model.pipeline.text_encoder.parameters())
    assert type(model.pipeline.scheduler) is diffusers.DDPMScheduler


@pytest.mark.parametrize("sampler", StableDiffusion.samplers)
def test_a_schedule_without_signal_at_its_end_is_sampled_from_that_end(sampler: str) -> None:
    model = tiny_model("v_prediction", rescale_betas_zero_snr=True)
    times: list[int] = []
    model.pipeline.unet.register_forward_pre_hook(lambda module, inputs: times.append(int(inputs[1])))
    assert model.generate(["a dog"], [0], sampling(sampler)).std() > 0
    assert times[0] == 999


def test_as_many_steps_as_times_can_be_taken() -> None:
    model = tiny_model(num_train_timesteps=20)
    assert model.generate(["a dog"], [0], sampling("ddpm", steps=20)).shape == (1, 32, 32, 3)


def test_no_prompts_give_no_pictures_and_a_missing_seed_is_refused() -> None:
    model = tiny_model()
    assert model.generate([], [], sampling()).shape == (0, 32, 32, 3)
    with pytest.raises(ValueError, match="every prompt needs its seed"):
        model.generate(["a dog"], [], sampling())


def test_the_fingerprint_follows_every_part() -> None:
    model = tiny_model()
    first = model.fingerprint()
    assert first == tiny_model().fingerprint() == model.fingerprint()
    seen = {first, tiny_model(seed=1).fingerprint(), tiny_model("v_prediction").fingerprint()}
    for part in (model.pipeline.vae, model.pipeline.text_encoder, model.pipeline.unet):
        with torch.no_grad():
            next(part.parameters()).view(-1)[0].add_(1e-3)
        seen.add(model.fingerprint())
    assert len(seen) == 6


def test_a_saved_model_opens_here_and_in_diffusers_and_draws_the_same(tmp_path: Path) -> None:
    model = tiny_model(seed=3)
    drawn = model.generate(["a sks dog"], [5], sampling())
    model.save(tmp_path / "model")
    assert not list((tmp_path / "model").rglob("*.bin"))
    again = models.load(Base.model_validate({"model": str(tmp_path / "model")}))
    assert again.fingerprint() == model.fingerprint()
    assert np.array_equal(again.generate(["a sks dog"], [5], sampling()), drawn)
    theirs = DIFFUSERS.DiffusionPipeline.from_pretrained(tmp_path / "model", local_files_only=True)
    assert type(theirs) is diffusers.StableDiffusionPipeline
    assert (
        np.abs(StableDiffusion(theirs, "theirs").generate(["a sks dog"], [5], sampling()) - drawn.astype(int)).max()
        <= 1
    )


def test_the_tokenizer_has_its_older_files_too(tmp_path: Path) -> None:
    model = tiny_model()
    model.save(tmp_path / "model")
    folder = tmp_path / "model" / "tokenizer"
    old: Any = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    assert old("a photo of sks dog").input_ids == model.pipeline.tokenizer("a photo of sks dog").input_ids


def test_a_saved_model_does_not_depend_on_the_prompts_that_were_read_before(tmp_path: Path) -> None:
    model = tiny_model()
    model.save(tmp_path / "before")
    model.stages[0].condition(["a sks dog"])
    model.save(tmp_path / "after")
    for file in (tmp_path / "before").rglob("*"):
        assert (
            file.is_dir()
            or file.read_bytes() == (tmp_path / "after" / file.relative_to(tmp_path / "before")).read_bytes()
        )


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda p: p.unet.register_to_config(in_channels=9), "reads 9 channels"),
        (lambda p: p.unet.register_to_config(sample_size=[8, 16]), "not square"),
        (lambda p: p.scheduler.register_to_config(prediction_type="flow"), "prediction type 'flow'"),
    ],
)
def test_a_pipeline_of_another_kind_is_refused(harm: Any, said: str) -> None:
    pipeline = tiny_pipeline()
    harm(pipeline)
    with pytest.raises(ModelError, match=said):
        StableDiffusion(pipeline, "other")
