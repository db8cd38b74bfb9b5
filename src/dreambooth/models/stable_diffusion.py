"""Stable Diffusion 1.x and 2.x: a latent U-Net with one CLIP text encoder (Rombach et al. 2022, arXiv:2112.10752)."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self, final

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AddedToken, CLIPTextModel

from dreambooth.diffusion import PREDICTIONS, DiscreteDiffusion
from dreambooth.errors import ModelError
from dreambooth.files import written_aside
from dreambooth.models.base import Conditioning, DiffusionModel, LoraLayout, Sampling
from dreambooth.progress import log

PIXELS_AT_ONCE = 8 * 512 * 512
"""Pixels drawn in one batch: 8 images of 512 x 512 fit a 24 GB card in float32."""

COMPONENTS = {"vae", "text_encoder", "tokenizer", "unet", "scheduler", "safety_checker", "feature_extractor"}
PARTS: dict[str, Any] = {"unet": UNet2DConditionModel, "vae": AutoencoderKL, "text_encoder": CLIPTextModel}
PIPELINE: Any = StableDiffusionPipeline
SCHEDULERS: dict[str, Any] = {"ddpm": DDPMScheduler, "ddim": DDIMScheduler, "dpmsolver++": DPMSolverMultistepScheduler}


@final
class StableDiffusion(DiffusionModel):
    """A diffusers StableDiffusionPipeline, all of its weights frozen until an adapter asks for some.

    pipeline: Any to the type checker, because diffusers sets its parts at run time.

    Raises ModelError where the pipeline's parts do not fit this family.
    """

    def __init__(self, pipeline: Any, name: str) -> None:
        _require_family(pipeline, name)
        self.name = name
        self.pipeline = pipeline
        self.tokenizer = pipeline.tokenizer
        self.resolution = pipeline.unet.config.sample_size * pipeline.vae_scale_factor
        self.process = _process(pipeline.scheduler)
        self.lora_layout = _lora_layout(pipeline)
        self._fingerprint: tuple[list[tuple[str, int, int]], str] | None = None
        self._truncated: set[str] = set()
        for module in self._weights().values():
            module.requires_grad_(False).eval()

    @classmethod
    def open(cls, folder: Path, name: str, variant: str | None = None) -> Self:
        """The pipeline in `folder`, in float32; its safety checker is never loaded.

        variant: the infix of the weight files, such as "fp16".  Raises ModelError where a part is missing or damaged.
        """
        index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
        filled = {part for part, source in index.items() if isinstance(source, list) and source[0] is not None}
        if others := sorted(filled - COMPONENTS):
            raise ModelError(
                f"{name} has parts that this package cannot train with: {', '.join(others)}. "
                "Choose a text-to-image Stable Diffusion 1.x or 2.x checkpoint."
            )
        reading = {"dtype": torch.float32, "variant": variant, "use_safetensors": True, "local_files_only": True}
        parts, lacking = {}, []
        try:
            for part, kind in PARTS.items():
                parts[part], told = kind.from_pretrained(folder, subfolder=part, output_loading_info=True, **reading)
                lacking += [f"{part}.{weight}" for weight in told["missing_keys"]]
            pipeline = PIPELINE.from_pretrained(
                folder,
                safety_checker=None,
                feature_extractor=None,
                requires_safety_checker=False,
                **parts,
                **reading,
            )
        except Exception as error:  # three libraries raise a dozen kinds for a missing or damaged file
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise ModelError(
                f"{name} could not be opened from {folder}: {reason[0]} "
                "Its weights must be complete .safetensors files: copy or download the model again."
            ) from error
        if lacking:  # the libraries would fill them with random numbers
            raise ModelError(
                f"{name} lacks {len(lacking)} of its weights, {lacking[0]} for one: copy or download the model again."
            )
        for module in parts.values():
            # a mapped file's alignment changes the last bits of what SIMD computes
            for parameter in module.parameters():
                parameter.data = parameter.data.clone()
        return cls(pipeline, name)

    @property
    def device(self) -> torch.device:
        return torch.device(self.pipeline.unet.device)

    def to(self, device: torch.device) -> None:
        self.pipeline.to(device)

    @torch.no_grad()
    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        latents = self.pipeline.vae.encode(images.to(self.device)).latent_dist
        scale = self.pipeline.vae.config.scaling_factor
        shift = self.pipeline.vae.config.shift_factor or 0.0
        return (latents.mean - shift) * scale, latents.std * scale

    def condition(self, prompts: Sequence[str]) -> Conditioning:
        prompts = self.pipeline.maybe_convert_prompt(list(prompts), self.tokenizer)  # a new word is several tokens
        limit = self.tokenizer.model_max_length
        for prompt in set(prompts) - self._truncated:
            pieces = self.tokenizer(prompt, truncation=True, max_length=limit, return_overflowing_tokens=True)
            if len(pieces.input_ids) > 1:
                self._truncated.add(prompt)
                log.warning("the model reads %d tokens of a prompt: the end of %r is cut off", limit - 2, prompt)
        tokens = self.tokenizer(prompts, padding="max_length", max_length=limit, truncation=True, return_tensors="pt")
        return Conditioning(self.pipeline.text_encoder(tokens.input_ids.to(self.device))[0])

    def predict(self, x_t: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        pred: Tensor = self.pipeline.unet(x_t, t.to(x_t.device), conditioning.prompt_embeds).sample
        return pred

    @torch.no_grad()
    def generate(self, prompts: Sequence[str], seeds: Sequence[int], sampling: Sampling) -> NDArray[np.uint8]:
        if len(prompts) != len(seeds):
            raise ValueError(f"every prompt needs its seed, got {len(prompts)} prompts and {len(seeds)} seeds")
        parts = {**self.pipeline.components, "scheduler": _sampler(self.pipeline.scheduler, sampling)}
        drawing = PIPELINE(**parts, requires_safety_checker=False)
        drawing.set_progress_bar_config(disable=True)
        at_once = max(1, PIXELS_AT_ONCE // self.resolution**2)
        images = []
        training = [module for part in self._weights().values() for module in part.modules() if module.training]
        for module in training:
            module.training = False
        try:
            for first in range(0, len(prompts), at_once):
                chosen = slice(first, first + at_once)
                images.append(
                    drawing(
                        list(prompts[chosen]),
                        height=self.resolution,
                        width=self.resolution,
                        num_inference_steps=sampling.num_inference_steps,
                        guidance_scale=sampling.guidance_scale,
                        # on the CPU and one per image: the same picture on any device, whoever else is in the batch
                        generator=[torch.Generator().manual_seed(seed) for seed in seeds[chosen]],
                        output_type="np",
                    ).images
                )
        finally:
            for module in training:
                module.training = True
        if not images:
            return np.zeros((0, self.resolution, self.resolution, 3), np.uint8)
        return (np.concatenate(images) * 255).round().astype(np.uint8)

    def trainable(self) -> Mapping[str, nn.Module]:
        return {"denoiser": self.pipeline.unet, "text_encoder": self.pipeline.text_encoder}

    def add_tokens(self, tokens: Sequence[str]) -> tuple[nn.Embedding, list[int]]:
        # a whole word: where "zwx" is learned, "azwxb" stays what it was
        added = self.tokenizer.add_tokens([AddedToken(token, single_word=True) for token in tokens])
        if added != len(tokens):
            raise ValueError(f"of the tokens {list(tokens)} the tokenizer has {len(tokens) - added} already")
        encoder = self.pipeline.text_encoder
        rows = max(encoder.get_input_embeddings().num_embeddings, len(self.tokenizer))
        embedding: nn.Embedding = encoder.resize_token_embeddings(rows, mean_resizing=False)
        embedding.requires_grad_(False)
        ids: list[int] = self.tokenizer.convert_tokens_to_ids(list(tokens))
        with torch.no_grad():
            embedding.weight[ids] = 0  # transformers draws them from the global generator
        return embedding, ids

    def save_lora(
        self, folder: Path, weights: Mapping[str, Mapping[str, Tensor]], configs: Mapping[str, Mapping[str, Any]]
    ) -> None:
        names = {"denoiser": ("unet", "", "lora"), "text_encoder": ("text_encoder", "text_model.", "lora_linear_layer")}
        arguments: dict[str, Any] = {}
        for part, tensors in weights.items():
            name, prefix, half = names[part]
            arguments[f"{name}_lora_adapter_metadata"] = dict(configs[part])
            arguments[f"{name}_lora_layers"] = {
                prefix + _lora_key(key, half): tensor for key, tensor in tensors.items()
            }
        with written_aside(folder / "pytorch_lora_weights.safetensors") as aside:
            PIPELINE.save_lora_weights(aside.parent, weight_name=aside.name, **arguments)

    def fingerprint(self) -> str:
        tensors = [
            (f"{part}.{name}", tensor)
            for part, module in self._weights().items()
            for name, tensor in module.state_dict().items()
        ]
        # training or loading writes to a weight; an adapter puts another in its place
        writes = [(name, tensor.data_ptr(), tensor._version) for name, tensor in tensors]
        if self._fingerprint is None or self._fingerprint[0] != writes:
            self._fingerprint = writes, self._digest(tensors)
        return self._fingerprint[1]

    def save(self, folder: Path) -> None:
        with written_aside(folder) as aside:
            self.pipeline.save_pretrained(aside, safe_serialization=True)
            # vocab.json and merges.txt: readers older than transformers 5 look for them
            self.tokenizer.backend_tokenizer.model.save(str(aside / "tokenizer"))

    def _weights(self) -> dict[str, nn.Module]:
        return {
            "unet": self.pipeline.unet,
            "vae": self.pipeline.vae,
            "text_encoder": self.pipeline.text_encoder,
        }

    def _digest(self, tensors: Sequence[tuple[str, Tensor]]) -> str:
        digest = hashlib.blake2b(digest_size=16)
        told = [_schedule(self.pipeline.scheduler), self.tokenizer.model_max_length, self.tokenizer.get_vocab()]
        digest.update(json.dumps(told, sort_keys=True, default=str).encode())
        for name, tensor in tensors:
            digest.update(f"{name} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().float().cpu().contiguous().numpy().data)
        return digest.hexdigest()


def _require_family(pipeline: Any, name: str) -> None:
    schedule = pipeline.scheduler.config
    side = pipeline.unet.config.sample_size
    problems = []
    if pipeline.unet.config.in_channels != pipeline.vae.config.latent_channels:
        problems.append(
            f"its U-Net reads {pipeline.unet.config.in_channels} channels, its latents have "
            f"{pipeline.vae.config.latent_channels} (an inpainting or editing model?)"
        )
    if schedule.get("prediction_type", "epsilon") not in PREDICTIONS:
        problems.append(f"its prediction type {schedule['prediction_type']!r} is none of {', '.join(PREDICTIONS)}")
    if "beta_start" not in schedule and "trained_betas" not in schedule:
        problems.append(f"its scheduler {type(pipeline.scheduler).__name__} has no noise schedule of betas")
    if not isinstance(side, int):
        problems.append(f"its images are not square (sample_size {side!r})")
    if problems:
        raise ModelError(
            f"{name} is not a text-to-image model of the Stable Diffusion 1.x/2.x family: {'; '.join(problems)}. "
            "Choose another base model."
        )


def _lora_layout(pipeline: Any) -> LoraLayout:
    second = (
        "stable-diffusion-v2-768-v"
        if pipeline.scheduler.config.prediction_type == "v_prediction"
        else ("stable-diffusion-v2-512")
    )
    return LoraLayout(
        targets={
            "denoiser": ("to_q", "to_k", "to_v", "to_out.0"),
            "text_encoder": ("q_proj", "k_proj", "v_proj", "out_proj"),
        },
        kohya_prefixes={"denoiser": "lora_unet_", "text_encoder": "lora_te_text_model_"},
        architecture=second if pipeline.unet.config.cross_attention_dim == 1024 else "stable-diffusion-v1",
    )


def _lora_key(key: str, half: str) -> str:
    """diffusers' name of one of peft's tensors.

    Not by diffusers' own conversion: it renames the attention alone, its loader takes no mixture of names, and for the
    text encoder the loader wants a ".weight" after DoRA's magnitudes.
    """
    key = key.replace(".lora_A.", f".{half}.down.").replace(".lora_B.", f".{half}.up.")
    return f"{key}.weight" if key.endswith(".lora_magnitude_vector") else key


def _schedule(scheduler: Any) -> dict[str, Any]:
    """The noise schedule without diffusers' marks, which would put a sampler's own defaults in place of some values."""
    return {key: value for key, value in scheduler.config.items() if not key.startswith("_")}


def _process(scheduler: Any) -> DiscreteDiffusion:
    training = SCHEDULERS["ddpm"].from_config(_schedule(scheduler))
    return DiscreteDiffusion(training.alphas_cumprod, training.config.prediction_type)


def _sampler(scheduler: Any, sampling: Sampling) -> Any:
    # latents have no range to clip to; and the image must start near t = T - 1, which "leading" spacing misses by far
    # with many steps, and by all of the signal where the last time has none (Lin et al. 2023, arXiv:2305.08891)
    schedule = {**_schedule(scheduler), "clip_sample": False, "steps_offset": 1}
    if (
        schedule.get("rescale_betas_zero_snr")
        or sampling.num_inference_steps > scheduler.config.num_train_timesteps // 10
    ):
        schedule["timestep_spacing"] = "trailing"
    return SCHEDULERS[sampling.sampler].from_config(schedule)
