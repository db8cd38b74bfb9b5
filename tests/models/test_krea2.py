"""What Krea 2 has beside other families: words after their padding, depths side by side, its published width."""

import pytest
import torch
from diffusers import Krea2Transformer2DModel

from dreambooth.errors import ModelError
from dreambooth.models.base import Sampling
from dreambooth.models.krea2 import Krea2
from families import FAMILIES
from tiny_qwen import krea_pipeline

FAMILY = FAMILIES["krea2"]


def test_the_template_ends_after_the_padding_and_counts_no_place_for_it() -> None:
    model = FAMILY.model()
    (stage,) = model.stages
    asked: list[torch.Tensor] = []
    model.pipeline.text_encoder.register_forward_pre_hook(
        lambda module, args, kwargs: asked.append(kwargs["position_ids"]), with_kwargs=True
    )
    words = stage.condition(["a dog"])
    assert words.mask is not None and words.embeds.shape[2:] == (4, 16)
    row = words.mask[0]
    first = int((~row).nonzero()[0])
    last = int((~row).nonzero()[-1])
    assert row[:first].all() and not row[first : last + 1].any() and row[last + 1 :].all() and last + 1 < len(row)
    places = asked[0][0, 0]
    assert places[-1] == int(row.sum()) + 34 - 1  # the dropped beginning of the template counts, padding does not


def test_the_depths_are_those_of_the_pipelines_config() -> None:
    deep: list[torch.Tensor] = []
    model = Krea2(krea_pipeline(text_encoder_select_layers=(4, 2, 1, 0)), "tiny")
    model.pipeline.text_encoder.register_forward_hook(
        lambda module, args, output: deep.append(torch.stack([output.hidden_states[at] for at in (4, 2, 1, 0)], 2))
    )
    assert torch.equal(model.stages[0].condition(["a dog"]).embeds, deep[0][:, 34:])


@pytest.mark.parametrize(("scale", "calls"), [(1.0, 2), (1.5, 4)])
def test_a_guidance_of_1_is_none(scale: float, calls: int) -> None:
    model = FAMILY.model()
    seen: list[int] = []
    model.pipeline.transformer.register_forward_pre_hook(lambda module, args: seen.append(1))
    model.generate(["a dog"], [0], Sampling(sampler="euler", num_inference_steps=2, guidance_scale=scale))
    assert len(seen) == calls


def test_a_distilled_model_is_refused() -> None:
    with pytest.raises(ModelError, match="Krea 2 Raw is trained"):
        Krea2(krea_pipeline(is_distilled=True), "turbo")


def test_the_published_width_has_the_published_number_of_weights() -> None:
    with torch.device("meta"):
        transformer = Krea2Transformer2DModel()
    assert sum(p.numel() for p in transformer.parameters()) / 1e9 == pytest.approx(12.820, abs=5e-4)
