"""A small random SDXL pipeline, built from configs alone: both text encoders, pooled words and framing, no download."""

from typing import Any

import torch

from dreambooth.models.stable_diffusion_xl import StableDiffusionXL
from tiny import CONTEXT, DIFFUSERS, TRANSFORMERS, tiny_tokenizer

UNET: dict[str, Any] = {
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "attention_head_dim": (2, 4),
    "transformer_layers_per_block": (1, 2),
    "use_linear_projection": True,
    "cross_attention_dim": 56,  # 24 + 32, the widths of the encoders
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 6 * 8 + 40,  # framing and pooled words
}
VAE: dict[str, Any] = {
    "block_out_channels": (4, 8),
    "norm_num_groups": 4,
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "scaling_factor": 0.13025,
}
TEXT: dict[str, Any] = {"num_hidden_layers": 3, "num_attention_heads": 4, "max_position_embeddings": CONTEXT}
TEXT_1: dict[str, Any] = {**TEXT, "hidden_size": 24, "intermediate_size": 30}
TEXT_2: dict[str, Any] = {
    **TEXT,
    "hidden_size": 32,
    "intermediate_size": 36,
    "hidden_act": "gelu",
    "projection_dim": 40,
    "eos_token_id": 2,  # as published: the pooled words are then read at the highest token number
}
SCHEDULE: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
    "timestep_spacing": "leading",
}


def tiny_xl_pipeline(seed: int = 0, size: int = 16, **schedule: object) -> Any:
    """A StableDiffusionXLPipeline of 150 000 random weights for images of `size` pixels; latents have half that side.

    schedule: further settings of the scheduler, such as prediction_type="v_prediction".
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tokenizers = tiny_tokenizer(), tiny_tokenizer(pad="!")
        words = {"vocab_size": len(tokenizers[0]), "bos_token_id": tokenizers[0].bos_token_id}
        pipeline = DIFFUSERS.StableDiffusionXLPipeline(
            unet=DIFFUSERS.UNet2DConditionModel(sample_size=size // 2, **UNET),
            vae=DIFFUSERS.AutoencoderKL(sample_size=size, **VAE),
            text_encoder=TRANSFORMERS.CLIPTextModel(
                TRANSFORMERS.CLIPTextConfig(**words, eos_token_id=tokenizers[0].eos_token_id, **TEXT_1)
            ),
            text_encoder_2=TRANSFORMERS.CLIPTextModelWithProjection(TRANSFORMERS.CLIPTextConfig(**words, **TEXT_2)),
            tokenizer=tokenizers[0],
            tokenizer_2=tokenizers[1],
            scheduler=DIFFUSERS.EulerDiscreteScheduler(**SCHEDULE, **schedule),
            add_watermarker=False,
        )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def tiny_xl_model(seed: int = 0, size: int = 16, **schedule: object) -> StableDiffusionXL:
    """`tiny_xl_pipeline` as the package sees it."""
    return StableDiffusionXL(tiny_xl_pipeline(seed, size, **schedule), "tiny")
