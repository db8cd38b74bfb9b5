"""Small random Stable Diffusion pipelines, built from configs alone: real parts, reduced width, no download."""

from typing import Any

import diffusers
import torch
import transformers
from transformers.convert_slow_tokenizer import bytes_to_unicode

from dreambooth.adapters import Adapter, attach
from dreambooth.config import Config
from dreambooth.models.base import DiffusionModel
from dreambooth.models.stable_diffusion import StableDiffusion
from dreambooth.subject import Subject

DIFFUSERS: Any = diffusers  # both libraries are only half typed
TRANSFORMERS: Any = transformers

WORDS = (
    *(
        "a",
        "photo",
        "of",
        "in",
        "the",
        "on",
        "with",
        "and",
        "dog",
        "cat",
        "toy",
        "car",
        "blue",
        "red",
        "green",
        "small",
    ),
    *("big", "snow", "beach", "mug", "backpack", "top", "style", "next"),
    *("sks", "zwx", "ohwx", "olis", "xjy", "qvu", "grb", "pll"),
)
"""Whole words of the vocabulary, most frequent first; the last ones are rare tokens."""

SHORT: dict[str, Any] = {
    "max_train_steps": 4,
    "learning_rate": 1e-3,
    "validation_steps": 2,
    "checkpointing_steps": 2,
    "num_class_images": 2,
    "class_num_inference_steps": 2,
    "num_inference_steps": 2,
    "num_images_per_prompt": 1,
}
"""Settings of a whole run of a few seconds."""

CONTEXT = 16
"""Tokens in a prompt, start and end included."""


def tiny_tokenizer(pad: str = "<|endoftext|>") -> Any:
    """A byte-level BPE in CLIP's layout: bytes, bytes with </w>, then merges in order of frequency, then specials."""
    letters = list(bytes_to_unicode().values())
    vocab = [*letters, *(f"{letter}</w>" for letter in letters)]
    merges: list[tuple[str, str]] = []
    for word in WORDS:
        left = word[0]
        for at, letter in enumerate(word[1:], start=2):
            right = f"{letter}</w>" if at == len(word) else letter
            if (left, right) not in merges:
                merges.append((left, right))
                vocab.append(left + right)
            left += right
    vocab += ["<|startoftext|>", "<|endoftext|>"]
    return TRANSFORMERS.CLIPTokenizer(
        vocab={token: index for index, token in enumerate(vocab)},
        merges=merges,
        model_max_length=CONTEXT,
        pad_token=pad,
    )


def tiny_pipeline(prediction_type: str = "epsilon", seed: int = 0, size: int = 32, **schedule: object) -> Any:
    """A StableDiffusionPipeline of 100 000 random weights for images of `size` pixels; latents have half that side.

    schedule: further settings of the DDPMScheduler, such as rescale_betas_zero_snr=True.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tokenizer = tiny_tokenizer()
        unet = DIFFUSERS.UNet2DConditionModel(
            sample_size=size // 2,
            block_out_channels=(8, 16),
            layers_per_block=1,
            norm_num_groups=4,
            cross_attention_dim=32,
            attention_head_dim=2,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        )
        vae = DIFFUSERS.AutoencoderKL(
            sample_size=size,
            block_out_channels=(4, 8),
            norm_num_groups=4,
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
        )
        text_encoder = TRANSFORMERS.CLIPTextModel(
            TRANSFORMERS.CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=32,
                intermediate_size=37,
                num_hidden_layers=2,
                num_attention_heads=4,
                max_position_embeddings=CONTEXT,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
    scheduler = DIFFUSERS.DDPMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        steps_offset=1,
        prediction_type=prediction_type,
        **schedule,
    )
    pipeline = DIFFUSERS.StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def attached(model: DiffusionModel, subject: Subject, config: Config, stage: int = 0) -> Adapter:
    """The adapter of a config on a stage of a model."""
    return attach(model, model.stages[stage], subject, config)


def tiny_model(prediction_type: str = "epsilon", seed: int = 0, size: int = 32, **schedule: object) -> StableDiffusion:
    """`tiny_pipeline` as the package sees it."""
    return StableDiffusion(tiny_pipeline(prediction_type, seed, size, **schedule), "tiny")
