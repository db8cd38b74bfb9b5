"""What FLUX.1 has beside other families: a guidance that is told, distilled relatives, and its published width."""

from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel
from torch import Tensor

from dreambooth.errors import ModelError
from dreambooth.models.base import Sampling
from dreambooth.models.flux import Flux
from families import FAMILIES
from tiny_flux import flux_pipeline

FAMILY = FAMILIES["flux"]


def told(model: Any) -> list[Tensor | None]:
    """The guidance in every call of the transformer from now on."""
    found: list[Tensor | None] = []
    model.pipeline.transformer.register_forward_pre_hook(
        lambda module, args, kwargs: found.append(kwargs["guidance"]), with_kwargs=True
    )
    return found


def test_photos_are_told_no_guidance_and_pictures_the_one_they_are_drawn_with() -> None:
    model = FAMILY.model()
    found = told(model)
    (stage,) = model.stages
    stage.predict(FAMILY.noisy(2), FAMILY.times(2), stage.condition(["a dog", "a cat"]))
    model.generate(["a dog"], [0], Sampling(sampler="euler", num_inference_steps=2, guidance_scale=3.5))
    assert [guidance.tolist() for guidance in found if guidance is not None] == [[1.0, 1.0], [3.5], [3.5]]


def test_a_model_without_a_guidance_embedding_is_told_none() -> None:
    model: Any = Flux(flux_pipeline(guidance_embeds=False), "tiny")
    found = told(model)
    (stage,) = model.stages
    stage.predict(FAMILY.noisy(1), FAMILY.times(1), stage.condition(["a dog"]))
    assert found == [None]


def test_places_of_tokens_have_no_batch() -> None:
    """Joined row by row, as in diffusers' script with class images, they would be twice too many."""
    model = FAMILY.model()
    shapes: list[tuple[int, ...]] = []
    model.pipeline.transformer.register_forward_pre_hook(
        lambda module, args, kwargs: shapes.extend([kwargs["txt_ids"].shape, kwargs["img_ids"].shape]), with_kwargs=True
    )
    (stage,) = model.stages
    rows = [stage.condition([prompt]) for prompt in ("a sks dog", "a dog")]
    stage.predict(FAMILY.noisy(2), FAMILY.times(2), stage.stack(rows))
    assert shapes == [(512, 3), (16, 3)]


def test_a_step_distilled_model_and_an_editing_model_are_refused() -> None:
    schnell = flux_pipeline(guidance_embeds=False, use_dynamic_shifting=False, shift=1.0)
    with pytest.raises(ModelError, match=r"distilled to a few steps, as FLUX\.1 \[schnell\] is"):
        Flux(schnell, "schnell")
    fill = flux_pipeline()
    fill.transformer.register_to_config(in_channels=96)
    with pytest.raises(ModelError, match="reads 96 channels"):
        Flux(fill, "fill")


def test_the_published_width_has_the_published_number_of_weights() -> None:
    """FLUX.1 [dev]: "a 12 billion parameter rectified flow transformer", counted in its safetensors."""
    with torch.device("meta"):
        transformer = FluxTransformer2DModel(guidance_embeds=True)
        vae: Any = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
            latent_channels=16,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            use_quant_conv=False,
            use_post_quant_conv=False,
        )
    assert sum(p.numel() for p in transformer.parameters()) == 11_901_408_320
    assert sum(p.numel() for p in vae.parameters()) == 83_819_683
