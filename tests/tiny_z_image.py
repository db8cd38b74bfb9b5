"""A small random Z-Image pipeline, and what its step is, by the pipeline's own parts."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tiny import DIFFUSERS, TRANSFORMERS
from tiny_flux import VAE, ready
from tiny_text import qwen3, qwen_tokenizer


def z_image_pipeline() -> Any:
    """A ZImagePipeline of 60 000 random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tokenizer = qwen_tokenizer()
        transformer = DIFFUSERS.ZImageTransformer2DModel(
            in_channels=4,
            dim=32,
            n_layers=1,
            n_refiner_layers=1,
            n_heads=2,
            n_kv_heads=2,
            cap_feat_dim=16,
            axes_dims=[8, 4, 4],
            axes_lens=[256, 32, 32],
        )
        for token in (transformer.x_pad_token, transformer.cap_pad_token):
            torch.nn.init.normal_(token)  # diffusers leaves them as the memory was
        pipeline = DIFFUSERS.ZImagePipeline(
            transformer=transformer,
            vae=DIFFUSERS.AutoencoderKL(sample_size=16, **VAE),
            text_encoder=qwen3(TRANSFORMERS.Qwen3Model, tokenizer, 2),
            tokenizer=tokenizer,
            scheduler=DIFFUSERS.FlowMatchEulerDiscreteScheduler(shift=6.0),
        )
    return ready(pipeline)


def z_image_seen(inputs: Mapping[str, Any], output: Any) -> tuple[Tensor, Tensor, Tensor]:
    """x_t, sigma and velocity in a call of the transformer."""
    return torch.stack(inputs["x"])[:, :, 0], 1 - inputs["t"], -torch.stack(output[0])[:, :, 0]


def z_image_velocity(pipeline: Any, prompts: Sequence[str], x_t: Tensor, sigma: Tensor) -> Tensor:
    """What the transformer says of x_t."""
    embeds, _ = pipeline.encode_prompt(list(prompts), do_classifier_free_guidance=False, max_sequence_length=512)
    found = pipeline.transformer([row[:, None] for row in x_t], 1 - sigma, embeds, return_dict=False)[0]
    return -torch.stack([row[:, 0] for row in found])
