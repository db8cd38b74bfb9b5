"""Small random FLUX.2 pipelines, and what their step is, by the pipelines' own parts."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tiny import DIFFUSERS, TRANSFORMERS
from tiny_flux import DYNAMIC, ready
from tiny_text import mistral, qwen3, qwen_tokenizer


def flux2_pipeline() -> Any:
    """A Flux2Pipeline of 100 000 random weights: as [dev], told a guidance, Mistral deep enough for its layers."""
    return _pipeline(DIFFUSERS.Flux2Pipeline, lambda tokenizer: mistral(tokenizer, 31), guidance_embeds=True)


def klein_pipeline(**options: object) -> Any:
    """A Flux2KleinPipeline: as [klein] base, Qwen3 deep enough for its layers."""
    encoder = TRANSFORMERS.Qwen3ForCausalLM
    return _pipeline(
        DIFFUSERS.Flux2KleinPipeline, lambda words: qwen3(encoder, words, 28), guidance_embeds=False, **options
    )


def _pipeline(type_: Any, encoder: Any, guidance_embeds: bool, **options: object) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tokenizer = qwen_tokenizer()
        pipeline = type_(
            transformer=DIFFUSERS.Flux2Transformer2DModel(
                in_channels=8,
                num_layers=1,
                num_single_layers=2,
                attention_head_dim=16,
                num_attention_heads=1,
                joint_attention_dim=48,
                timestep_guidance_channels=16,
                axes_dims_rope=(4, 4, 4, 4),
                guidance_embeds=guidance_embeds,
            ),
            vae=DIFFUSERS.AutoencoderKLFlux2(
                block_out_channels=(4, 8),
                norm_num_groups=4,
                latent_channels=2,
                sample_size=16,
                down_block_types=("DownEncoderBlock2D",) * 2,
                up_block_types=("UpDecoderBlock2D",) * 2,
            ),
            text_encoder=encoder(tokenizer),
            tokenizer=tokenizer,
            scheduler=DIFFUSERS.FlowMatchEulerDiscreteScheduler(**DYNAMIC),
            **options,
        )
        pipeline.vae.bn.running_mean.copy_(torch.linspace(-1, 1, 8))
        pipeline.vae.bn.running_var.copy_(torch.linspace(0.2, 2, 8))
        for name, parameter in pipeline.transformer.named_parameters():
            if "modulation" in name:  # it opens the gates: as they are at first, a block hardly does anything
                parameter.data *= 8
    return ready(pipeline)


def flux2_latents(vae: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    """By the pipeline's own function, which reads nothing of a pipeline but its autoencoder."""
    pipeline = DIFFUSERS.Flux2KleinPipeline.__new__(DIFFUSERS.Flux2KleinPipeline)
    object.__setattr__(pipeline, "vae", vae)
    found = pipeline._encode_vae_image(images, None)
    return found, torch.zeros_like(found)


def flux2_seen(inputs: Mapping[str, Any], output: Any) -> tuple[Tensor, Tensor, Tensor]:
    """x_t, sigma and velocity in a call of the transformer; 16 pixels are 4 x 4 tokens."""
    return _map(inputs["hidden_states"]), inputs["timestep"], _map(output[0])


def _map(tokens: Tensor) -> Tensor:
    return tokens.permute(0, 2, 1).reshape(len(tokens), 8, 4, 4)


def flux2_velocity(pipeline: Any, prompts: Sequence[str], x_t: Tensor, sigma: Tensor) -> Tensor:
    """What the transformer says of x_t; layers as published."""
    layers = (9, 18, 27) if isinstance(pipeline, DIFFUSERS.Flux2KleinPipeline) else (10, 20, 30)
    embeds, text_ids = pipeline.encode_prompt(list(prompts), max_sequence_length=512, text_encoder_out_layers=layers)
    tokens = pipeline.transformer(
        hidden_states=pipeline._pack_latents(x_t),
        timestep=sigma,
        guidance=torch.ones(len(x_t)) if pipeline.transformer.config.guidance_embeds else None,
        encoder_hidden_states=embeds,
        txt_ids=text_ids,
        img_ids=pipeline._prepare_latent_ids(x_t),
        return_dict=False,
    )[0]
    return _map(tokens)
