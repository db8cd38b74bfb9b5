"""A pipeline's weights under the names and in the shapes of the original layout, in which checkpoints are shared.

Names are those of https://github.com/CompVis/stable-diffusion and https://github.com/Stability-AI/generative-models,
which count the layers of the U-Net through all blocks; diffusers counts them in each.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

Rename = Callable[..., str]

UNET: tuple[tuple[str, Rename], ...] = (
    (r"time_embedding\.linear_(\d)", lambda _, half: f"time_embed.{2 * (half - 1)}"),
    (r"add_embedding\.linear_(\d)", lambda _, half: f"label_emb.0.{2 * (half - 1)}"),
    (r"conv_in", lambda _: "input_blocks.0.0"),
    (r"conv_norm_out", lambda _: "out.0"),
    (r"conv_out", lambda _: "out.2"),
    (r"down_blocks\.(\d+)\.resnets\.(\d+)", lambda n, block, layer: f"input_blocks.{n * block + layer + 1}.0"),
    (r"down_blocks\.(\d+)\.attentions\.(\d+)", lambda n, block, layer: f"input_blocks.{n * block + layer + 1}.1"),
    (r"down_blocks\.(\d+)\.downsamplers\.0\.conv", lambda n, block: f"input_blocks.{n * (block + 1)}.0.op"),
    (r"mid_block\.resnets\.(\d)", lambda _, layer: f"middle_block.{2 * layer}"),
    (r"mid_block\.attentions\.0", lambda _: "middle_block.1"),
    (r"up_blocks\.(\d+)\.resnets\.(\d+)", lambda n, block, layer: f"output_blocks.{n * block + layer}.0"),
    (r"up_blocks\.(\d+)\.attentions\.(\d+)", lambda n, block, layer: f"output_blocks.{n * block + layer}.1"),
    (r"up_blocks\.(\d+)\.upsamplers\.0", lambda n, block: f"output_blocks.{n * block + n - 1}.2"),
)
"""Beginnings of names, and what they become; n: layers of a block of the original, one more than diffusers counts."""

VAE: tuple[tuple[str, Rename], ...] = (
    (r"encoder\.down_blocks\.(\d+)\.resnets\.(\d+)", lambda _, block, layer: f"encoder.down.{block}.block.{layer}"),
    (r"encoder\.down_blocks\.(\d+)\.downsamplers\.0", lambda _, block: f"encoder.down.{block}.downsample"),
    (r"decoder\.up_blocks\.(\d+)\.resnets\.(\d+)", lambda n, block, layer: f"decoder.up.{n - 1 - block}.block.{layer}"),
    (r"decoder\.up_blocks\.(\d+)\.upsamplers\.0", lambda n, block: f"decoder.up.{n - 1 - block}.upsample"),
    (r"encoder\.mid_block\.resnets\.(\d)", lambda _, layer: f"encoder.mid.block_{layer + 1}"),
    (r"decoder\.mid_block\.resnets\.(\d)", lambda _, layer: f"decoder.mid.block_{layer + 1}"),
    (r"encoder\.mid_block\.attentions\.0", lambda _: "encoder.mid.attn_1"),
    (r"decoder\.mid_block\.attentions\.0", lambda _: "decoder.mid.attn_1"),
    (r"encoder\.conv_norm_out", lambda _: "encoder.norm_out"),
    (r"decoder\.conv_norm_out", lambda _: "decoder.norm_out"),
)
"""The same; n: the number of blocks, which the original counts from the other end on the way up."""

UNET_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
VAE_INSIDE = {
    "conv_shortcut": "nin_shortcut",
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
}
OPEN_CLIP_LAYER = {
    "self_attn.out_proj": "attn.out_proj",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
OPEN_CLIP_OUTSIDE = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm.weight": "ln_final.weight",
    "final_layer_norm.bias": "ln_final.bias",
}


def unet(module: Any) -> dict[str, Tensor]:
    """A UNet2DConditionModel's weights; every block must have as many layers."""
    state, layers = module.state_dict(), module.config.layers_per_block + 1
    found = {}
    for name, tensor in state.items():
        outer, inner = _placed(name, UNET, layers)
        if ".resnets." in name:
            inner = _begun(inner, UNET_RESNET)
        elif ".upsamplers." in name and not _attends(state, name):
            outer = outer.removesuffix("2") + "1"  # second in its place where no attention comes before it
        found[f"{outer}{inner}"] = tensor
    return found


def vae(module: Any) -> dict[str, Tensor]:
    """An AutoencoderKL's weights; its attention is of convolutions of one pixel."""
    blocks = len(module.config.block_out_channels)
    found = {}
    for name, tensor in module.state_dict().items():
        outer, inner = _placed(name, VAE, blocks)
        pixel = ".attentions." in name and tensor.dim() == 2
        found[f"{outer}{_begun(inner, VAE_INSIDE)}"] = tensor[:, :, None, None] if pixel else tensor
    return found


def clip(encoder: Any) -> dict[str, Tensor]:
    """A CLIPTextModel's weights, under the names that transformers 4 has for them."""
    return {f"text_model.{name.removeprefix('text_model.')}": t for name, t in encoder.state_dict().items()}


def open_clip(encoder: Any) -> dict[str, Tensor]:
    """A CLIPTextModelWithProjection's weights as open_clip has them: query, key and value are one matrix."""
    state = {name.removeprefix("text_model."): tensor for name, tensor in encoder.state_dict().items()}
    found = {theirs: state[ours] for ours, theirs in OPEN_CLIP_OUTSIDE.items()}
    found["text_projection"] = state["text_projection.weight"].T
    for layer in range(encoder.config.num_hidden_layers):
        ours, theirs = f"encoder.layers.{layer}", f"transformer.resblocks.{layer}"
        for kind in ("weight", "bias"):
            three = [state[f"{ours}.self_attn.{which}_proj.{kind}"] for which in "qkv"]
            found[f"{theirs}.attn.in_proj_{kind}"] = torch.cat(three)
            found |= {f"{theirs}.{its}.{kind}": state[f"{ours}.{my}.{kind}"] for my, its in OPEN_CLIP_LAYER.items()}
    return found


def _placed(name: str, table: tuple[tuple[str, Rename], ...], n: int) -> tuple[str, str]:
    """The original's name of the place, and what comes after it as it was; a place that has one name is kept."""
    for beginning, rename in table:
        if match := re.match(rf"{beginning}(?=\.)", name):
            return rename(n, *map(int, match.groups())), name[match.end() :]
    return "", name


def _begun(inner: str, names: Mapping[str, str]) -> str:
    for ours, theirs in names.items():
        if inner.startswith(f".{ours}."):
            return f".{theirs}{inner.removeprefix(f'.{ours}')}"
    return inner


def _attends(state: Mapping[str, Tensor], upsampler: str) -> bool:
    block = upsampler.partition(".upsamplers.")[0]
    return any(name.startswith(f"{block}.attentions.") for name in state)
