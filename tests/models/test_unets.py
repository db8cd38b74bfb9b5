"""A step of the U-Nets with more than words, by hand from diffusers' parts: what test_flows.py has of the flows.

That of Stable Diffusion is in test_finetuning.py.
"""

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler
from torch import Tensor

from dreambooth.config import Config
from dreambooth.data.batch import Batch
from dreambooth.finetuning import training_step
from dreambooth.models.deepfloyd_if import DeepFloydIF
from dreambooth.models.refining import Refining
from dreambooth.support.rng import generator, normal
from families import FAMILIES, SUBJECT
from tiny import attached
from tiny_if import tiny_if_pair
from tiny_xl import tiny_xl_model, tiny_xl_pipeline

PROMPTS = ("a SKS dog", "a dog in the snow", "a dog")
FRAMING = torch.tensor([[48, 40, 3, 0, 16, 16], [640, 480, 0, 90, 16, 16], [16, 16, 0, 0, 16, 16]])
LEVEL = 250
"""Of the noise on the small picture: IF's own, that it shows."""
KINDS = pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])


def batch_of(mean: Tensor, std: Tensor, **more: Any) -> Batch:
    """A photo and two class images."""
    is_prior = torch.tensor([False, True, True])
    return Batch(mean=mean, std=std, prompts=PROMPTS, is_prior=is_prior, rows=(0, 1, 2), **more)


def images(side: int) -> Tensor:
    """(3, 3, H, W) in [-1, 1]"""
    return torch.rand(3, 3, side, side, generator=generator("images")) * 2 - 1


def stepped(model: Any, at: int, batch: Batch) -> tuple[Tensor, Tensor, Any]:
    """Loss, errors and the U-Net with its gradients, of one step of all weights at the place 7."""
    stage = model.stages[at]
    text = {"train_text_encoder": stage.text_trains}
    attached(model, SUBJECT, Config.build({"model": "tiny", "method": "dreambooth", **text}), at)
    loss, error = training_step(stage, stage.process, batch, stage.condition(PROMPTS), 0.5, 7)
    loss.backward()
    return loss.detach(), error.detach(), stage.parts["denoiser"]


def noised(scheduler: Any, x0: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """x_t and times at the place 7, and what is to be predicted there, by diffusers' scheduler of training."""
    training: Any = DDPMScheduler.from_config(scheduler.config)
    noise = normal(x0.shape, "noise", 7)
    t = torch.stack([torch.randint(1000, (), generator=generator("t", 7, row)) for row in range(3)])
    velocity = training.config.prediction_type == "v_prediction"
    return training.add_noise(x0, noise, t), t, training.get_velocity(x0, noise, t) if velocity else noise


def compare(mine: tuple[Tensor, Tensor, Any], pred: Tensor, target: Tensor, unet: Any) -> None:
    """Both terms of Eq. 2 on rows of one mean each, and the gradient of every weight of the U-Net."""
    loss, error, tuned = mine
    by_hand = [(pred[row] - target[row]).square().mean() for row in range(3)]
    expected = by_hand[0] + 0.5 * (by_hand[1] + by_hand[2]) / 2
    expected.backward()
    torch.testing.assert_close(error, torch.stack(by_hand).detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-4, atol=1e-5)
    theirs = dict(unet.named_parameters())
    for name, parameter in tuned.named_parameters():
        torch.testing.assert_close(parameter.grad, theirs[name].grad, rtol=1e-3, atol=1e-5)


@KINDS
def test_a_step_of_sdxl_equals_one_written_with_diffusers_parts(prediction: str) -> None:
    """Photos to loss: latents, noise, both encoders, and each row's own framing in the words of the pipeline."""
    model, pipeline = tiny_xl_model(prediction_type=prediction), tiny_xl_pipeline(prediction_type=prediction)
    mine = stepped(model, 0, batch_of(*model.stages[0].posterior(images(16)), framing=FRAMING))
    with torch.no_grad():
        found = pipeline.vae.encode(images(16)).latent_dist
        x0 = (found.mean + found.std * normal(found.mean.shape, "latent", 7)) * 0.13025
        embeds, _, pooled, _ = pipeline.encode_prompt(list(PROMPTS), device="cpu", do_classifier_free_guidance=False)
    sizes = [(tuple(row[:2]), tuple(row[2:4]), tuple(row[4:])) for row in FRAMING.tolist()]
    framing = torch.cat([pipeline._get_add_time_ids(*row, torch.float32, pooled.shape[1]) for row in sizes])
    x_t, t, target = noised(pipeline.scheduler, x0)
    pred = pipeline.unet(x_t, t, embeds, added_cond_kwargs={"text_embeds": pooled, "time_ids": framing}).sample
    compare(mine, pred, target, pipeline.unet)


@KINDS
def test_a_step_of_the_base_of_if_equals_one_written_with_diffusers_parts(prediction: str) -> None:
    """Pixels as they are, and of six channels the first three."""
    pairs = [tiny_if_pair(prediction_type=prediction) for _ in range(2)]
    mine = stepped(DeepFloydIF(pairs[0].base, "tiny"), 0, batch_of(images(4), torch.zeros(3, 1, 1, 1)))
    pipeline = pairs[1].base
    x_t, t, target = noised(pipeline.scheduler, images(4))
    embeds, _ = pipeline.encode_prompt(list(PROMPTS), do_classifier_free_guidance=False)
    compare(mine, pipeline.unet(x_t, t, embeds.detach()).sample[:, :3], target, pipeline.unet)


@KINDS
def test_a_step_of_super_resolution_equals_one_written_with_diffusers_parts(prediction: str) -> None:
    """Beside x_t the small picture, enlarged and with noise of its own, at the level that the U-Net is told."""
    pairs = [tiny_if_pair(prediction_type=prediction) for _ in range(2)]
    model = DeepFloydIF(pairs[0].base, "tiny", pairs[0].larger, Refining(noise_level=LEVEL))
    mine = stepped(model, 1, batch_of(images(16), torch.zeros(3, 1, 1, 1), low_res=images(4)))
    pipeline, level = pairs[1].larger, torch.full((3,), LEVEL)
    large = F.interpolate(images(4), (16, 16), mode="bilinear", align_corners=True)
    beside = pipeline.image_noising_scheduler.add_noise(large, normal(large.shape, "low_res noise", 7), level)
    x_t, t, target = noised(pipeline.scheduler, images(16))
    embeds, _ = pipeline.encode_prompt(list(PROMPTS), do_classifier_free_guidance=False)
    pred = pipeline.unet(torch.cat([x_t, beside], 1), t, embeds.detach(), class_labels=level).sample[:, :3]
    compare(mine, pred, target, pipeline.unet)


@pytest.mark.parametrize("name", ["sdxl", "deepfloyd if, base", "deepfloyd if, super_resolution"])
def test_a_step_reads_nothing_from_the_device(name: str) -> None:
    """On torch's "meta", where tensors have no values: whatever a GPU would be waited for fails there."""
    family = FAMILIES[name]
    model = family.model()
    stage = family.stage_of(model)
    attached(model, SUBJECT, Config.build({"model": "tiny", "method": "lora", **family.settings}), family.stage)
    batch = replace(family.encoded().batch(seed=0, number=0, subject_rows=1, prior_rows=2), framing=FRAMING)
    words, meta = stage.condition(batch.prompts), torch.device("meta")
    model.to(meta)
    if stage.text_trains:
        words = stage.condition(batch.prompts)  # in each step; a frozen T5 reads before the first, and is waited for
    process = stage.process.with_snr_gamma(5.0)
    loss, error = training_step(stage, process, batch, replace(words, embeds=words.embeds.to(meta)), 0.7, 0)
    loss.backward()
    assert loss.device.type == "meta" and error.shape == (3,)
