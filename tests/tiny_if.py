"""A small random DeepFloyd IF, built from configs alone: T5, a base of 4 px, super-resolution to 16 px, no download."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dreambooth.models.base import Conditioning
from dreambooth.models.deepfloyd_if import DeepFloydIF
from dreambooth.models.refining import Refining
from dreambooth.support.model_index import LATER_STAGE
from dreambooth.support.rng import normal
from tiny import DIFFUSERS, TRANSFORMERS, WORDS

UNET: dict[str, Any] = {
    "out_channels": 6,
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "down_block_types": ("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
    "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
    "up_block_types": ("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
    "cross_attention_dim": 32,  # a norm of 32 groups is fixed there
    "encoder_hid_dim": 16,
    "encoder_hid_dim_type": "text_proj",
    "attention_head_dim": 8,
    "addition_embed_type": "text",
    "addition_embed_type_num_heads": 2,
    "cross_attention_norm": "group_norm",
    "resnet_time_scale_shift": "scale_shift",
    "act_fn": "gelu",
}
BASE: dict[str, Any] = {**UNET, "sample_size": 4, "in_channels": 3}
LARGER: dict[str, Any] = {
    **UNET,
    "sample_size": 16,
    "in_channels": 6,
    "class_embed_type": "timestep",
    "time_embedding_act_fn": "gelu",
    "time_embedding_dim": 16,
    "mid_block_scale_factor": 2**0.5,
    "resnet_skip_time_act": True,
    "resnet_out_scale_factor": 2**0.5,
}
T5: dict[str, Any] = {"d_model": 16, "d_kv": 4, "d_ff": 32, "num_layers": 2, "num_heads": 4}


def tiny_t5_tokenizer() -> Any:
    """A Unigram in T5's layout: specials, then words from frequent to rare, then letters."""
    words = [(f"▁{word}", -3.0 - 0.1 * at) for at, word in enumerate(WORDS)]
    letters = [(chr(code), -20.0) for code in range(33, 127)] + [("▁", -20.0)]
    vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -50.0), *words, *letters]
    return TRANSFORMERS.T5Tokenizer(vocab=vocab, extra_ids=0)


class Pair:
    """Both pipelines of diffusers, used one after the other by whoever uses them as one."""

    def __init__(self, base: Any, larger: Any, stage: str = "base") -> None:
        self.base, self.larger, self.stage = base, larger, stage
        for pipeline in (base, larger):
            pipeline.set_progress_bar_config(disable=True)

    @classmethod
    def open(cls, folder: Path, stage: str = "base") -> "Pair":
        """As anyone opens what is in a folder: the second with the readers of the first."""
        base = DIFFUSERS.DiffusionPipeline.from_pretrained(folder)
        readers = {"tokenizer": base.tokenizer, "text_encoder": base.text_encoder}
        return cls(base, DIFFUSERS.DiffusionPipeline.from_pretrained(folder / LATER_STAGE, **readers), stage)

    vae = torch.nn.Identity()
    """It has none."""

    def __getattr__(self, name: str) -> Any:
        """Whatever else a pipeline has, such as its U-Net: that of the stage that is meant."""
        return getattr(self.base if self.stage == "base" else self.larger, name)

    @property
    def scheduler(self) -> Any:
        return self.base.scheduler

    @scheduler.setter
    def scheduler(self, scheduler: Any) -> None:
        for pipeline in (self.base, self.larger):
            # without it only DDPM can draw, by the variance that the U-Net says
            own = {"sample_max_value": pipeline.scheduler.config.sample_max_value, "variance_type": "fixed_small"}
            pipeline.scheduler = type(scheduler).from_config({**scheduler.config, **own})

    def to(self, dtype: torch.dtype) -> "Pair":
        self.larger.to(dtype)
        self.base.to(dtype)
        return self

    def save_pretrained(self, folder: Path, **how: Any) -> None:
        self.base.save_pretrained(folder, **how)
        self.larger.save_pretrained(folder / LATER_STAGE, **how)

    def __call__(self, output_type: str = "np", **asked: Any) -> Any:
        images = self.base(output_type="pt", clean_caption=False, **asked).images
        return self.larger(image=images, noise_level=0, output_type=output_type, clean_caption=False, **asked)


def tiny_if_pair(stage: str = "base", seed: int = 0, side: int = 16, **schedule: object) -> Pair:
    """IFPipeline and IFSuperResolutionPipeline of 200 000 random weights, of one T5, for pictures of `side` pixels.

    schedule: further settings of both schedulers, such as prediction_type="v_prediction".
    """
    cosine = {"beta_schedule": "squaredcos_cap_v2"}
    ddpm = {**cosine, "variance_type": "learned_range", "thresholding": True, "dynamic_thresholding_ratio": 0.95}
    no_checks = {"safety_checker": None, "feature_extractor": None, "watermarker": None}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tokenizer = tiny_t5_tokenizer()
        config = TRANSFORMERS.T5Config(
            vocab_size=len(tokenizer), feed_forward_proj="gated-gelu", dropout_rate=0.0, **T5
        )
        readers = {"tokenizer": tokenizer, "text_encoder": TRANSFORMERS.T5EncoderModel(config)}
        base = DIFFUSERS.IFPipeline(
            **readers,
            unet=DIFFUSERS.UNet2DConditionModel(**{**BASE, "sample_size": side // 4}),
            scheduler=DIFFUSERS.DDPMScheduler(**ddpm, sample_max_value=1.5, **schedule),
            requires_safety_checker=False,
            **no_checks,
        )
        larger = DIFFUSERS.IFSuperResolutionPipeline(
            **readers,
            unet=DIFFUSERS.UNet2DConditionModel(**{**LARGER, "sample_size": side}),
            scheduler=DIFFUSERS.DDPMScheduler(**ddpm, **schedule),
            image_noising_scheduler=DIFFUSERS.DDPMScheduler(**cosine),
            requires_safety_checker=False,
            **no_checks,
        )
    return Pair(base, larger, stage)


def wrapped(pair: Pair, name: str = "tiny", guidance_scale: float = 3.0) -> DeepFloydIF:
    """The pair as the package sees it; super-resolution is guided as much as the tests guide the base."""
    return DeepFloydIF(pair.base, name, pair.larger, Refining(guidance_scale=guidance_scale))


def as_given_if(given: Tensor, words: Conditioning) -> tuple[Tensor, Conditioning]:
    """Super-resolution is given x_t and the small picture as six channels; the tests draw at level 0."""
    x_t, beside = given[:, :3], given[:, 3:]
    if not beside.numel():
        return x_t, words
    return x_t, replace(words, extras={"low_res": beside, "noise_level": torch.zeros(len(x_t), dtype=torch.long)})


def seen_if(inputs: Mapping[str, Any], output: Any) -> tuple[Tensor, Tensor, Tensor]:
    """All channels that go in, the time, and the channels of the mean that come out."""
    return inputs["sample"], inputs["timestep"], output[0][:, :3]


def low_res(count: int) -> Tensor:
    """(B, 3, 4, 4): what super-resolution starts from."""
    return normal((count, 3, 4, 4), "low_res").clamp(-1, 1)
