"""Where ComfyUI has the layers of a U-Net and of CLIP, and how it knows them in kohya's files: see comfyui.py."""

from typing import Any

from comfyui import Place, Places

OUTSIDE = {
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}
RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
AROUND = ("norm", "proj_in", "proj_out")
INSIDE = (
    *("norm1", "norm2", "norm3", "ff.net.0.proj", "ff.net.2"),
    *(f"{attention}.{name}" for attention in ("attn1", "attn2") for name in ("to_q", "to_k", "to_v", "to_out.0")),
)
CLIP = (*(f"self_attn.{name}_proj" for name in ("q", "k", "v", "out")), "mlp.fc1", "mlp.fc2")


def unet_places(unet: Any) -> dict[str, Place]:
    """Of diffusers' layers of a U-Net, which ComfyUI counts through all blocks down, and through all blocks up."""
    config, each = unet.config, unet.config.layers_per_block
    deep = config.transformer_layers_per_block
    deep = [deep] * len(config.block_out_channels) if isinstance(deep, int) else list(deep)
    found = dict(OUTSIDE)
    for block, kind in enumerate(config.down_block_types):
        first = 1 + block * (each + 1)
        for layer in range(each):
            found |= _resnet(f"down_blocks.{block}.resnets.{layer}", f"input_blocks.{first + layer}.0")
            if kind.startswith("CrossAttn"):
                ours, theirs = f"down_blocks.{block}.attentions.{layer}", f"input_blocks.{first + layer}.1"
                found |= _transformer(ours, theirs, deep[block])
        found[f"down_blocks.{block}.downsamplers.0.conv"] = f"input_blocks.{first + each}.0.op"
    found |= _resnet("mid_block.resnets.0", "middle_block.0") | _resnet("mid_block.resnets.1", "middle_block.2")
    found |= _transformer("mid_block.attentions.0", "middle_block.1", deep[-1])
    for block, kind in enumerate(config.up_block_types):
        first, attends = block * (each + 1), kind.startswith("CrossAttn")
        for layer in range(each + 1):
            found |= _resnet(f"up_blocks.{block}.resnets.{layer}", f"output_blocks.{first + layer}.0")
            if attends:
                ours, theirs = f"up_blocks.{block}.attentions.{layer}", f"output_blocks.{first + layer}.1"
                found |= _transformer(ours, theirs, deep[-1 - block])
        found[f"up_blocks.{block}.upsamplers.0.conv"] = f"output_blocks.{first + each}.{1 + attends}.conv"
    return {layer: Place(name) for layer, name in found.items()}


def _resnet(ours: str, theirs: str) -> dict[str, str]:
    return {f"{ours}.{layer}": f"{theirs}.{name}" for layer, name in RESNET.items()}


def _transformer(ours: str, theirs: str, depth: int) -> dict[str, str]:
    names = (*AROUND, *(f"transformer_blocks.{number}.{name}" for number in range(depth) for name in INSIDE))
    return {f"{ours}.{name}": f"{theirs}.{name}" for name in names}


def kohya_places(pipeline: Any) -> dict[str, Place]:
    """Of the layers in a kohya file, of U-Net and CLIPs: dots are "_", and two encoders are counted from 1."""
    found = _in_kohya("lora_unet_", unet_places(pipeline.unet))
    encoders = {"clip_l": pipeline.text_encoder, "clip_g": pipeline.components.get("text_encoder_2")}
    counted = encoders["clip_g"] is not None
    for number, (name, encoder) in enumerate(encoders.items(), start=1):
        if encoder is not None:
            layers = range(encoder.config.num_hidden_layers)
            inside = [f"text_model.encoder.layers.{layer}.{its}" for layer in layers for its in CLIP]
            places = {layer: Place(f"{name}.transformer.{layer}") for layer in inside}
            found |= _in_kohya(f"lora_te{number if counted else ''}_", places)
    return found


def _in_kohya(prefix: str, places: Places) -> dict[str, Place]:
    return {prefix + layer.replace(".", "_"): place for layer, place in places.items()}
