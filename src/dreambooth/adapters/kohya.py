"""LoRA in kohya's layout, which ComfyUI and A1111 read (https://github.com/kohya-ss/sd-scripts, networks/lora.py).

    lora_unet_<layer>.lora_down.weight (r, in)   .lora_up.weight (out, r)   .alpha ()

A layer's name has "_" for every "."; its weight changes by up @ down * alpha / r. Every layer says its alpha: readers
take a missing one for r.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from dreambooth.support.files import written_aside

_HALVES = {"lora_A.weight": "lora_down.weight", "lora_B.weight": "lora_up.weight"}


def kohya_layers(state: Mapping[str, Tensor], prefix: str, alpha: float) -> dict[str, Tensor]:
    """kohya's tensors for peft's: "mid.to_q.lora_A.weight" -> "lora_unet_mid_to_q.lora_down.weight".

    prefix: what stands before a layer's name, "lora_unet_".  Raises ValueError for a tensor of another kind of adapter.
    """
    layers = {}
    for name, tensor in state.items():
        layer, dot, half = name.partition(".lora_")
        kind = _HALVES.get(dot[1:] + half)
        if kind is None:
            raise ValueError(f"kohya's layout has no place for {name}")
        stem = prefix + layer.replace(".", "_")
        layers[f"{stem}.{kind}"] = tensor.detach().cpu().contiguous()
        layers[f"{stem}.alpha"] = torch.tensor(float(alpha))
    return layers


def write_kohya(
    file: Path, layers: Mapping[str, Tensor], *, architecture: str, title: str, rank: int, alpha: float
) -> None:
    """Write `layers` with the metadata that kohya's tools and ModelSpec name; raises DiskError.

    architecture: the base model's in https://github.com/Stability-AI/ModelSpec.  title: also the words that call it.
    """
    metadata = {
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(rank),
        "ss_network_alpha": str(float(alpha)),
        "ss_output_name": file.stem,
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": f"{architecture}/lora",
        "modelspec.implementation": "diffusers",
        "modelspec.title": title,
        "modelspec.trigger_phrase": title,
    }
    with written_aside(file) as aside:
        save_file(dict(layers), aside, metadata=metadata)
