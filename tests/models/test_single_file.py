"""One .safetensors file of the original layout opens as the pipeline that it was, and draws the same."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from dreambooth import models
from dreambooth.config import Base
from dreambooth.config.worlds import DEFAULT_WORLD, EMBEDDED
from dreambooth.errors import ModelError
from dreambooth.models import stable_diffusion, stable_diffusion_xl
from dreambooth.models.base import Sampling
from dreambooth.models.single_file import Published, clip_tokenizer
from dreambooth.models.stable_diffusion_xl import StableDiffusionXL
from tiny import DIFFUSERS, tiny_model, tiny_tokenizer
from tiny_xl import SCHEDULE, UNET, VAE, tiny_xl_model, tiny_xl_pipeline

SAMPLING = Sampling(sampler="euler", num_inference_steps=3, guidance_scale=3.0)


def published() -> Published:
    """The settings of the small pipeline."""
    pipeline = tiny_xl_pipeline()
    text = {part: getattr(pipeline, part).config.to_dict() for part in ("text_encoder", "text_encoder_2")}
    return replace(
        stable_diffusion_xl.PUBLISHED,
        configs={"unet": {"sample_size": 8, **UNET}, "vae": {"sample_size": 16, **VAE}, **text},
        scheduler=partial(DIFFUSERS.EulerDiscreteScheduler, **SCHEDULE),
        tokenizers={"tokenizer": tiny_tokenizer, "tokenizer_2": partial(tiny_tokenizer, pad="!")},
    )


def written(file: Path, **schedule: Any) -> Path:
    """The small pipeline as one file; schedule: further settings of its scheduler."""
    tiny_xl_model(**schedule).save_single_file(file, "small", published())
    return file


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path / "model.safetensors")


def opened(file: Path, **base: Any) -> Any:
    return StableDiffusionXL.open_file(file, Base(model="tiny", **base), torch.float32, published())


def test_it_is_the_pipeline_that_was_written(file: Path, tmp_path: Path) -> None:
    model, plain = opened(file), tiny_xl_model()
    for part in stable_diffusion_xl.KIND.weights:
        mine, theirs = getattr(model.pipeline, part).state_dict(), getattr(plain.pipeline, part).state_dict()
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(tensor, theirs[name]) for name, tensor in mine.items())
    prompts = ["a sks dog", "a cat on the beach"]
    drawn = model.generate(prompts, [0, 1], SAMPLING)
    assert (drawn == plain.generate(prompts, [0, 1], SAMPLING)).all()
    model.save(tmp_path / "folder")
    again = models.load(Base(model=str(tmp_path / "folder")))
    assert (again.generate(prompts, [0, 1], SAMPLING) == drawn).all()


def test_its_fingerprint_is_the_files(file: Path) -> None:
    first = opened(file).fingerprint()
    assert opened(file).fingerprint() == first
    weights = load_file(file)
    save_file({**weights, "model.diffusion_model.out.2.bias": weights["model.diffusion_model.out.2.bias"] + 1}, file)
    assert opened(file).fingerprint() != first


def test_it_says_whether_it_predicts_velocity(tmp_path: Path) -> None:
    schedule = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    model = opened(written(tmp_path / "v.safetensors", **schedule))
    assert {"v_pred", "ztsnr"} <= load_file(tmp_path / "v.safetensors").keys()
    process: Any = model.stages[0].process
    assert process.prediction == "v_prediction" and process.alphas_cumprod[-1] < 1e-6


@pytest.mark.parametrize(
    "name",
    [
        "model.diffusion_model.out.2.bias",
        "first_stage_model.encoder.conv_in.weight",
        "conditioner.embedders.0.transformer.text_model.final_layer_norm.weight",
        "conditioner.embedders.1.model.text_projection",
    ],
)
def test_a_weight_that_is_lacking_is_never_made_up(file: Path, name: str) -> None:
    weights = load_file(file)
    del weights[name]
    save_file(weights, file)
    with pytest.raises(ModelError, match=r"lacks 1 of its weights|could not be opened"):
        opened(file)


def test_a_damaged_file_and_one_of_another_kind_are_refused(file: Path, tmp_path: Path) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="could not be opened"):
        models.load(Base(model=str(file)))
    save_file({"lora_unet_mid.alpha": torch.ones(())}, tmp_path / "lora.safetensors")
    with pytest.raises(ModelError, match=r"reads Stable Diffusion 1\.x and SDXL"):
        models.load(Base(model=str(tmp_path / "lora.safetensors")))
    file.write_bytes(whole)
    save_file({**load_file(file), "edm_mean": torch.zeros(4)}, file)
    with pytest.raises(ModelError, match="noise schedule of EDM"):
        opened(file)


def test_a_file_is_told_to_its_family_by_what_it_holds(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[Path] = []

    def opened(file: Path, base: Base, dtype: torch.dtype) -> models.DiffusionModel:
        called.append(file)
        return tiny_model()

    monkeypatch.setattr(StableDiffusionXL, "open_file", opened)
    assert models.load(Base(model=str(file))).world == DEFAULT_WORLD
    assert models.load(Base(model=str(file), world=EMBEDDED)).world == EMBEDDED
    assert called == [file, file]


def test_the_packaged_words_are_clips() -> None:
    """Numbers as OpenAI's own tokenizer gives them."""
    tokenizer = clip_tokenizer("<|endoftext|>")
    assert len(tokenizer) == 49408 and tokenizer.model_max_length == 77
    assert tokenizer("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert tokenizer("a sks dog", add_special_tokens=False).input_ids == [320, 48136, 1929]
    assert clip_tokenizer("!")("a", padding="max_length").input_ids[3:] == [0] * 74


@pytest.mark.parametrize(
    ("module", "counts"),
    [
        (
            stable_diffusion_xl,
            {"unet": 2_567_463_684, "vae": 83_653_863, "text_encoder": 123_060_480, "text_encoder_2": 694_659_840},
        ),
        (stable_diffusion, {"unet": 859_520_964, "vae": 83_653_863, "text_encoder": 123_060_480}),
    ],
    ids=["sdxl", "stable diffusion 1"],
)
def test_the_published_settings_have_the_published_width(module: Any, counts: dict[str, int]) -> None:
    """On the meta device, where nothing is computed and no memory taken."""
    for part, count in counts.items():
        type_, settings = module.KIND.weights[part], module.PUBLISHED.configs[part]
        with torch.device("meta"):
            made = type_(type_.config_class(**settings)) if hasattr(type_, "config_class") else type_(**settings)
        assert sum(p.numel() for p in made.parameters()) == count, part
    assert module.PUBLISHED.scheduler().config.num_train_timesteps == 1000
