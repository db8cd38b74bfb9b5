"""A small random FLUX.1 pipeline, and what its step is, by the pipeline's own parts."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tiny import CONTEXT, DIFFUSERS, TRANSFORMERS, tiny_tokenizer
from tiny_text import t5_encoder, t5_tokenizer

VAE: dict[str, Any] = {
    "block_out_channels": (4, 8),
    "norm_num_groups": 4,
    "latent_channels": 4,
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
    "scaling_factor": 0.7,
    "shift_factor": 0.3,
}
"""An autoencoder of half the side; factors that show where they are forgotten."""

DYNAMIC: dict[str, Any] = {"use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.15, "shift": 3.0}
"""The schedule as published."""


def flux_pipeline(guidance_embeds: bool = True, **schedule: object) -> Any:
    """A FluxPipeline of 60 000 random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        clip, t5 = tiny_tokenizer(), t5_tokenizer()
        pipeline = DIFFUSERS.FluxPipeline(
            transformer=DIFFUSERS.FluxTransformer2DModel(
                in_channels=16,
                num_layers=1,
                num_single_layers=1,
                attention_head_dim=16,
                num_attention_heads=1,
                joint_attention_dim=24,
                pooled_projection_dim=20,
                axes_dims_rope=(4, 4, 8),
                guidance_embeds=guidance_embeds,
            ),
            vae=DIFFUSERS.AutoencoderKL(sample_size=16, **VAE),
            text_encoder=TRANSFORMERS.CLIPTextModel(clip_config(clip, 20)),
            text_encoder_2=t5_encoder(t5, 24),
            tokenizer=clip,
            tokenizer_2=t5,
            scheduler=DIFFUSERS.FlowMatchEulerDiscreteScheduler(**{**DYNAMIC, **schedule}),
        )
    return ready(pipeline)


def ready(pipeline: Any) -> Any:
    """As `from_pretrained` leaves it: no dropout, and quiet here."""
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def clip_config(tokenizer: Any, width: int) -> Any:
    """As published, the end of a prompt is looked for at the highest number."""
    return TRANSFORMERS.CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=CONTEXT,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=2,
        projection_dim=width,
    )


def flux_seen(inputs: Mapping[str, Any], output: Any) -> tuple[Tensor, Tensor, Tensor]:
    """x_t, sigma and velocity in a call of the transformer; 16 pixels are 4 x 4 tokens."""
    unpack = DIFFUSERS.FluxPipeline._unpack_latents
    return unpack(inputs["hidden_states"], 16, 16, 2), inputs["timestep"], unpack(output[0], 16, 16, 2)


def flux_velocity(pipeline: Any, prompts: Sequence[str], x_t: Tensor, sigma: Tensor) -> Tensor:
    """What the transformer says of x_t, all by the pipeline's own functions."""
    embeds, pooled, text_ids = pipeline.encode_prompt(list(prompts), None, max_sequence_length=512)
    rows, channels, height, width = x_t.shape
    (velocity,) = pipeline.transformer(
        hidden_states=pipeline._pack_latents(x_t, rows, channels, height, width),
        timestep=sigma,
        guidance=torch.ones(rows) if pipeline.transformer.config.guidance_embeds else None,
        pooled_projections=pooled,
        encoder_hidden_states=embeds,
        txt_ids=text_ids,
        img_ids=pipeline._prepare_latent_image_ids(rows, height // 2, width // 2, "cpu", torch.float32),
        return_dict=False,
    )
    found: Tensor = pipeline._unpack_latents(velocity, 2 * height, 2 * width, 2)
    return found
