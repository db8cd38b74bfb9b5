"""What Stable Diffusion 3 has beside other families: lengths, distilled relatives, and its published widths."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import SD3Transformer2DModel
from safetensors.torch import load_file

from comfyui import layers_in
from dreambooth.config import Config
from dreambooth.errors import ModelError
from dreambooth.models.stable_diffusion_3 import StableDiffusion3
from families import FAMILIES, SUBJECT
from tiny import CONTEXT, attached
from tiny_sd3 import sd3_pipeline

WIDE: dict[str, Any] = {"joint_attention_dim": 4096, "pooled_projection_dim": 2048, "sample_size": 128}


def test_t5_reads_as_many_tokens_in_training_as_in_use() -> None:
    """256; diffusers' script trains on 77 of them, and draws with all."""
    (stage,) = FAMILIES["sd3"].model().stages
    words = stage.condition(["a dog"])
    assert words.embeds.shape == (1, CONTEXT + 256, 40) and words.pooled.shape == (1, 36)


def test_the_second_attention_of_3_5_medium_has_a_lora_too(tmp_path: Path) -> None:
    """diffusers' script passes it over."""
    family = FAMILIES["sd3"]
    model = family.model()
    assert model.pipeline.transformer.config.dual_attention_layers == (0,)
    attached(model, SUBJECT, Config.build({"model": "tiny", **family.settings, "method": "lora"})).export(tmp_path)
    layers = layers_in(load_file(tmp_path / "pytorch_lora_weights.safetensors"))
    expected = {f"transformer.transformer_blocks.0.attn2.{name}" for name in ("to_q", "to_k", "to_v", "to_out.0")}
    assert {layer for layer in layers if ".attn2." in layer} == expected


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
