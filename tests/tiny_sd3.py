"""A small random Stable Diffusion 3.5 pipeline, and what its step is, by the pipeline's own parts."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tiny import DIFFUSERS, TRANSFORMERS, tiny_tokenizer
from tiny_flux import VAE, clip_config, ready
from tiny_text import t5_encoder, t5_tokenizer


def sd3_pipeline() -> Any:
    """A StableDiffusion3Pipeline of 60 000 random weights, with the second attention of 3.5 medium."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        clip, t5 = tiny_tokenizer(), t5_tokenizer()
        pipeline = DIFFUSERS.StableDiffusion3Pipeline(
            transformer=DIFFUSERS.SD3Transformer2DModel(
                sample_size=8,
                in_channels=4,
                out_channels=4,
                num_layers=2,
                attention_head_dim=8,
                num_attention_heads=2,
                joint_attention_dim=40,
                caption_projection_dim=16,
                pooled_projection_dim=36,
                pos_embed_max_size=24,
                dual_attention_layers=(0,),
                qk_norm="rms_norm",
            ),
            vae=DIFFUSERS.AutoencoderKL(sample_size=16, **VAE),
            text_encoder=TRANSFORMERS.CLIPTextModelWithProjection(clip_config(clip, 16)),
            text_encoder_2=TRANSFORMERS.CLIPTextModelWithProjection(clip_config(clip, 20)),
            text_encoder_3=t5_encoder(t5, 40),  # at least as wide as both CLIPs together
            tokenizer=clip,
            tokenizer_2=tiny_tokenizer(pad="!"),
            tokenizer_3=t5,
            scheduler=DIFFUSERS.FlowMatchEulerDiscreteScheduler(shift=3.0),
        )
    return ready(pipeline)


def sd3_seen(inputs: Mapping[str, Any], output: Any) -> tuple[Tensor, Tensor, Tensor]:
    """x_t, sigma and velocity in a call of the transformer."""
    return inputs["hidden_states"], inputs["timestep"] / 1000, output[0]


def sd3_velocity(pipeline: Any, prompts: Sequence[str], x_t: Tensor, sigma: Tensor) -> Tensor:
    """What the transformer says of x_t."""
    embeds, _, pooled, _ = pipeline.encode_prompt(
        list(prompts), None, None, do_classifier_free_guidance=False, max_sequence_length=256
    )
    found: Tensor = pipeline.transformer(
        hidden_states=x_t,
        timestep=sigma * 1000,
        encoder_hidden_states=embeds,
        pooled_projections=pooled,
        return_dict=False,
    )[0]
    return found
