"""The lines that open what a run has made with diffusers, for the report, the model card and the page."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from dreambooth.config import Config
from dreambooth.config.families import pipeline_of_file, usual_guidance
from dreambooth.config.samplers import SAMPLERS
from dreambooth.config.settings import without_place
from dreambooth.config.worlds import EMBEDDED_MODELS
from dreambooth.subject import Subject
from dreambooth.support.model_index import MODEL_INDEX, SUPER_RESOLUTION, read_model_index


def base_name(config: Config) -> str:
    """The base model as a page that travels names it: without the place of a folder."""
    return str(without_place(config.base.model))


def model_snippet(subject: Subject, config: Config, model: Path) -> str:
    """How to open model/ and draw with the run's own sampler. model: that folder, which may not be made yet."""
    settings, row = config.generation, config.family
    scheduler = (row.schedulers if row else {}).get(settings.sampler, SAMPLERS[settings.sampler])
    told = (row.guidance if row else usual_guidance)(settings.guidance_scale)
    asked = {"num_inference_steps": settings.num_inference_steps, **told}
    if row and config.data.resolution:  # these draw at the side that they were tuned at
        asked |= dict.fromkeys(("height", "width"), config.data.resolution)
    arguments = ", ".join(f"{name}={value!r}" for name, value in asked.items())
    return (
        f"from diffusers import DiffusionPipeline, {scheduler}\n\n"
        'pipeline = DiffusionPipeline.from_pretrained("model")\n'
        f"pipeline.scheduler = {scheduler}.from_config(pipeline.scheduler.config)\n"
        f"prompt = {json.dumps(subject.fill('a {} in the snow'), ensure_ascii=False)}\n"
        f"image = pipeline(prompt=prompt, {arguments}).images[0]\n"
        + _enlarged(model, scheduler, settings.num_inference_steps)
        + 'image.save("picture.png")'
    )


def _enlarged(model: Path, scheduler: str, steps: int) -> str:
    """Of a cascade, the lines that hand the picture on to the pipeline in model/super_resolution."""
    told = _index(model).get(SUPER_RESOLUTION)
    if not told:
        return ""
    asked = {**told, "num_inference_steps": told["num_inference_steps"] or steps}
    arguments = ", ".join(f"{name}={asked[name]}" for name in ("num_inference_steps", "guidance_scale", "noise_level"))
    return (
        "readers = {name: pipeline.components[name] for name in ('tokenizer', 'text_encoder')}\n"
        'larger = DiffusionPipeline.from_pretrained("model/super_resolution", **readers)\n'
        f"larger.scheduler = {scheduler}.from_config(larger.scheduler.config)\n"
        f"image = larger(prompt=prompt, image=image, {arguments}).images[0]\n"
    )


def _index(model: Path) -> dict[str, Any]:
    """What the model's folder holds; nothing where it is not made yet."""
    try:
        return read_model_index(model / MODEL_INDEX)
    except (OSError, ValueError):
        return {}


def adapter_snippet(subject: Subject, config: Config, adapter: Path, model: Path) -> str:
    """How to open what was learned alone on its base model, in place of model/; "" where the model is all there is.

    adapter: the folder with it.  model: the folder of the whole, whose parts have the base model's names.
    """
    words, lora = adapter / "learned_embeds.safetensors", adapter / "pytorch_lora_weights.safetensors"
    turned = list(_turned(adapter, model))
    lines = list(_words(subject, words)) if words.is_file() else []
    lines += ['pipeline.load_lora_weights("adapter")'] if lora.is_file() else turned
    kind, opens = _opener(config.base.model)
    if not lines or not kind:
        return ""
    found, base = f"import torch\nfrom diffusers import {kind}\n", json.dumps(base_name(config))
    found += "from peft import PeftModel\n" if turned else ""
    if inside := EMBEDDED_MODELS.get(config.base.model):
        found += "from importlib.resources import files\n"
        base = 'str(files("dreambooth.{}") / "{}")'.format(*inside)
    # without it every part is opened in the precision that its own configuration names: several, in many models
    asked = f"{base}, dtype=torch.{config.base.dtype}"
    return "\n".join([found, f"pipeline = {kind}.{opens}({asked})", *lines])


def _turned(adapter: Path, model: Path) -> Iterator[str]:
    """Of OFT, which diffusers does not read, the lines that have peft work it into the part of each of its folders."""
    index = _index(model)
    network = next((name for name in ("unet", "transformer") if name in index), "")
    for folder in sorted(file.parent.name for file in adapter.glob("*/adapter_config.json") if network):
        part = folder if folder in index else network  # the text encoders are called as the pipeline calls them
        yield f'PeftModel.from_pretrained(pipeline.{part}, "adapter/{folder}").merge_and_unload()'


def _opener(model: str) -> tuple[str, str]:
    """The class of diffusers that opens a base model, and its method; "" for a single file that is not here now."""
    if not model.endswith(".safetensors"):
        return "DiffusionPipeline", "from_pretrained"
    try:
        with safe_open(model, "numpy") as tensors:
            kind = pipeline_of_file(set(tensors.keys()))
    except (OSError, SafetensorError):
        kind = None
    return kind or "", "from_single_file"


def _words(subject: Subject, file: Path) -> Iterator[str]:
    """A learned word: of one text encoder under its own name, of several under theirs, which diffusers is told."""
    with safe_open(file, "numpy") as tensors:
        names = sorted(tensors.keys())
    if names == sorted(ENCODERS):
        token = json.dumps(subject.identifier)
        yield "from safetensors.torch import load_file"
        yield f'words = load_file("adapter/{file.name}")'
        for name, number in ENCODERS.items():
            parts = f"text_encoder=pipeline.text_encoder{number}, tokenizer=pipeline.tokenizer{number}"
            yield f'pipeline.load_textual_inversion(words["{name}"], token={token}, {parts})'
        # as clip.pool_at_the_end does: old configurations have the prompt read at its highest number, the new word's
        yield "pipeline.text_encoder_2.text_model.eos_token_id = pipeline.tokenizer_2.eos_token_id"
    else:
        yield f'pipeline.load_textual_inversion("adapter", weight_name="{file.name}")'


ENCODERS = {"clip_l": "", "clip_g": "_2"}
"""The tensors of a word that two encoders have learned, and how diffusers numbers these."""
