"""Every family as a small random model, for the tests that all of them must pass.

A new family adds one entry here, and its small pipeline in a file of its own beside tiny.py.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import exp, log
from pathlib import Path
from statistics import NormalDist
from typing import Any

import diffusers
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file
from torch import Tensor

from dreambooth.data.batch import Batch
from dreambooth.data.dataset import LatentDataset
from dreambooth.models.base import Conditioning, DiffusionModel, Sampling, Stage
from dreambooth.models.flux import Flux
from dreambooth.models.flux2 import Flux2, Flux2Klein
from dreambooth.models.krea2 import Krea2
from dreambooth.models.qwen_image import QwenImage
from dreambooth.models.sana import Sana
from dreambooth.models.stable_diffusion import StableDiffusion
from dreambooth.models.stable_diffusion_3 import StableDiffusion3
from dreambooth.models.stable_diffusion_xl import StableDiffusionXL
from dreambooth.models.z_image import ZImage
from dreambooth.subject import Subject
from dreambooth.support.rng import normal
from tiny import tiny_pipeline
from tiny_flux import flux_pipeline, flux_seen, flux_velocity
from tiny_flux2 import flux2_latents, flux2_pipeline, flux2_seen, flux2_velocity, klein_pipeline
from tiny_if import Pair, as_given_if, low_res, seen_if, tiny_if_pair, wrapped
from tiny_qwen import (
    krea_pipeline,
    krea_velocity,
    qwen_latents,
    qwen_pipeline,
    qwen_seen,
    qwen_velocity,
)
from tiny_sana import sana_latents, sana_pipeline, sana_seen, sana_velocity
from tiny_sd3 import sd3_pipeline, sd3_seen, sd3_velocity
from tiny_xl import tiny_xl_pipeline
from tiny_z_image import z_image_pipeline, z_image_seen, z_image_velocity


@dataclass(frozen=True, kw_only=True)
class Family:
    """How to make one, and what the field calls its parts."""

    pipeline: Callable[[], Any]
    """A new diffusers pipeline with the same random weights at every call."""
    wrap: Callable[[Any, str], DiffusionModel]
    """The pipeline and a name to the model."""
    components: Mapping[str, str]
    """The pipeline's name of each part that may train."""
    side: int = 16
    latent: tuple[int, int, int] = (4, 8, 8)
    """(C, h, w) of an image of that side."""
    latents: Callable[[Any, Tensor], tuple[Tensor, Tensor]] = lambda vae, images: kl_latents(vae, images)
    """Mean and deviation of x0 by the autoencoder."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What its trainings are given."""
    load_word: Callable[[Any, Path], None] | None = None
    """What a user of diffusers does with learned_embeds; None where no words are learned."""
    kohya: bool = False
    """Whether its LoRA is a file of kohya's, too."""
    idle: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Beginnings of the names of weights that are trained and that no prediction depends on, such as the last layer of
    an encoder that is read at the last but one."""
    seen: Callable[[Mapping[str, Any], Any], tuple[Tensor, Tensor, Tensor]]
    """x_t, time and prediction in a call of the denoiser."""
    scheduler: Callable[[Any], Any] = lambda scheduler: scheduler
    """The pipeline's, for our `sampler`."""
    sampler: str = "euler"
    drawn: Mapping[str, Any] = field(default_factory=dict)
    """What the pipeline is told to draw at the model's side."""
    guided: Mapping[str, Any] = field(default_factory=lambda: {"guidance_scale": 3.0})
    """What it is told for our guidance_scale of 3."""
    unguided: Mapping[str, Any] = field(default_factory=lambda: {"guidance_scale": 1.0})
    velocity: Callable[[Any, Sequence[str], Tensor, Tensor], Tensor] | None = None
    """Of a flow: what its pipeline's own parts say of prompts, x_t and sigma, as velocity."""
    pooled: int | None = None
    """Of a flow: the place of pooled words in what its pipeline makes of a prompt; None where there are none."""
    mask: int | None = None
    """Of a flow: likewise the place of the mask."""
    density: Mapping[float, float]
    """P(time <= t) of the declared density."""
    times: Callable[[int], Tensor] = lambda count: torch.linspace(0.05, 1.0, count)
    """Some, from low noise to high."""
    stage: int = 0
    """The number of the stage that is tested."""
    open: Callable[[Path], Any] = DiffusionPipeline.from_pretrained
    """A folder to the pipeline, or what stands for it, as a user of diffusers opens it."""
    as_given: Callable[[Tensor, Conditioning], tuple[Tensor, Conditioning]] = lambda given, words: (given, words)
    """What the denoiser is given by diffusers, and words, to x_t and all that a stage is told."""
    coarse: float = 16
    """How far, of 255, bfloat16 may be from float32 in the mean."""

    def model(self) -> Any:
        """A new model, the same at every call; Any, as the tests look inside it."""
        model: Any = self.wrap(self.pipeline(), "tiny")
        if model.stages[0].sides is not None:
            model.stages[0].resolution = self.side
        return model

    def stage_of(self, model: DiffusionModel) -> Any:
        """The stage of it that is tested."""
        return model.stages[self.stage]

    def told(self, stage: Stage, words: Conditioning, first: int = 0) -> Conditioning:
        """The words of rows from the `first` on, and what the stage asks of each of five rows beside them."""
        rows = self.encoded()
        nothing: Any = {"prompts": (), "is_prior": rows.is_prior, "rows": tuple(range(len(rows.names)))}
        batch = Batch(mean=rows.mean, std=rows.std, low_res=rows.low_res, **nothing)
        own = slice(first, first + len(words.embeds))
        extras = stage.with_row_conditioning(words, batch, 0).extras
        return replace(words, extras={name: tensor[own] for name, tensor in extras.items()})

    @property
    def text(self) -> bool:
        """Whether its text trains, too."""
        return self.load_word is not None

    @property
    def lora_files(self) -> tuple[str, ...]:
        """The names of a LoRA's files."""
        kohya = ("sks-dog-kohya.safetensors",) if self.kohya else ()
        return ("pytorch_lora_weights.safetensors", *kohya)

    @property
    def sampling(self) -> Sampling:
        """Few steps, guided."""
        return Sampling(sampler=self.sampler, num_inference_steps=3, guidance_scale=3.0)

    def noisy(self, count: int, name: str = "x_t") -> Tensor:
        """(B, C, h, w): latents of random numbers."""
        return normal((count, *self.latent), name)

    def encoded(self, photos: int = 2, class_images: int = 3) -> LatentDataset:
        """Random latents of photos and class images."""
        rows = photos + class_images
        return LatentDataset(
            mean=self.noisy(rows, "rows"),
            std=torch.full((rows, *self.latent), 0.1),
            prompts=(*[SUBJECT.prompt] * photos, *[SUBJECT.class_prompt] * class_images),
            is_prior=torch.arange(rows) >= photos,
            names=tuple(f"{row}.png" for row in range(rows)),
            low_res=low_res(rows),
        )


def load_word(pipeline: Any, file: Path) -> None:
    """One encoder: the file as it is."""
    pipeline.load_textual_inversion(file.parent, weight_name=file.name)


def load_word_xl(pipeline: Any, file: Path) -> None:
    """Two encoders: each its own vectors. Configs as old as SDXL's also need to be told where a prompt ends."""
    vectors = load_file(file)
    for name, part, reader in (
        ("clip_l", "text_encoder", "tokenizer"),
        ("clip_g", "text_encoder_2", "tokenizer_2"),
    ):
        encoder, tokenizer = getattr(pipeline, part), getattr(pipeline, reader)
        pipeline.load_textual_inversion(vectors[name], token="<dog>", text_encoder=encoder, tokenizer=tokenizer)
    pipeline.text_encoder_2.text_model.eos_token_id = pipeline.tokenizer_2.eos_token_id


SUBJECT = Subject(photos=(), class_noun="dog", identifier="sks")


def kl_latents(vae: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    """Scaled by 0.7 and shifted by 0.3, as the small ones are, or are made to be."""
    found = vae.encode(images).latent_dist
    return (found.mean - 0.3) * 0.7, found.std * 0.7


def unet_seen(inputs: Mapping[str, Any], output: Any) -> tuple[Tensor, Tensor, Tensor]:
    """A U-Net is told the latents and the time as they are."""
    return inputs["sample"], inputs["timestep"], output[0]


def ddim(scheduler: Any) -> Any:
    """As latents are drawn: nothing is clipped."""
    return diffusers.DDIMScheduler.from_config(scheduler.config, clip_sample=False, steps_offset=1)


UNIFORM = {249.5: 0.25, 499.5: 0.5, 749.5: 0.75}
UNET: dict[str, Any] = {
    "seen": unet_seen,
    "scheduler": ddim,
    "sampler": "ddim",
    "density": UNIFORM,
    "times": lambda count: torch.linspace(1, 999, count).long(),
}
"""What discrete diffusion by a U-Net has in common."""
FLOW: dict[str, Any] = {
    "drawn": {"height": 16, "width": 16},
    "components": {"denoiser": "transformer"},
    "settings": {"train_text_encoder": False, "sampler": "euler", "class_sampler": "euler"},
}
"""What flow transformers have in common."""


def logit_normal(shift: float) -> dict[float, float]:
    """P(sigma <= s) of the sigmoid of a standard normal whose odds are multiplied by `shift`."""
    normal = NormalDist()
    return {s: normal.cdf(log(s / (1 - s)) - log(shift)) for s in (0.3, 0.6, 0.9)}


DYNAMIC = logit_normal(exp(0.5 - 240 * 0.65 / 3840))
"""Of 16 tokens on the line from 256 (e^0.5) to 4096 (e^1.15)."""
FLUX2: dict[str, Any] = {
    "latent": (8, 4, 4),
    "latents": flux2_latents,
    "seen": flux2_seen,
    "velocity": flux2_velocity,
    "density": DYNAMIC,
}


FAMILIES: dict[str, Family] = {
    "stable diffusion": Family(
        pipeline=lambda: tiny_pipeline(size=16),
        wrap=StableDiffusion,
        kohya=True,
        components={"denoiser": "unet", "text_encoder": "text_encoder"},
        load_word=load_word,
        **UNET,
    ),
    "sdxl": Family(
        pipeline=tiny_xl_pipeline,
        wrap=StableDiffusionXL,
        kohya=True,
        components={"denoiser": "unet", "text_encoder": "text_encoder", "text_encoder_2": "text_encoder_2"},
        load_word=load_word_xl,
        **UNET,
        idle={"text_encoder": ("encoder.layers.2.", "final_layer_norm.")},
    ),
    **{
        f"deepfloyd if, {stage}": Family(
            pipeline=partial(tiny_if_pair, stage),
            wrap=wrapped,
            components={"denoiser": "unet"},
            latent=(3, side, side),
            latents=lambda vae, images: (images, torch.zeros(len(images), 1, 1, 1)),
            settings={"train_text_encoder": False},
            stage=at,
            open=partial(Pair.open, stage=stage),
            as_given=as_given_if,
            coarse=50,  # pixels at the ends of their range, after guidance by random weights
            **UNET | {"seen": seen_if},
        )
        for at, (stage, side) in enumerate({"base": 4, "super_resolution": 16}.items())
    },
    "flux": Family(
        pipeline=flux_pipeline,
        wrap=Flux,
        seen=flux_seen,
        velocity=flux_velocity,
        pooled=1,
        density=DYNAMIC,
        **FLOW,
    ),
    "sd3": Family(
        pipeline=sd3_pipeline,
        wrap=StableDiffusion3,
        seen=sd3_seen,
        velocity=sd3_velocity,
        pooled=2,
        density=logit_normal(3.0),
        # the last block writes no text, so nobody asks for its words
        idle={"denoiser": ("transformer_blocks.1.attn.add_q_proj.", "transformer_blocks.1.attn.norm_added_q.")},
        **FLOW,
    ),
    "flux2 klein": Family(pipeline=klein_pipeline, wrap=Flux2Klein, **FLUX2, **FLOW),
    "flux2": Family(pipeline=flux2_pipeline, wrap=Flux2, **FLUX2, **FLOW),
    "z-image": Family(
        pipeline=z_image_pipeline,
        wrap=ZImage,
        seen=z_image_seen,
        velocity=z_image_velocity,
        guided={"guidance_scale": 2.0},
        unguided={"guidance_scale": 0.0},
        density=logit_normal(6.0),
        **FLOW,
    ),
    "qwen-image": Family(
        pipeline=qwen_pipeline,
        wrap=QwenImage,
        latents=qwen_latents,
        seen=qwen_seen,
        velocity=qwen_velocity,
        mask=1,
        guided={"true_cfg_scale": 3.0, "negative_prompt": " "},
        unguided={"true_cfg_scale": 1.0},
        density=logit_normal(exp(0.5 - 240 * 0.4 / 7936)),
        # the last block's words are read by nobody
        idle={
            "denoiser": tuple(
                f"transformer_blocks.1.{name}."
                for name in ("attn.add_q_proj", "attn.norm_added_q", "attn.to_add_out", "txt_mlp")
            )
        },
        **FLOW,
    ),
    "krea2": Family(
        pipeline=krea_pipeline,
        wrap=Krea2,
        latents=qwen_latents,
        seen=qwen_seen,
        velocity=krea_velocity,
        mask=1,
        guided={"guidance_scale": 2.0},
        unguided={"guidance_scale": 0.0},
        density=logit_normal(exp(0.5 - 240 * 0.65 / 6144)),
        **FLOW,
    ),
    "sana": Family(
        pipeline=sana_pipeline,
        wrap=Sana,
        side=32,
        latent=(4, 4, 4),
        latents=sana_latents,
        seen=sana_seen,
        velocity=sana_velocity,
        mask=1,
        sampler="dpmsolver++",
        density=logit_normal(3.0),
        **FLOW
        | {
            "drawn": {"height": 32, "width": 32, "use_resolution_binning": False},
            "settings": {"train_text_encoder": False, "sampler": "dpmsolver++", "class_sampler": "dpmsolver++"},
        },
    ),
}
WITH_TEXT = [name for name, family in FAMILIES.items() if family.text]
"""Those whose text encoders train, and learn words."""
FLOWS = [name for name, family in FAMILIES.items() if family.velocity is not None]
"""Those along a rectified flow."""
