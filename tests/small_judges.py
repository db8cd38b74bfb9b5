"""Judges of the real formats, built from configurations with random weights: real parts, no download."""

from pathlib import Path
from typing import Any

import torch
import transformers
from PIL import Image

from tiny import tiny_tokenizer

TRANSFORMERS: Any = transformers
MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)
SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}
VIT_S16 = {"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 12, "num_attention_heads": 6}


def pictures(count: int, side: int = 48, seed: int = 0) -> list[Image.Image]:
    """Coloured noise, coarse enough to survive resizing."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randint(0, 256, (count, 6, 6, 3), generator=generator, dtype=torch.uint8)
    return [Image.fromarray(pixels.numpy()).resize((side, side), Image.Resampling.BICUBIC) for pixels in coarse]


def dino_parts(full_size: bool = False) -> tuple[Any, Any]:
    """A ViT of random weights and its image processor, as DINO is published; full_size: ViT-S/16 at 224 pixels."""
    side, patch, shape = (224, 16, VIT_S16) if full_size else (32, 8, SMALL)
    model = _random(TRANSFORMERS.ViTModel, TRANSFORMERS.ViTConfig(image_size=side, patch_size=patch, **shape), False)
    size = {"height": side, "width": side}
    return model, TRANSFORMERS.ViTImageProcessorPil(size=size, image_mean=MEAN, image_std=STD)


def dinov2_parts(registers: int = 0) -> tuple[Any, Any]:
    """A DINOv2 of random weights for pictures larger than it is shown, as published, and its image processor."""
    shape = SMALL | {"image_size": 64, "patch_size": 8}
    config = TRANSFORMERS.Dinov2Config(**shape)
    if registers:
        config = TRANSFORMERS.Dinov2WithRegistersConfig(**shape, num_register_tokens=registers)
    model = _random(TRANSFORMERS.Dinov2WithRegistersModel if registers else TRANSFORMERS.Dinov2Model, config)
    crop = {"height": 32, "width": 32}
    return model, TRANSFORMERS.BitImageProcessorPil(size={"shortest_edge": 36}, crop_size=crop)


def clip_parts(full_size: bool = False) -> tuple[Any, Any, Any]:
    """A CLIPModel of random weights, its image processor and a tokenizer; full_size: of ViT-B/32's own shape."""
    tokenizer = tiny_tokenizer()
    words = {"vocab_size": len(tokenizer), "max_position_embeddings": tokenizer.model_max_length}
    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    config = TRANSFORMERS.CLIPConfig(
        text_config=ids if full_size else ids | words | SMALL,
        vision_config={} if full_size else SMALL | {"image_size": 32, "patch_size": 8},
        projection_dim=512 if full_size else 24,
    )
    side = config.vision_config.image_size
    size = {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}}
    return _random(TRANSFORMERS.CLIPModel, config), TRANSFORMERS.CLIPImageProcessorPil(**size), tokenizer


def two_towers() -> tuple[Any, Any, Any]:
    """A LeViT and a CLIP text tower of random weights that share a space, an image processor and a tokenizer."""
    clip, processor, tokenizer = clip_parts()
    hidden = [32, 48, 64]
    seen = TRANSFORMERS.LevitConfig(image_size=32, patch_size=16, hidden_sizes=hidden, hidden_size=64, depths=[1] * 3)
    config = TRANSFORMERS.VisionTextDualEncoderConfig(
        vision_config=seen.to_dict(), text_config=clip.config.text_config.to_dict(), projection_dim=24
    )
    return _random(TRANSFORMERS.VisionTextDualEncoderModel, config), processor, tokenizer


def save(folder: Path, parts: tuple[Any, ...]) -> Path:
    """Write the parts of a judge as transformers does; returns the folder."""
    for part in parts:
        part.save_pretrained(folder)
    return folder


def _random(architecture: Any, config: Any, pooler: bool | None = None) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = architecture(config) if pooler is None else architecture(config, add_pooling_layer=pooler)
        for parameter in model.parameters() if model.num_parameters() < 1e6 else ():
            parameter.data += 0.02 * torch.randn(parameter.shape)  # else it would embed all pictures nearly alike
    return model.eval()
