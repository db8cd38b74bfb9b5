"""A reader of LoRA files that adds them where ComfyUI does, written for the tests after its key map.

ComfyUI keeps most models in the layout of their authors, in which several of diffusers' layers may stand one below the
other in one weight, and knows diffusers' layers by a map (https://github.com/Comfy-Org/ComfyUI, comfy/lora.py and the
`..._to_diffusers` of comfy/utils.py). "diffusion_model.", which stands before all names there, is left out here.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Place:
    """Where a layer of diffusers stands in ComfyUI's weights."""

    layer: str
    """ComfyUI's name of the layer."""
    start: int = 0
    """The first of its rows."""
    rows: int | None = None
    """How many; None: all of them."""
    swapped: bool = False
    """Whether its halves stand the other way round: a shift before a scale."""

    def part(self, weight: Tensor) -> Tensor:
        """The rows that are the layer's, as a view."""
        return weight if self.rows is None else weight.narrow(0, self.start, self.rows)

    def turned(self, tensor: Tensor) -> Tensor:
        """A tensor of diffusers' layer with its halves in ComfyUI's order, and back."""
        return torch.cat(tensor.chunk(2)[::-1]) if self.swapped else tensor


Places = Mapping[str, Place]
"""Names of layers, diffusers' own or those of a file, and where they stand."""

HALVES = (("lora_A.weight", "lora_B.weight"), ("lora_down.weight", "lora_up.weight"))
"""The ends of the names of down and up in a file: diffusers' and kohya's."""

IMAGE = ("to_q", "to_k", "to_v")
WORDS = ("add_q_proj", "add_k_proj", "add_v_proj")

TIME_TEXT = {"timestep_embedder": "time_in", "text_embedder": "vector_in", "guidance_embedder": "guidance_in"}
FLUX_OUTSIDE = {
    "proj_out": "final_layer.linear",
    "x_embedder": "img_in",
    "context_embedder": "txt_in",
    **{f"time_text_embed.{ours}.linear_1": f"{theirs}.in_layer" for ours, theirs in TIME_TEXT.items()},
    **{f"time_text_embed.{ours}.linear_2": f"{theirs}.out_layer" for ours, theirs in TIME_TEXT.items()},
}
FLUX_DOUBLE = {
    "attn.to_out.0": "img_attn.proj",
    "attn.norm_q": "img_attn.norm.query_norm",
    "attn.norm_k": "img_attn.norm.key_norm",
    "norm1.linear": "img_mod.lin",
    "ff.net.0.proj": "img_mlp.0",
    "ff.net.2": "img_mlp.2",
    "attn.to_add_out": "txt_attn.proj",
    "attn.norm_added_q": "txt_attn.norm.query_norm",
    "attn.norm_added_k": "txt_attn.norm.key_norm",
    "norm1_context.linear": "txt_mod.lin",
    "ff_context.net.0.proj": "txt_mlp.0",
    "ff_context.net.2": "txt_mlp.2",
    # FLUX.2's
    "ff.linear_in": "img_mlp.0",
    "ff.linear_out": "img_mlp.2",
    "ff_context.linear_in": "txt_mlp.0",
    "ff_context.linear_out": "txt_mlp.2",
}
FLUX_SINGLE = {
    "norm.linear": "modulation.lin",
    "proj_out": "linear2",
    "attn.norm_q": "norm.query_norm",
    "attn.norm_k": "norm.key_norm",
    "attn.to_qkv_mlp_proj": "linear1",  # FLUX.2's, as the next
    "attn.to_out": "linear2",
}
SD3_OUTSIDE = {
    "context_embedder": "context_embedder",
    "pos_embed.proj": "x_embedder.proj",
    "proj_out": "final_layer.linear",
    **{f"time_text_embed.timestep_embedder.linear_{half + 1}": f"t_embedder.mlp.{2 * half}" for half in (0, 1)},
    **{f"time_text_embed.text_embedder.linear_{half + 1}": f"y_embedder.mlp.{2 * half}" for half in (0, 1)},
}
SD3_BLOCK = {
    "norm1.linear": "x_block.adaLN_modulation.1",
    "ff.net.0.proj": "x_block.mlp.fc1",
    "ff.net.2": "x_block.mlp.fc2",
    **{f"{attention}.to_out.0": f"x_block.{attention}.proj" for attention in ("attn", "attn2")},
    **{f"{attention}.norm_{q}": f"x_block.{attention}.ln_{q}" for attention in ("attn", "attn2") for q in "qk"},
    "norm1_context.linear": "context_block.adaLN_modulation.1",
    "ff_context.net.0.proj": "context_block.mlp.fc1",
    "ff_context.net.2": "context_block.mlp.fc2",
    "attn.to_add_out": "context_block.attn.proj",
    **{f"attn.norm_added_{q}": f"context_block.attn.ln_{q}" for q in "qk"},
}
Z_IMAGE_OUTSIDE = {
    "all_final_layer.2-1.linear": "final_layer.linear",
    "all_final_layer.2-1.adaLN_modulation.1": "final_layer.adaLN_modulation.1",
    "all_x_embedder.2-1": "x_embedder",
    **{name: name for name in ("cap_embedder.0", "cap_embedder.1", "t_embedder.mlp.0", "t_embedder.mlp.2")},
}
Z_IMAGE_BLOCK = {
    "attention.norm_q": "attention.q_norm",
    "attention.norm_k": "attention.k_norm",
    "attention.to_out.0": "attention.out",
    **{f"{name}_norm{number}": f"{name}_norm{number}" for name in ("attention", "ffn") for number in (1, 2)},
    **{name: name for name in ("feed_forward.w1", "feed_forward.w2", "feed_forward.w3", "adaLN_modulation.0")},
}
KREA2_OUTSIDE = {
    "img_in": "first",
    "time_embed.linear_1": "tmlp.0",
    "time_embed.linear_2": "tmlp.2",
    "time_mod_proj": "tproj.1",
    "txt_in.linear_1": "txtmlp.1",
    "txt_in.linear_2": "txtmlp.3",
    "text_fusion.projector": "txtfusion.projector",
    "final_layer.linear": "last.linear",
}
KREA2_BLOCK = {
    **{f"attn.to_{q}": f"attn.w{q}" for q in "qkv"},
    "attn.to_out.0": "attn.wo",
    "attn.to_gate": "attn.gate",
    **{f"ff.{name}": f"mlp.{name}" for name in ("gate", "up", "down")},
}
QWEN_OUTSIDE = (
    *("img_in", "txt_in", "txt_norm", "norm_out.linear", "proj_out"),
    *(f"time_text_embed.timestep_embedder.linear_{half}" for half in (1, 2)),
)
QWEN_BLOCK = (
    *(f"attn.{name}" for name in (*IMAGE, *WORDS, "to_out.0", "to_add_out")),
    *(f"attn.norm_{name}" for name in ("q", "k", "added_q", "added_k")),
    *(f"{stream}_{name}" for stream in ("img", "txt") for name in ("mod.1", "mlp.net.0.proj", "mlp.net.2")),
)
"""As they are: ComfyUI keeps diffusers' layout."""


def flow_places(transformer: Any) -> dict[str, Place]:
    """Of diffusers' layers of a flow transformer."""
    by_type = {"Flux": _flux, "Flux2": _flux, "SD3": _sd3, "ZImage": _z_image, "QwenImage": _qwen, "Krea2": _krea2}
    return by_type[type(transformer).__name__.removesuffix("Transformer2DModel")](transformer.config)


def _flux(config: Any) -> dict[str, Place]:
    width = config.num_attention_heads * config.attention_head_dim
    found = _renamed(FLUX_OUTSIDE) | {"norm_out.linear": Place("final_layer.adaLN_modulation.1", swapped=True)}
    for number in range(config.num_layers):
        ours, theirs = f"transformer_blocks.{number}.", f"double_blocks.{number}."
        found |= _renamed(FLUX_DOUBLE, ours, theirs)
        found |= _stacked(IMAGE, f"{ours}attn.", f"{theirs}img_attn.qkv", width)
        found |= _stacked(WORDS, f"{ours}attn.", f"{theirs}txt_attn.qkv", width)
    for number in range(config.num_single_layers):
        ours, theirs = f"single_transformer_blocks.{number}.", f"single_blocks.{number}."
        found |= _renamed(FLUX_SINGLE, ours, theirs)
        found |= _stacked(IMAGE, f"{ours}attn.", f"{theirs}linear1", width)
        found[f"{ours}proj_mlp"] = Place(f"{theirs}linear1", 3 * width, 4 * width)
    return found


def _sd3(config: Any) -> dict[str, Place]:
    width = config.num_attention_heads * config.attention_head_dim  # ComfyUI: 64 for every block, as in all published
    found = _renamed(SD3_OUTSIDE) | {"norm_out.linear": Place("final_layer.adaLN_modulation.1", swapped=True)}
    for number in range(config.num_layers):
        ours, theirs = f"transformer_blocks.{number}.", f"joint_blocks.{number}."
        found |= _renamed(SD3_BLOCK, ours, theirs)
        found |= _stacked(IMAGE, f"{ours}attn.", f"{theirs}x_block.attn.qkv", width)
        found |= _stacked(IMAGE, f"{ours}attn2.", f"{theirs}x_block.attn2.qkv", width)
        found |= _stacked(WORDS, f"{ours}attn.", f"{theirs}context_block.attn.qkv", width)
    # the last block only reads its words: a scale and a shift, as before the last layer
    last = f"transformer_blocks.{config.num_layers - 1}.norm1_context.linear"
    return found | {last: Place(found[last].layer, swapped=True)}


def _z_image(config: Any) -> dict[str, Place]:
    found, refiners = _renamed(Z_IMAGE_OUTSIDE), config.n_refiner_layers
    blocks = {"layers": config.n_layers, "context_refiner": refiners, "noise_refiner": refiners}
    for block in (f"{kind}.{number}." for kind, count in blocks.items() for number in range(count)):
        found |= _renamed(Z_IMAGE_BLOCK, block, block)
        found |= _stacked(IMAGE, f"{block}attention.", f"{block}attention.qkv", config.dim)
    return found


def _qwen(config: Any) -> dict[str, Place]:
    blocks = [f"transformer_blocks.{number}." for number in range(config.num_layers)]
    return {name: Place(name) for name in (*QWEN_OUTSIDE, *(block + its for block in blocks for its in QWEN_BLOCK))}


def _krea2(config: Any) -> dict[str, Place]:
    found = _renamed(KREA2_OUTSIDE)
    for number in range(config.num_layers):
        found |= _renamed(KREA2_BLOCK, f"transformer_blocks.{number}.", f"blocks.{number}.")
    for block in (f"{kind}_blocks.{number}." for kind in ("layerwise", "refiner") for number in range(2)):
        found |= _renamed(KREA2_BLOCK, f"text_fusion.{block}", f"txtfusion.{block}")
    return found


def _renamed(names: Mapping[str, str], ours: str = "", theirs: str = "") -> dict[str, Place]:
    return {f"{ours}{layer}": Place(f"{theirs}{name}") for layer, name in names.items()}


def _stacked(layers: Iterable[str], ours: str, theirs: str, width: int) -> dict[str, Place]:
    return {f"{ours}{layer}": Place(theirs, at * width, width) for at, layer in enumerate(layers)}


def fused(state: Mapping[str, Tensor], places: Places) -> dict[str, Tensor]:
    """ComfyUI's weights and biases, made of diffusers'; those of layers that have no place are left out."""
    parts: dict[str, list[tuple[Place, Tensor]]] = defaultdict(list)
    for name, tensor in state.items():
        layer, _, kind = name.rpartition(".")
        if layer in places:
            parts[f"{places[layer].layer}.{kind}"].append((places[layer], tensor))
    found = {}
    for name, its in parts.items():
        its.sort(key=lambda part: part[0].start)
        for number, (place, tensor) in enumerate(its):
            assert place.start == sum(len(before) for _, before in its[:number]), f"{name} has a gap"
            assert place.rows in (len(tensor), None), f"{name} has no {len(tensor)} rows for a layer"
        found[name] = torch.cat([place.turned(tensor) for place, tensor in its])
    return found


def with_lora(weights: Mapping[str, Tensor], file: Mapping[str, Tensor], places: Places) -> dict[str, Tensor]:
    """ComfyUI's weights after it has added a file at strength 1; places: of the names in it.

    Raises ValueError for a layer that has no place, which ComfyUI would pass over, and for what is no LoRA's.
    """
    found, read = {name: tensor.clone() for name, tensor in weights.items()}, set()
    for layer in layers_in(file):
        if (place := places.get(layer)) is None:
            raise ValueError(f"ComfyUI knows no layer {layer}")
        down, up = next(h for h in HALVES if f"{layer}.{h[0]}" in file)
        read |= {f"{layer}.{name}" for name in (down, up, "alpha")}
        rank = len(file[f"{layer}.{down}"])
        scale = float(file.get(f"{layer}.alpha", rank)) / rank
        change = scale * file[f"{layer}.{up}"].flatten(1) @ file[f"{layer}.{down}"].flatten(1)
        part = place.part(found[f"{place.layer}.weight"])
        part += place.turned(change).view(part.shape)
    if stray := file.keys() - read:
        raise ValueError(f"no LoRA's: {sorted(stray)}")
    return found


def layers_in(file: Iterable[str]) -> set[str]:
    """The names of layers in a LoRA file."""
    return {name.removesuffix(f".{down}") for name in file for down, _ in HALVES if name.endswith(f".{down}")}
