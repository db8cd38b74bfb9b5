"""What Stable Diffusion 3 has beside other families: lengths, distilled relatives, and its published widths."""

from typing import Any

import pytest
import torch
from diffusers import SD3Transformer2DModel

from dreambooth.errors import ModelError
from dreambooth.models.stable_diffusion_3 import StableDiffusion3
from families import FAMILIES
from tiny import CONTEXT
from tiny_sd3 import sd3_pipeline

WIDE: dict[str, Any] = {"joint_attention_dim": 4096, "pooled_projection_dim": 2048, "sample_size": 128}


def test_t5_reads_as_many_tokens_in_training_as_in_use() -> None:
    """256; diffusers' script trains on 77 of them, and draws with all."""
    (stage,) = FAMILIES["sd3"].model().stages
    words = stage.condition(["a dog"])
    assert words.embeds.shape == (1, CONTEXT + 256, 40) and words.pooled.shape == (1, 36)


def test_an_editing_model_is_refused() -> None:
    pipeline = sd3_pipeline()
    pipeline.transformer.register_to_config(in_channels=33)
    with pytest.raises(ModelError, match="reads 33 channels"):
        StableDiffusion3(pipeline, "inpainting")


@pytest.mark.parametrize(
    ("config", "billions"),
    [
        ({"num_layers": 24, "num_attention_heads": 24, "pos_embed_max_size": 192}, 2.028),
        (
            {"num_layers": 24, "num_attention_heads": 24, "pos_embed_max_size": 384, "qk_norm": "rms_norm"}
            | {"dual_attention_layers": tuple(range(13))},
            2.243,
        ),
        ({"num_layers": 38, "num_attention_heads": 38, "pos_embed_max_size": 192, "qk_norm": "rms_norm"}, 8.057),
    ],
    ids=["3 medium", "3.5 medium", "3.5 large"],
)
def test_the_published_widths_have_the_published_numbers_of_weights(config: dict[str, Any], billions: float) -> None:
    with torch.device("meta"):
        transformer = SD3Transformer2DModel(**WIDE, **config, caption_projection_dim=64 * config["num_attention_heads"])
    assert sum(p.numel() for p in transformer.parameters()) / 1e9 == pytest.approx(billions, abs=5e-4)
