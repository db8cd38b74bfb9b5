"""A pipeline's weights in one file of the original layout, as checkpoints are shared: what tests of reading it need.

Names are those of https://github.com/Stability-AI/generative-models.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

OUTSIDE = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
LAYER = {
    "self_attn.out_proj": "attn.out_proj",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}


def write_single_file(pipeline: Any, file: Path, **more: Tensor) -> Path:
    """An SDXL pipeline of two blocks with one layer each, and further tensors, in one file."""
    weights = {
        **{f"model.diffusion_model.{unet_name(name)}": t for name, t in pipeline.unet.state_dict().items()},
        **{f"first_stage_model.{vae_name(name)}": vae_shape(name, t) for name, t in pipeline.vae.state_dict().items()},
        **clip_l(pipeline.text_encoder),
        **open_clip(pipeline.text_encoder_2),
        **more,
    }
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, file)
    return file


def unet_name(name: str) -> str:
    """down_blocks.1.resnets.0.conv1.weight -> input_blocks.3.0.in_layers.2.weight, of two blocks with one layer."""
    for ours, theirs in OUTSIDE.items():
        if name.startswith(f"{ours}."):
            return theirs + name.removeprefix(ours)
    where, kind, number, *rest = _split(name)
    inside = ".".join(rest)
    if kind == "resnets":
        inside = RESNET[rest[0]] + inside.removeprefix(rest[0])
    if where == "mid_block":
        return f"middle_block.{1 if kind == 'attentions' else 2 * int(number)}.{inside}"
    side, block = where.split("_blocks.")
    if kind == "downsamplers":
        return f"input_blocks.{2 * int(block) + 2}.0.op.{'.'.join(rest[1:])}"
    if kind == "upsamplers":
        return f"output_blocks.{2 * int(block) + 1}.{1 if block != '0' else 2}.{inside}"
    at = 2 * int(block) + (1 if side == "down" else 0) + int(number)
    return f"{'input' if side == 'down' else 'output'}_blocks.{at}.{1 if kind == 'attentions' else 0}.{inside}"


def _split(name: str) -> list[str]:
    first, second, *rest = name.split(".")
    return [first, second, *rest] if first == "mid_block" else [f"{first}.{second}", *rest]


def vae_name(name: str) -> str:
    """decoder.up_blocks.0.resnets.1.conv_shortcut.weight -> decoder.up.1.block.1.nin_shortcut.weight, of two blocks."""
    for ours, theirs in (
        ("mid_block.resnets.0", "mid.block_1"),
        ("mid_block.resnets.1", "mid.block_2"),
        ("mid_block.attentions.0.group_norm", "mid.attn_1.norm"),
        ("mid_block.attentions.0.to_q", "mid.attn_1.q"),
        ("mid_block.attentions.0.to_k", "mid.attn_1.k"),
        ("mid_block.attentions.0.to_v", "mid.attn_1.v"),
        ("mid_block.attentions.0.to_out.0", "mid.attn_1.proj_out"),
        ("conv_shortcut", "nin_shortcut"),
        ("conv_norm_out", "norm_out"),
        ("resnets", "block"),
        ("downsamplers.0", "downsample"),
        ("upsamplers.0", "upsample"),
        ("down_blocks", "down"),
        ("up_blocks.0", "up.1"),
        ("up_blocks.1", "up.0"),
    ):
        name = name.replace(ours, theirs)
    return name


def vae_shape(name: str, tensor: Tensor) -> Tensor:
    """The attention of the original is a convolution."""
    return tensor[:, :, None, None] if "attentions" in name and tensor.dim() == 2 else tensor


def clip_l(encoder: Any) -> dict[str, Tensor]:
    """The first encoder under transformers' own names of old."""
    names = {name: f"text_model.{name.removeprefix('text_model.')}" for name in encoder.state_dict()}
    return {f"conditioner.embedders.0.transformer.{names[name]}": t for name, t in encoder.state_dict().items()}


def open_clip(encoder: Any) -> dict[str, Tensor]:
    """The second encoder under open_clip's names, with one matrix for query, key and value."""
    state = {name.removeprefix("text_model."): t for name, t in encoder.state_dict().items()}
    found = {
        "text_projection": state.pop("text_projection.weight").T,
        "token_embedding.weight": state.pop("embeddings.token_embedding.weight"),
        "positional_embedding": state.pop("embeddings.position_embedding.weight"),
    }
    for kind in ("weight", "bias"):
        found[f"ln_final.{kind}"] = state.pop(f"final_layer_norm.{kind}")
        for layer in range(encoder.config.num_hidden_layers):
            ours, theirs = f"encoder.layers.{layer}.", f"transformer.resblocks.{layer}."
            three = [state.pop(f"{ours}self_attn.{one}_proj.{kind}") for one in "qkv"]
            found[f"{theirs}attn.in_proj_{kind}"] = torch.cat(three)
            for mine, name in LAYER.items():
                found[f"{theirs}{name}.{kind}"] = state.pop(f"{ours}{mine}.{kind}")
    assert not state, f"without a name in the original layout: {sorted(state)}"
    return {f"conditioner.embedders.1.model.{name}": tensor for name, tensor in found.items()}
