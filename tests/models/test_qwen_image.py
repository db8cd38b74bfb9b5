"""What Qwen-Image has beside other families: prompts of their own lengths, true guidance, its published width."""

from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLQwenImage, QwenImageTransformer2DModel

from dreambooth import models
from dreambooth.config import Config
from dreambooth.errors import ConfigError, ModelError
from dreambooth.models.base import Sampling
from dreambooth.models.qwen_image import QwenImage
from families import FAMILIES
from tiny_qwen import qwen_pipeline

FAMILY = FAMILIES["qwen-image"]


def test_prompts_of_unlike_lengths_are_joined_with_a_mask_and_alike_ones_without() -> None:
    model = FAMILY.model()
    masks: list[Any] = []
    model.pipeline.transformer.register_forward_pre_hook(
        lambda module, args, kwargs: masks.append(kwargs["encoder_hidden_states_mask"]), with_kwargs=True
    )
    (stage,) = model.stages
    short, long = (stage.condition([prompt]) for prompt in ("a dog", "a big red dog"))
    assert short.embeds.shape[1] < long.embeds.shape[1]
    stage.predict(FAMILY.noisy(2), FAMILY.times(2), stage.stack([short, long]))
    stage.predict(FAMILY.noisy(2), FAMILY.times(2), stage.stack([short, short]))
    assert masks[0].sum(1).tolist() == [short.embeds.shape[1], long.embeds.shape[1]] and masks[1] is None


@pytest.mark.parametrize(("scale", "calls"), [(1.0, 2), (4.0, 4)])
def test_guidance_needs_what_it_leads_away_from(scale: float, calls: int) -> None:
    """Without a negative prompt the pipeline guides by nothing and says nothing, so class images would be unguided."""
    model = FAMILY.model()
    seen: list[float] = []
    model.pipeline.transformer.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(float(kwargs["timestep"][0])), with_kwargs=True
    )
    model.generate(["a dog", "a cat"], [0, 1], Sampling(sampler="euler", num_inference_steps=2, guidance_scale=scale))
    assert len(seen) == calls


def test_each_channel_has_its_own_mean_and_scale() -> None:
    model, images = FAMILY.model(), torch.rand(1, 3, 16, 16)
    before, std = model.stages[0].posterior(images)
    model.pipeline.vae.register_to_config(latents_mean=[0.0] * 4, latents_std=[1.0] * 4)
    plain, plain_std = model.stages[0].posterior(images)
    scale = (plain_std / std).amax((0, 2, 3))
    torch.testing.assert_close(scale, torch.tensor([0.5, 2.0, 1.3, 0.8]))
    shift = (plain - before * scale.view(1, 4, 1, 1)).mean((0, 2, 3))
    torch.testing.assert_close(shift, torch.tensor([-0.5, 0.2, 0.9, 0.0]), rtol=1e-4, atol=1e-5)


def test_distilled_and_editing_models_are_refused() -> None:
    for harm, said in (({"in_channels": 32}, "reads 32 channels"), ({"guidance_embeds": True}, "more than time")):
        pipeline = qwen_pipeline()
        pipeline.transformer.register_to_config(**harm)
        with pytest.raises(ModelError, match=said):
            QwenImage(pipeline, "other")


def test_the_published_width_has_the_published_number_of_weights() -> None:
    with torch.device("meta"):
        transformer, vae = QwenImageTransformer2DModel(), AutoencoderKLQwenImage()
    assert sum(p.numel() for p in transformer.parameters()) / 1e9 == pytest.approx(20.430, abs=5e-4)
    assert vae.config.z_dim == 16


@pytest.mark.parametrize("of", ["class_num_inference_steps", "probe_num_inference_steps", "num_inference_steps"])
def test_one_step_is_refused_before_anything_is_drawn(of: str) -> None:
    """The noise levels are stretched so that the last is .02: of one level, 1, that is 0 / 0."""
    config = Config.build({"model": "tiny", "sampler": "euler", "class_sampler": "euler", of: 1})
    model = FAMILY.model()
    with pytest.raises(ConfigError, match=rf"{of}: .* draws in 2 steps or more, not in 1"):
        models.check(model, config)
    model.pipeline.scheduler.register_to_config(shift_terminal=None)
    models.check(model, config)
