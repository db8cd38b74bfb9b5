"""Small random Qwen-Image and Krea 2 pipelines, which share an autoencoder, and what their steps are."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tiny import DIFFUSERS, TRANSFORMERS
from tiny_flux import ready
from tiny_text import qwen_tokenizer

TEXT: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 8,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "max_position_embeddings": 2048,
}
MEAN, STD = [-0.5, 0.2, 0.9, 0.0], [0.5, 2.0, 1.3, 0.8]


def vae() -> Any:
    """An autoencoder of videos, of half the side; statistics that show where they are forgotten."""
    return DIFFUSERS.AutoencoderKLQwenImage(
        base_dim=4,
        z_dim=4,
        dim_mult=[1, 2],
        num_res_blocks=1,
        temperal_downsample=[True],
        latents_mean=MEAN,
        latents_std=STD,
    )


def qwen_latents(autoencoder: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    """Channel by channel."""
    found = autoencoder.encode(images[:, :, None]).latent_dist
    mean, std = (torch.tensor(values).view(1, 4, 1, 1) for values in (MEAN, STD))
    return (found.mean[:, :, 0] - mean) / std, found.std[:, :, 0] / std


def qwen_pipeline() -> Any:
    """A QwenImagePipeline of 60 000 random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tokenizer = qwen_tokenizer()
        rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}
        encoder = TRANSFORMERS.Qwen2_5_VLForConditionalGeneration(
            TRANSFORMERS.Qwen2_5_VLConfig(
                text_config={
                    "vocab_size": len(tokenizer), "num_hidden_layers": 2, "rope_parameters": rope, **TEXT,
                    "pad_token_id": tokenizer.pad_token_id,
                },
                vision_config={
                    "depth": 1, "hidden_size": 8, "intermediate_size": 8, "num_heads": 1, "out_hidden_size": 16,
                },
            )
        )  # fmt: skip
        pipeline = DIFFUSERS.QwenImagePipeline(
            transformer=DIFFUSERS.QwenImageTransformer2DModel(
                in_channels=16,
                out_channels=4,
                num_layers=2,
                attention_head_dim=16,
                num_attention_heads=1,
                joint_attention_dim=16,
                axes_dims_rope=(8, 4, 4),
            ),
            vae=vae(),
            text_encoder=encoder,
            tokenizer=tokenizer,
            scheduler=DIFFUSERS.FlowMatchEulerDiscreteScheduler(
                use_dynamic_shifting=True, base_shift=0.5, max_shift=0.9, max_image_seq_len=8192, shift_terminal=0.02
            ),
        )
        for name, parameter in pipeline.transformer.named_parameters():
            if "_mod." in name:  # it opens the gates: as they are at first, a block hardly does anything
                parameter.data *= 8
    return ready(pipeline)


def krea_pipeline(**options: object) -> Any:
    """A Krea2Pipeline of 100 000 random weights that reads four depths."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tokenizer = qwen_tokenizer()
        rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}
        encoder = TRANSFORMERS.Qwen3VLModel(
            TRANSFORMERS.Qwen3VLConfig(
                text_config={
                    "vocab_size": len(tokenizer), "num_hidden_layers": 4, "rope_parameters": rope, **TEXT,
                    "pad_token_id": tokenizer.pad_token_id,
                },
                vision_config={
                    "depth": 1, "hidden_size": 8, "intermediate_size": 8, "num_heads": 1, "out_hidden_size": 16,
                    "deepstack_visual_indexes": [0],
                },
            )
        )  # fmt: skip
        pipeline = DIFFUSERS.Krea2Pipeline(
            transformer=DIFFUSERS.Krea2Transformer2DModel(
                in_channels=16,
                num_layers=1,
                attention_head_dim=16,
                num_attention_heads=2,
                num_key_value_heads=1,
                intermediate_size=32,
                timestep_embed_dim=16,
                text_hidden_dim=16,
                num_text_layers=4,
                text_num_attention_heads=2,
                text_num_key_value_heads=2,
                text_intermediate_size=16,
                num_layerwise_text_blocks=1,
                num_refiner_text_blocks=1,
                axes_dims_rope=(4, 6, 6),
            ),
            vae=vae(),
            text_encoder=encoder,
            tokenizer=tokenizer,
            scheduler=DIFFUSERS.FlowMatchEulerDiscreteScheduler(
                use_dynamic_shifting=True, base_shift=0.5, max_shift=1.15, max_image_seq_len=6400
            ),
            **{"text_encoder_select_layers": (1, 2, 3, 4), **options},
        )
    return ready(pipeline)


def qwen_seen(inputs: Mapping[str, Any], output: Any) -> tuple[Tensor, Tensor, Tensor]:
    """x_t, sigma and velocity in a call of either transformer; 16 pixels are 4 x 4 tokens."""
    unpack = DIFFUSERS.FluxPipeline._unpack_latents
    return unpack(inputs["hidden_states"], 16, 16, 2), inputs["timestep"], unpack(output[0], 16, 16, 2)


def qwen_velocity(pipeline: Any, prompts: Sequence[str], x_t: Tensor, sigma: Tensor) -> Tensor:
    """What the transformer says of x_t."""
    embeds, mask = pipeline.encode_prompt(list(prompts), max_sequence_length=512)
    tokens = pipeline.transformer(
        hidden_states=pipeline._pack_latents(x_t, *x_t.shape),
        timestep=sigma,
        encoder_hidden_states=embeds,
        encoder_hidden_states_mask=mask,
        img_shapes=[[(1, x_t.shape[2] // 2, x_t.shape[3] // 2)]] * len(x_t),
        return_dict=False,
    )[0]
    found: Tensor = pipeline._unpack_latents(tokens, 16, 16, 2)[:, :, 0]
    return found


def krea_velocity(pipeline: Any, prompts: Sequence[str], x_t: Tensor, sigma: Tensor) -> Tensor:
    """What the transformer says of x_t."""
    embeds, mask = pipeline.encode_prompt(list(prompts), max_sequence_length=512)
    tokens = pipeline.transformer(
        hidden_states=pipeline._pack_latents(x_t, *x_t.shape),
        timestep=sigma,
        encoder_hidden_states=embeds,
        encoder_attention_mask=mask,
        position_ids=pipeline.prepare_position_ids(embeds.shape[1], x_t.shape[2] // 2, x_t.shape[3] // 2, "cpu"),
        return_dict=False,
    )[0]
    found: Tensor = pipeline._unpack_latents(tokens, 16, 16)
    return found[:, :, 0] if found.dim() == 5 else found
