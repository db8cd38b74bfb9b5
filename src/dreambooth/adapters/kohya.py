"""LoRA in kohya's layout, which ComfyUI and A1111 read (https://github.com/kohya-ss/sd-scripts, networks/lora.py).

    lora_unet_<layer>.lora_down.weight (r, in)   .lora_up.weight (out, r)   .alpha ()

A layer's name has "_" for every "."; its weight changes by up @ down * alpha / r. Every layer says its alpha: readers
take a missing one for r.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from dreambooth.support.files import atomic_write
from dreambooth.support.tensor_files import save_tensors

_VERSIONS = {
    "stable-diffusion-v1": "sd_v1",
    "stable-diffusion-v2-512": "sd_v2",
    "stable-diffusion-v2-768-v": "sd_v2_v",
    "stable-diffusion-xl-v1-base": "sdxl_base_v1-0",
}
"""kohya's names of ModelSpec's architectures: A1111 shows a LoRA beside the models of the version that it names."""

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

    architecture: the base model's in https://github.com/Stability-AI/ModelSpec, one of _VERSIONS.  title: also the
    words that call it.
    """
    metadata = {
        "ss_base_model_version": _VERSIONS[architecture],
        "ss_v2": str("-v2-" in architecture),
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
    with atomic_write(file) as aside:
        save_tensors(aside, layers, metadata)
