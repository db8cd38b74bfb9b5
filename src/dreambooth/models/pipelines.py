"""What families have in common that have a pipeline of diffusers: encode, draw, save."""

import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dreambooth.config.worlds import record
from dreambooth.errors import ModelError
from dreambooth.models import clip
from dreambooth.models.base import DENOISER, Sampling
from dreambooth.models.schedules import schedule
from dreambooth.support.files import atomic_write, write_json
from dreambooth.support.libraries import hushed
from dreambooth.support.model_index import add_to_model_index
from dreambooth.support.tensor_files import make_canonical, save_tensors

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
"""Ends of the names of the U-Net's layers that a LoRA is usually added to."""

PIXELS_AT_ONCE = 8 * 512 * 512
"""Pixels drawn in one batch: 8 images of 512 x 512 fit a 24 GB card in float32."""


def problems(pipeline: Any, readers: Mapping[str, str]) -> list[str]:
    """Why it cannot be trained here, a clause each; readers: its tokenizers by the text encoder they are of."""
    unet, vae, found = pipeline.unet.config, pipeline.vae.config, clip.problems(pipeline, readers)
    if len(vae.up_block_types) != len(vae.down_block_types):
        found.append("its autoencoder decodes by other blocks than it encodes by")
    if unet.in_channels != vae.latent_channels:
        found.append(
            f"its U-Net reads {unet.in_channels} channels, its latents have {vae.latent_channels} "
            "(an inpainting or editing model?)"
        )
    if not isinstance(unet.sample_size, int):
        found.append(f"its images are not square (sample_size {unet.sample_size!r})")
    return found


def posterior(vae: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (B, C, h, w) of the latents of images (B, 3, H, W) in [-1, 1]."""
    latents = vae.encode(images.to(vae.device, vae.dtype)).latent_dist
    scale, shift = vae.config.scaling_factor, vae.config.shift_factor or 0.0
    return (latents.mean - shift) * scale, latents.std * scale


def posterior_by_channel(vae: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    """The same of an autoencoder of videos: an image is one frame, and each channel has its own mean and scale."""
    latents, config = vae.encode(images.to(vae.device, vae.dtype)[:, :, None]).latent_dist, vae.config
    shift, scale = (
        torch.tensor(its)[:, None, None].to(latents.mean) for its in (config.latents_mean, config.latents_std)
    )
    return (latents.mean[:, :, 0] - shift) / scale, latents.std[:, :, 0] / scale


def description(pipeline: Any, network: str, tokenizers: Iterable[Any]) -> object:
    """What an image depends on beside the weights: schedule, words, and the settings of denoiser and autoencoder."""
    denoiser, vae = getattr(pipeline, network), pipeline.components.get("vae")
    parts = [denoiser] if vae is None else [denoiser, vae]
    return [
        schedule(pipeline.scheduler),
        *([tokenizer.model_max_length, tokenizer.get_vocab()] for tokenizer in tokenizers),
        *({k: v for k, v in part.config.items() if k[0] != "_"} for part in parts),
        str(denoiser.dtype),
    ]


def draw(
    drawing: Any,
    side: int,
    prompts: Sequence[str],
    seeds: Sequence[int],
    sampling: Sampling,
    guidance: Callable[[float, int], Mapping[str, Any]],
) -> tuple[NDArray[np.uint8], Tensor | None]:
    """An image (N, side, side, 3) for each prompt and seed, and the latents (N, C, h, w) that it was decoded from.

    The latents are None where the pipeline keeps them packed.

    drawing: a pipeline that nothing else uses, with its sampler.  guidance: what its call is told for a guidance_scale
    and a number of images.  Raises as `in_batches` does.
    """
    drawing.set_progress_bar_config(disable=True)
    latents: list[Tensor] = []

    def drawn(prompts: Sequence[str], generators: list[torch.Generator]) -> NDArray[np.float32]:
        ended: dict[str, Tensor] = {}
        images: NDArray[np.float32] = drawing(
            prompt=list(prompts),
            height=side,
            width=side,
            num_inference_steps=sampling.num_inference_steps,
            **guidance(sampling.guidance_scale, len(generators)),
            generator=generators,
            output_type="np",
            callback_on_step_end=partial(_keep, ended),
        ).images
        latents.append(ended["latents"].float().cpu())
        return images

    modules = [module for module in drawing.components.values() if isinstance(module, nn.Module)]
    pictures = in_batches(modules, side, prompts, seeds, drawn)
    return pictures, torch.cat(latents) if latents and latents[0].ndim == 4 else None


def in_batches(
    modules: Sequence[nn.Module],
    side: int,
    prompts: Sequence[str],
    seeds: Sequence[int],
    drawn: Callable[[Sequence[str], list[torch.Generator]], NDArray[np.float32]],
) -> NDArray[np.uint8]:
    """An image (N, side, side, 3) for each prompt and seed, as many at a time as fit, by `modules` at rest.

    drawn: some prompts and their generators to images in [0, 1].  Raises ModelError where they are not finite,
    ValueError where there are not as many seeds as prompts.
    """
    if len(prompts) != len(seeds):
        raise ValueError(f"every prompt needs its seed, got {len(prompts)} prompts and {len(seeds)} seeds")
    at_once = max(1, PIXELS_AT_ONCE // side**2)
    images = [np.zeros((0, side, side, 3), np.float32)]
    with _at_rest(modules), _one_dtype(modules):
        for first in range(0, len(prompts), at_once):
            chosen = slice(first, first + at_once)
            # on the CPU and one per image: the same picture on any device, whoever else is in the batch
            generators = [torch.Generator().manual_seed(seed) for seed in seeds[chosen]]
            images.append(drawn(prompts[chosen], generators))
            _require_pictures(images[-1])
    return (np.concatenate(images) * 255).round().astype(np.uint8)


def _keep(kept: dict[str, Tensor], pipeline: Any, step: int, time: Any, held: Mapping[str, Tensor]) -> dict[str, Any]:
    """What diffusers calls after each step of a sampler: the last one's latents stay."""
    kept.update(held)
    return {}


def _require_pictures(images: NDArray[np.float32]) -> None:
    if not np.isfinite(images).all():
        raise ModelError(
            "the model draws no picture: its values are not numbers (NaN or infinite). Check the prediction_type in "
            "its scheduler's settings and the --dtype it was made for, or choose another base model; where it drew "
            "well before a fine-tuning, start over with a lower --learning-rate."
        )


@contextmanager
def _one_dtype(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Inside, all modules compute in one precision, though what trains is float32 and the rest perhaps is not."""
    parameters = [parameter for module in modules for parameter in module.parameters()]
    low = next((p.dtype for p in parameters if p.is_floating_point() and p.dtype != torch.float32), None)
    with torch.autocast(parameters[0].device.type, low, enabled=low is not None), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Mismatch dtype between input and weight")  # of norms: only slower
        yield


@contextmanager
def _at_rest(modules: Sequence[nn.Module]) -> Iterator[None]:
    """No dropout inside; what was training trains on afterwards."""
    training = [inner for module in modules for inner in module.modules() if inner.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


def save(pipeline: Any, readers: Mapping[str, str], folder: Path, world: str, marks: Mapping[str, object] = {}) -> None:
    """Write the pipeline's folder, whole or not at all, for the versions of transformers and diffusers that are in use.

    readers: its tokenizers by the text encoder they are of.  world: the name of its world.  marks: what else its
    model_index.json shall say.
    """
    with atomic_write(folder) as aside:
        write(pipeline, readers, aside, world, marks)


def write(
    pipeline: Any, readers: Mapping[str, str], folder: Path, world: str, marks: Mapping[str, object] = {}
) -> None:
    """Write the pipeline to a folder that nobody reads yet; the arguments are those of `save`."""
    for reader in readers.values():  # they remember how the last prompt was padded, and would write it
        backend = tokenizer(getattr(pipeline, reader)).backend_tokenizer
        backend.no_truncation()
        backend.no_padding()
    with hushed():
        pipeline.save_pretrained(folder, safe_serialization=True)
    for config in folder.rglob("*.json"):
        _leave_out_places(config)
    record(folder, world)
    for name, value in marks.items():
        add_to_model_index(folder, name, value)
    for file in sorted(folder.rglob("*.safetensors")):
        make_canonical(file)
    for part, reader in readers.items():
        clip.for_every_version(getattr(pipeline, part), getattr(pipeline, reader), folder / part, folder / reader)


def tokenizer(reader: Any) -> Any:
    """The tokenizer itself, of a processor for words and pictures too."""
    return getattr(reader, "tokenizer", reader)


def _leave_out_places(config: Path) -> None:
    """Drop from a saved config where on this machine it was read from: a model is given to others."""
    content = json.loads(config.read_text(encoding="utf-8"))
    if isinstance(content, dict) and "_name_or_path" in content:
        write_json(config, {key: value for key, value in content.items() if key != "_name_or_path"})


def save_lora(
    pipeline: Any,
    folder: Path,
    layers: Mapping[str, Mapping[str, Tensor]],
    configs: Mapping[str, Mapping[str, Any]],
    names: Mapping[str, str],
) -> None:
    """Write pytorch_lora_weights.safetensors by the pipeline's own writer.

    layers: of each part the tensors by diffusers' names.  configs: peft's, by part.  names: the writer's of the parts.
    """
    arguments: dict[str, Any] = {}
    for part, tensors in layers.items():
        arguments[f"{names[part]}_lora_adapter_metadata"] = dict(configs[part])
        arguments[f"{names[part]}_lora_layers"] = dict(tensors)
    with atomic_write(folder / "pytorch_lora_weights.safetensors") as aside:
        pipeline.save_lora_weights(aside.parent, weight_name=aside.name, **arguments)
        make_canonical(aside)


def lora_layers(part: str, state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """peft's state of a part by the names that diffusers has for a U-Net and its text encoders.

    prefix: what the part's layers have before their names in the file.
    """
    half = "lora" if part == DENOISER else "lora_linear_layer"
    return {prefix + _lora_key(key, half): tensor for key, tensor in state.items()}


def save_embeddings(folder: Path, rows: Mapping[str, Tensor]) -> None:
    """Write learned_embeds.safetensors with `rows` (K, D) under their names."""
    with atomic_write(folder / "learned_embeds.safetensors") as aside:
        save_tensors(aside, rows)


def _lora_key(key: str, half: str) -> str:
    """diffusers' name of one of peft's tensors.

    Not by diffusers' own conversion: it renames the attention alone, its loader takes no mixture of names, and for the
    text encoder the loader wants a ".weight" after DoRA's magnitudes.
    """
    key = key.replace(".lora_A.", f".{half}.down.").replace(".lora_B.", f".{half}.up.")
    return f"{key}.weight" if key.endswith(".lora_magnitude_vector") else key
