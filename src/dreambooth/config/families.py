"""The families of text-to-image models, as one table: where the code of each is, and which settings suit it.

A row's settings go over the paper's and the world's. Sources: diffusers' examples/dreambooth, AI Toolkit
(https://github.com/ostris/ai-toolkit, config/examples), SimpleTuner (https://github.com/bghira/SimpleTuner, its
quick starts) and OneTrainer (https://github.com/Nerogar/OneTrainer, training_presets), as they were in August 2026.
All rates are for a LoRA whose alpha is its rank. Nothing here was measured on real weights yet.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dreambooth.config.worlds import embedded_folder
from dreambooth.support.model_index import MODEL_INDEX, read_model_index

FamilyName = Literal[
    "stable-diffusion",
    "sdxl",
    "deepfloyd-if",
    "flux",
    "sd3",
    "flux2",
    "flux2-klein",
    "z-image",
    "qwen-image",
    "krea2",
    "sana",
]


def usual_guidance(scale: float) -> Mapping[str, Any]:
    """Guidance of strength `scale` as most pipelines are told of it."""
    return {"guidance_scale": scale}


def added_guidance(scale: float) -> Mapping[str, Any]:
    """The same where the pipeline adds its scale times the difference to what it has: its 0 is no guidance."""
    return {"guidance_scale": scale - 1}


def true_guidance(scale: float) -> Mapping[str, Any]:
    """The same where the pipeline guides only if it is told what it shall lead away from."""
    return {"true_cfg_scale": scale, **({"negative_prompt": " "} if scale > 1 else {})}


def guidance_at_any_side(scale: float) -> Mapping[str, Any]:
    """As most, and the picture is drawn at the side that is asked for, not at a usual one and resized."""
    return {"guidance_scale": scale, "use_resolution_binning": False}


@dataclass(frozen=True, kw_only=True, eq=False)
class FamilyRow:
    """What is known of a family before a model of it is opened."""

    pipeline: str
    """Its class in diffusers, the `_class_name` in a folder's model_index.json."""
    code: tuple[str, str]
    """The module in models/ and the class in it."""
    published: tuple[str, ...] = ()
    """Hub ids whose family is known without asking the hub."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Hub ids of its models that are not trained, and what to train instead."""
    preset: Mapping[str, Any] = field(default_factory=dict)
    """Settings that suit it; a family without needs the paper's own."""
    method_presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By method, the settings that suit the pair of both."""
    in_blocks: bool = False
    """Whether its denoiser is a row of blocks that gradient checkpointing computes anew one by one."""
    in_pixels: bool = False
    """Whether it is a cascade in pixels: each stage has a side of its own, which is no choice."""
    recordable: bool = True
    """Whether its denoiser's pass can be recorded as a CUDA graph: it asks the processor for nothing in between."""
    schedulers: Mapping[str, str] = field(default_factory=dict)
    """By sampler, its class in diffusers where it is not the one of config/samplers.py."""
    guidance: Callable[[float], Mapping[str, Any]] = usual_guidance
    """What the call of its pipeline is told for a guidance_scale, where 1 is no guidance."""


_EULER = {"euler": "FlowMatchEulerDiscreteScheduler"}

_FLOW: Mapping[str, Any] = {
    "method": "lora",
    "train_text_encoder": False,
    "dtype": "bfloat16",
    "sampler": "euler",
    "class_sampler": "euler",
    "resolution": 512,  # diffusers' scripts
    "num_class_images": 200,  # diffusers' README.md; a thousand take days
}
"""What all transformers along a flow have in common: 2 to 30 billion weights, of which the field trains a LoRA."""


def _drawn(steps: int, guidance_scale: float) -> Mapping[str, Any]:
    """As the pipeline of diffusers draws by default, samples and class images."""
    return {
        "num_inference_steps": steps,
        "guidance_scale": guidance_scale,
        "class_num_inference_steps": steps,
        "class_guidance_scale": guidance_scale,
    }


def _distilled(model: str, instead: str) -> dict[str, str]:
    return {model: f"{model} is distilled to a few steps, which training undoes: train {instead}"}


FAMILIES: Mapping[str, FamilyRow] = {
    "stable-diffusion": FamilyRow(pipeline="StableDiffusionPipeline", code=("stable_diffusion", "StableDiffusion")),
    "sdxl": FamilyRow(pipeline="StableDiffusionXLPipeline", code=("stable_diffusion_xl", "StableDiffusionXL")),
    "deepfloyd-if": FamilyRow(
        pipeline="IFPipeline",
        code=("deepfloyd_if", "DeepFloydIF"),
        published=("DeepFloyd/IF-I-M-v1.0", "DeepFloyd/IF-I-L-v1.0", "DeepFloyd/IF-I-XL-v1.0"),
        in_pixels=True,
        preset={"learning_rate": 1e-5, "train_text_encoder": False},  # the paper's for Imagen
        # diffusers' README.md for DeepFloyd IF
        method_presets={
            "lora": {
                "learning_rate": 5e-6,
                "max_train_steps": 1200,
                "super_resolution_lr": 1e-6,
                "super_resolution_steps": 2000,
            }
        },
    ),
    "flux": FamilyRow(
        pipeline="FluxPipeline",
        code=("flux", "Flux"),
        published=("black-forest-labs/FLUX.1-dev", "black-forest-labs/FLUX.1-Krea-dev"),
        refused=_distilled("black-forest-labs/FLUX.1-schnell", "black-forest-labs/FLUX.1-dev"),
        in_blocks=True,
        preset={**_FLOW, **_drawn(28, 3.5)},
        # AI Toolkit train_lora_flux_24gb.yaml
        method_presets={"lora": {"rank": 16, "learning_rate": 1e-4}},
        schedulers=_EULER,
    ),
    "sd3": FamilyRow(
        pipeline="StableDiffusion3Pipeline",
        code=("stable_diffusion_3", "StableDiffusion3"),
        published=(
            "stabilityai/stable-diffusion-3-medium-diffusers",
            "stabilityai/stable-diffusion-3.5-medium",
            "stabilityai/stable-diffusion-3.5-large",
        ),
        refused=_distilled("stabilityai/stable-diffusion-3.5-large-turbo", "stabilityai/stable-diffusion-3.5-large"),
        in_blocks=True,
        preset={**_FLOW, **_drawn(28, 7.0)},
        # AI Toolkit train_lora_sd35_large_24gb.yaml
        method_presets={"lora": {"rank": 16, "learning_rate": 1e-4}},
        schedulers=_EULER,
    ),
    "flux2": FamilyRow(
        pipeline="Flux2Pipeline",
        code=("flux2", "Flux2"),
        published=("black-forest-labs/FLUX.2-dev",),
        in_blocks=True,
        # OneTrainer's default of all weights; SimpleTuner's quick start of a LoRA
        preset={**_FLOW, **_drawn(50, 4.0), "learning_rate": 1e-6},
        method_presets={"lora": {"rank": 16, "learning_rate": 1e-4}},
        schedulers=_EULER,
    ),
    "flux2-klein": FamilyRow(
        pipeline="Flux2KleinPipeline",
        code=("flux2", "Flux2Klein"),
        published=("black-forest-labs/FLUX.2-klein-base-4B", "black-forest-labs/FLUX.2-klein-base-9B"),
        refused={
            **_distilled("black-forest-labs/FLUX.2-klein-4B", "black-forest-labs/FLUX.2-klein-base-4B"),
            **_distilled("black-forest-labs/FLUX.2-klein-9B", "black-forest-labs/FLUX.2-klein-base-9B"),
        },
        in_blocks=True,
        # as above
        preset={**_FLOW, **_drawn(50, 4.0), "learning_rate": 1e-6},
        method_presets={"lora": {"rank": 16, "learning_rate": 1e-4}},
        schedulers=_EULER,
    ),
    "z-image": FamilyRow(
        pipeline="ZImagePipeline",
        code=("z_image", "ZImage"),
        published=("Tongyi-MAI/Z-Image",),
        refused=_distilled("Tongyi-MAI/Z-Image-Turbo", "Tongyi-MAI/Z-Image"),
        in_blocks=True,
        # 5.0 of the pipeline; OneTrainer's rate of all weights, SimpleTuner's rank
        preset={**_FLOW, **_drawn(50, 6.0), "learning_rate": 1e-5},
        method_presets={"lora": {"rank": 16, "learning_rate": 1e-4}},
        schedulers=_EULER,
        guidance=added_guidance,
    ),
    "qwen-image": FamilyRow(
        pipeline="QwenImagePipeline",
        code=("qwen_image", "QwenImage"),
        published=("Qwen/Qwen-Image", "Qwen/Qwen-Image-2512"),
        in_blocks=True,
        recordable=False,  # diffusers copies the length of the prompts to the GPU in the midst of it
        # OneTrainer's rate of all weights; AI Toolkit train_lora_qwen_image_24gb.yaml
        preset={**_FLOW, **_drawn(50, 4.0), "learning_rate": 1e-5},
        method_presets={"lora": {"rank": 16, "learning_rate": 1e-4}},
        schedulers=_EULER,
        guidance=true_guidance,
    ),
    "krea2": FamilyRow(
        pipeline="Krea2Pipeline",
        code=("krea2", "Krea2"),
        published=("krea/Krea-2-Raw",),
        refused=_distilled("krea/Krea-2-Turbo", "krea/Krea-2-Raw, whose LoRA draws on Turbo too"),
        in_blocks=True,
        # 4.5 of the pipeline; OneTrainer's rate of all weights; diffusers' README_krea2.md
        preset={**_FLOW, **_drawn(28, 5.5), "learning_rate": 1e-5},
        method_presets={"lora": {"rank": 32, "learning_rate": 3e-4}},
        schedulers=_EULER,
        guidance=added_guidance,
    ),
    "sana": FamilyRow(
        pipeline="SanaPipeline",
        code=("sana", "Sana"),
        published=(
            "Efficient-Large-Model/Sana_1600M_1024px_BF16_diffusers",
            "Efficient-Large-Model/Sana_600M_512px_diffusers",
            "Efficient-Large-Model/SANA1.5_4.8B_1024px_diffusers",
        ),
        in_blocks=True,
        # drawn by its own solver at its own side; diffusers' README_sana.md
        preset={
            **_FLOW,
            **_drawn(20, 4.5),
            **{"sampler": "dpmsolver++", "class_sampler": "dpmsolver++", "resolution": None},
        },
        method_presets={"lora": {"learning_rate": 1e-4}},
        schedulers={**_EULER, "dpmsolver++": "DPMSolverMultistepScheduler"},
        guidance=guidance_at_any_side,
    ),
}

BY_PIPELINE: Mapping[str, str] = {row.pipeline: name for name, row in FAMILIES.items()}
"""The family of each pipeline."""

_BY_WEIGHT: Mapping[str, str] = {
    "cond_stage_model.transformer.text_model.final_layer_norm.weight": "StableDiffusionPipeline",
    "conditioner.embedders.1.model.ln_final.weight": "StableDiffusionXLPipeline",
}
"""The pipeline of a single file of the original layout, by the name of a weight that no other pipeline's has."""


def pipeline_of_file(names: Collection[str]) -> str | None:
    """The pipeline of a single file with weights of these names; None where it is none that is read."""
    return next((pipeline for weight, pipeline in _BY_WEIGHT.items() if weight in names), None)


def family_of(model: str) -> str | None:
    """The family of a base model whose settings are its own, as its folder says or its hub id is known; else None."""
    for name, row in FAMILIES.items():
        if row.preset and (model in row.published or _class_name(model) == row.pipeline):
            return name
    return None


def refusal(model: str) -> str | None:
    """Why a hub id is not trained, and what to do; None for any other."""
    return next((row.refused[model] for row in FAMILIES.values() if model in row.refused), None)


def _class_name(model: str) -> object:
    try:
        return read_model_index((embedded_folder(model) or Path(model)) / MODEL_INDEX).get("_class_name")
    except (OSError, ValueError):  # reported by who opens it
        return None
