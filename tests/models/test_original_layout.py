"""A model as one file: every weight comes back to the bit, under the names that other programs look for."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint
from safetensors import safe_open
from safetensors.torch import load_file

from comfyui import fused
from comfyui_unet import unet_places
from dreambooth.config import Base
from dreambooth.errors import ModelError
from dreambooth.models import original_layout, stable_diffusion, stable_diffusion_xl
from dreambooth.models.base import Sampling
from dreambooth.models.single_file import Published, clip_tokenizer
from dreambooth.models.stable_diffusion import StableDiffusion
from dreambooth.models.stable_diffusion_xl import StableDiffusionXL
from tiny import DIFFUSERS, tiny_model, tiny_pipeline, tiny_tokenizer
from tiny_xl import tiny_xl_pipeline

SAMPLING = Sampling(sampler="ddim", num_inference_steps=3, guidance_scale=3.0)


def deep_unet(pipeline: Any) -> Any:
    """A U-Net of three blocks of two layers, one of them without attention, in place of the pipeline's own."""
    told = {key: value for key, value in pipeline.unet.config.items() if not key.startswith("_")}
    told |= {"block_out_channels": (8, 12, 16), "layers_per_block": 2}
    told["down_block_types"] = ("CrossAttnDownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D")
    told["up_block_types"] = ("CrossAttnUpBlock2D", "UpBlock2D", "CrossAttnUpBlock2D")
    if not isinstance(told["attention_head_dim"], int):
        told |= {"attention_head_dim": (2, 2, 4), "transformer_layers_per_block": (1, 1, 2)}
    return DIFFUSERS.UNet2DConditionModel.from_config(told)


def pipeline_of(make: Callable[[], Any], kind: Any) -> Any:
    """A small pipeline, its U-Net and autoencoder of several blocks of several layers."""
    pipeline = make()
    told = dict(pipeline.vae.config) | {"block_out_channels": (4, 8, 12), "layers_per_block": 2}
    told |= {"down_block_types": ("DownEncoderBlock2D",) * 3, "up_block_types": ("UpDecoderBlock2D",) * 3}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        deep = {"unet": deep_unet(pipeline), "vae": DIFFUSERS.AutoencoderKL.from_config(told)}
    return kind.pipeline(**{**pipeline.components, **deep}, **kind.options)


def published(pipeline: Any, module: Any) -> Published:
    """What a file of such pipelines leaves out."""
    scheduler = {key: value for key, value in pipeline.scheduler.config.items() if not key.startswith("_")}
    readers: dict[str, Callable[[], Any]] = {
        "tokenizer": tiny_tokenizer,
        "tokenizer_2": partial(tiny_tokenizer, pad="!"),
    }
    usual: Published = module.PUBLISHED
    return replace(
        usual,
        configs={part: dict(getattr(pipeline, part).config.to_dict()) for part in text_parts(module)}
        | {part: clean(getattr(pipeline, part).config) for part in ("unet", "vae")},
        scheduler=lambda **marks: type(pipeline.scheduler)(**{**scheduler, **marks}),
        tokenizers={reader: readers[reader] for reader in usual.tokenizers},
    )


def text_parts(module: Any) -> list[str]:
    """The names of its text encoders."""
    return [part for part in module.KIND.weights if part.startswith("text_encoder")]


def clean(config: Any) -> dict[str, Any]:
    """Without diffusers' own marks."""
    return {key: value for key, value in config.items() if not key.startswith("_")}


CASES: dict[str, tuple[Any, Any, Callable[[], Any]]] = {
    "stable diffusion": (stable_diffusion, StableDiffusion, tiny_pipeline),
    "sdxl": (stable_diffusion_xl, StableDiffusionXL, tiny_xl_pipeline),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_written_to_one_file_comes_back_to_the_bit(case: str, tmp_path: Path) -> None:
    module, family, make = CASES[case]
    pipeline = pipeline_of(make, module.KIND)
    model, its = family(pipeline, "small"), published(pipeline, module)
    model.save_single_file(str(tmp_path / "model.safetensors"), "zwx dog", its)
    again: Any = family.open_file(tmp_path / "model.safetensors", Base(model="small"), torch.float32, its)
    for part in module.KIND.weights:
        mine, theirs = getattr(pipeline, part).state_dict(), getattr(again.pipeline, part).state_dict()
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(tensor, theirs[name]) for name, tensor in mine.items()), part
    assert (again.generate(["a sks dog"], [0], SAMPLING) == model.generate(["a sks dog"], [0], SAMPLING)).all()
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        told = file.metadata()
    assert told["modelspec.title"] == "zwx dog"
    assert told["modelspec.architecture"] == model.lora_layout.architecture


@pytest.mark.parametrize("case", CASES)
def test_the_layers_of_a_u_net_are_where_comfyui_looks_for_them(case: str) -> None:
    """By its own map, of three blocks of two layers, one of them without attention."""
    module, _, make = CASES[case]
    unet = pipeline_of(make, module.KIND).unet
    theirs, mine = fused(unet.state_dict(), unet_places(unet)), original_layout.unet(unet)
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in mine.items())


@pytest.mark.parametrize(
    ("module", "unet", "expected"),
    [
        (
            stable_diffusion,
            686,
            {
                "model.diffusion_model.input_blocks.0.0.weight": (320, 4, 3, 3),
                "model.diffusion_model.input_blocks.3.0.op.weight": (320, 320, 3, 3),
                "model.diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_k.weight": (1280, 768),
                "model.diffusion_model.output_blocks.2.1.conv.weight": (1280, 1280, 3, 3),
                "model.diffusion_model.output_blocks.8.2.conv.weight": (640, 640, 3, 3),
                "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight": (49408, 768),
            },
        ),
        (
            stable_diffusion_xl,
            1680,
            {
                "model.diffusion_model.label_emb.0.0.weight": (1280, 2816),
                "model.diffusion_model.output_blocks.5.2.conv.weight": (640, 640, 3, 3),
                "conditioner.embedders.0.transformer.text_model.final_layer_norm.weight": (768,),
                "conditioner.embedders.1.model.text_projection": (1280, 1280),
                "conditioner.embedders.1.model.transformer.resblocks.31.attn.in_proj_weight": (3840, 1280),
            },
        ),
    ],
    ids=["stable diffusion 1", "sdxl"],
)
def test_the_published_widths_have_the_published_names(module: Any, unet: int, expected: dict[str, Any]) -> None:
    """On the meta device; names and shapes as in the files that were published."""
    found: dict[str, torch.Tensor] = {}
    for part, (before, named) in module.PUBLISHED.layout.items():
        type_, settings = module.KIND.weights[part], module.PUBLISHED.configs[part]
        with torch.device("meta"):
            made = type_(type_.config_class(**settings)) if hasattr(type_, "config_class") else type_(**settings)
        names = {f"{before}{name}": tensor for name, tensor in named(made).items()}
        found |= names
        if convert := {"unet": convert_ldm_unet_checkpoint, "vae": convert_ldm_vae_checkpoint}.get(part):
            back, state = convert(dict(names), settings), made.state_dict()  # as a file is read: no more is told
            assert {name: t.shape for name, t in back.items()} == {name: t.shape for name, t in state.items()}
    shared = {
        "first_stage_model.encoder.mid.attn_1.q.weight": (512, 512, 1, 1),
        "first_stage_model.decoder.up.3.block.0.norm1.weight": (512,),
        "first_stage_model.decoder.up.1.block.0.nin_shortcut.weight": (256, 512, 1, 1),
    }
    assert {name: tuple(found[name].shape) for name in {**shared, **expected}} == {**shared, **expected}
    assert sum(name.startswith("model.diffusion_model.") for name in found) == unet
    assert sum(name.startswith("first_stage_model.") for name in found) == 248


def refused(model: Any, its: Published, file: Path) -> str:
    """Why it cannot be one file."""
    with pytest.raises(ModelError) as caught:
        model.save_single_file(file, "it", its)
    assert not list(file.parent.iterdir())
    return str(caught.value)


def test_what_other_programs_would_take_for_something_else_is_refused(tmp_path: Path) -> None:
    file, model = tmp_path / "model.safetensors", tiny_model()
    its = published(model.pipeline, stable_diffusion)
    vocabulary = replace(its, tokenizers={"tokenizer": partial(clip_tokenizer, "<|endoftext|>")})
    assert "its tokenizer has words of its own" in refused(model, vocabulary, file)
    width = replace(its, configs={**its.configs, "unet": {**its.configs["unet"], "block_out_channels": (8, 12)}})
    assert "has shape (16,), not (12,)" in refused(model, width, file)
    scale = replace(its, configs={**its.configs, "vae": {**its.configs["vae"], "scaling_factor": 0.5}})
    assert "vae has scaling_factor 0.18215, not 0.5" in refused(model, scale, file)
    betas = replace(its, scheduler=partial(DIFFUSERS.DDPMScheduler, beta_schedule="linear"))
    assert "its noise schedule is another" in refused(model, betas, file)
    model.add_tokens(["<dog>"])
    assert "words of its own ('<dog>')" in refused(model, its, file)


def test_a_velocity_model_is_refused_where_other_programs_heed_no_mark(tmp_path: Path) -> None:
    """ComfyUI looks for the marks in files of SDXL alone."""
    model, file = tiny_model("v_prediction"), tmp_path / "model.safetensors"
    plain = published(tiny_model().pipeline, stable_diffusion)
    assert "it predicts v_prediction, which no such file can say" in refused(model, plain, file)
    assert not file.exists()
    model.save_single_file(file, "v", replace(plain, marks=("v_pred",)))
    assert "v_pred" in load_file(file)
    again = StableDiffusion.open_file(file, Base(model="v"), torch.float32, plain)
    assert again.pipeline.scheduler.config.prediction_type == "v_prediction"


def test_names_of_the_attentions_of_an_autoencoder_are_convolutions_of_one_pixel() -> None:
    found = original_layout.vae(tiny_pipeline().vae)
    assert all(
        found[f"{side}.mid.attn_1.{name}.weight"].dim() == 4 for side in ("encoder", "decoder") for name in "qkv"
    )
