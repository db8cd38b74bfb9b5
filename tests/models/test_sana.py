"""What Sana has beside other families: an instruction before every prompt, its own solver, its published widths."""

from typing import Any

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler, SanaTransformer2DModel

from dreambooth.errors import ModelError
from dreambooth.models.base import Sampling
from dreambooth.models.sana import Sana
from families import FAMILIES
from tiny_sana import sana_pipeline

FAMILY = FAMILIES["sana"]


def test_the_instruction_of_the_pipelines_call_is_before_the_prompt_in_training_too() -> None:
    """diffusers' script trains without it, and joins one that is given letter by letter."""
    model = FAMILY.model()
    read: list[torch.Tensor] = []
    model.pipeline.text_encoder.register_forward_pre_hook(
        lambda module, args, kwargs: read.append(args[0]), with_kwargs=True
    )
    words = model.stages[0].condition(["A DOG"])
    said = model.pipeline.tokenizer.decode(read[0][0], skip_special_tokens=True)
    assert said.startswith("Given a user prompt, generate an 'Enhanced prompt'") and said.endswith("User Prompt: a dog")
    assert words.embeds.shape == (1, 300, 16)


@pytest.mark.parametrize(
    ("sampler", "scheduler"),
    [("euler", FlowMatchEulerDiscreteScheduler), ("dpmsolver++", DPMSolverMultistepScheduler)],
)
def test_both_samplers_draw_along_the_flow_that_is_published(sampler: str, scheduler: Any) -> None:
    model = FAMILY.model()
    made = model.sampler(Sampling(sampler=sampler, num_inference_steps=2, guidance_scale=1.0))
    assert type(made) is scheduler
    assert made.config.get("shift", made.config.get("flow_shift")) == 3.0
    pictures = [
        model.generate(["a dog"], [0], Sampling(sampler=name, num_inference_steps=40, guidance_scale=1.0)).astype(int)
        for name in (sampler, "dpmsolver++")
    ]
    assert abs(pictures[0] - pictures[1]).mean() < 4  # many small steps along one line


def test_sprint_and_editing_models_are_refused() -> None:
    with pytest.raises(ModelError, match="as Sana Sprint is"):
        Sana(sana_pipeline(guidance_embeds=True), "sprint")
    with pytest.raises(ModelError, match="reads 8 channels"):
        Sana(sana_pipeline(in_channels=8), "editing")


@pytest.mark.parametrize(
    ("config", "billions"),
    [
        ({}, 1.604),
        (
            {"num_attention_heads": 36, "num_layers": 28, "num_cross_attention_heads": 16}
            | {"cross_attention_head_dim": 72, "cross_attention_dim": 1152},
            0.592,
        ),
        ({"num_layers": 60, "qk_norm": "rms_norm_across_heads"}, 4.722),
    ],
    ids=["1.6B", "0.6B", "1.5 4.8B"],
)
def test_the_published_widths_have_the_published_numbers_of_weights(config: dict[str, Any], billions: float) -> None:
    with torch.device("meta"):
        transformer = SanaTransformer2DModel(**config)
    assert sum(p.numel() for p in transformer.parameters()) / 1e9 == pytest.approx(billions, abs=5e-4)
