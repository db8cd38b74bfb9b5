"""What SDXL has beside other families: framing, pooled words, two encoders, and its published width."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file
from torch import Tensor

from dreambooth import models
from dreambooth.config import Base, Config
from dreambooth.errors import ModelError
from dreambooth.finetuning import training_step
from dreambooth.models.base import Conditioning, Sampling
from dreambooth.models.stable_diffusion_xl import StableDiffusionXL
from dreambooth.subject import Subject
from dreambooth.support.rng import normal
from families import FAMILIES
from tiny import attached
from tiny_xl import tiny_xl_model, tiny_xl_pipeline

DIFFUSERS: Any = diffusers
SUBJECT = Subject(photos=(), class_noun="dog", identifier="<dog>")


def test_words_are_the_pipelines_of_both_encoders() -> None:
    model = tiny_xl_model()
    prompts = ["a sks dog", "a photo of a dog in the snow, on and on and on and on and on and on", ""]
    embeds, _, pooled, _ = model.pipeline.encode_prompt(prompts, device="cpu", do_classifier_free_guidance=False)
    found = model.stages[0].condition(prompts)
    assert torch.equal(found.embeds, embeds) and torch.equal(found.pooled, pooled)  # type: ignore[arg-type]
    assert found.embeds.shape[-1] == 24 + 32 and pooled.shape == (3, 40)


def test_a_framing_is_what_the_pipeline_is_told_of_sizes_and_corner() -> None:
    model, pipeline = tiny_xl_model(), tiny_xl_pipeline()
    seen: list[tuple[Tensor, Tensor, Tensor]] = []
    pipeline.unet.eval().register_forward_hook(
        lambda module, args, kwargs, output: seen.append((args[0], args[1], output[0])), with_kwargs=True
    )
    sizes = {"original_size": (48, 40), "crops_coords_top_left": (3, 5), "target_size": (16, 16)}
    pipeline(
        prompt="a dog", num_inference_steps=2, guidance_scale=1.0, generator=torch.Generator().manual_seed(0), **sizes
    )
    (stage,), batch = model.stages, FAMILIES["sdxl"].encoded().batch(seed=0, number=0, subject_rows=1, prior_rows=0)
    words = stage.condition(["a dog"])
    framed = stage.with_row_conditioning(words, replace(batch, framing=torch.tensor([[48, 40, 3, 5, 16, 16]])))
    for x_t, t, output in seen:
        found = stage.predict(x_t, t[None], framed)
        torch.testing.assert_close(found, output, rtol=1e-5, atol=1e-6)
        assert (found - stage.predict(x_t, t[None], words)).abs().max() > 1e-4
    assert stage.with_row_conditioning(words, batch) is words


def test_rows_of_one_batch_are_framed_apart() -> None:
    """Photos and class images of unlike sizes: each row's error is that of its own framing, not of a neighbour's."""
    model = tiny_xl_model()
    (stage,) = model.stages
    framing = torch.tensor([[48, 40, 3, 0, 16, 16], [640, 480, 0, 90, 16, 16], [16, 16, 0, 0, 16, 16]])
    batch = replace(FAMILIES["sdxl"].encoded().batch(0, 0, 1, 2), framing=framing)
    words = stage.condition(batch.prompts)
    _, together = training_step(stage, stage.process, batch, words, 1.0, 0)
    turned = replace(batch, framing=framing.flip(0))
    _, other = training_step(stage, stage.process, turned, words, 1.0, 0)
    assert ((together - other)[[0, 2]].abs() > 1e-6).all() and torch.equal(together[1], other[1])


def test_pooled_words_of_new_words_are_read_where_the_prompt_ends() -> None:
    model, plain = tiny_xl_model(), tiny_xl_model()
    before = plain.stages[0].condition(["a dog in the snow"])
    model.add_tokens(["<dog>"])
    (stage,) = model.stages
    after = stage.condition(["a dog in the snow"])
    assert torch.equal(before.pooled, after.pooled)  # type: ignore[arg-type]
    encoder, tokenizer = model.pipeline.text_encoder_2, model.pipeline.tokenizer_2
    ids = tokenizer(["a <dog> in the snow"], padding="max_length", return_tensors="pt").input_ids
    end = ids[0].tolist().index(tokenizer.eos_token_id)
    assert ids.max() == tokenizer.convert_tokens_to_ids("<dog>") > tokenizer.eos_token_id
    states = encoder.text_model(ids).last_hidden_state
    expected = encoder.text_projection(states[:, end])
    torch.testing.assert_close(stage.condition(["a <dog> in the snow"]).pooled, expected)


def test_a_saved_model_with_a_new_word_pools_alike_in_diffusers(tmp_path: Path) -> None:
    model = tiny_xl_model()
    adapter = attached(model, SUBJECT, Config.build({"model": "tiny", "method": "textual_inversion"}))
    adapter.load({name: normal(tensor.shape, name) for name, tensor in adapter.state().items()})
    adapter.merge()
    model.save(tmp_path / "model")
    pipeline = DiffusionPipeline.from_pretrained(tmp_path / "model")
    _, _, pooled, _ = pipeline.encode_prompt("a <dog>", device="cpu", do_classifier_free_guidance=False)
    torch.testing.assert_close(model.stages[0].condition(["a <dog>"]).pooled, pooled)


def test_a_learned_word_is_shared_under_the_names_of_both_encoders(tmp_path: Path) -> None:
    model = tiny_xl_model()
    config = Config.build({"model": "tiny", "method": "textual_inversion", "num_vectors": 2})
    adapter = attached(model, SUBJECT, config)
    assert {name: tuple(t.shape) for name, t in adapter.state().items()} == {
        "text_encoder.<dog>": (2, 24),
        "text_encoder_2.<dog>": (2, 32),
    }
    adapter.export(tmp_path)
    file = load_file(tmp_path / "learned_embeds.safetensors")
    assert {name: tuple(t.shape) for name, t in file.items()} == {"clip_l": (2, 24), "clip_g": (2, 32)}


def test_guidance_leads_away_from_nothing_as_published() -> None:
    """Zeros for the empty prompt, unless the model's folder says otherwise."""
    sampling = Sampling(sampler="euler", num_inference_steps=3, guidance_scale=5.0)
    model = tiny_xl_model()
    drawn = model.generate(["a dog"], [3], sampling)
    pipeline = tiny_xl_pipeline()
    theirs = pipeline(
        prompt="a dog", num_inference_steps=3, guidance_scale=5.0, generator=torch.Generator().manual_seed(3),
        output_type="np",
    ).images  # fmt: skip
    assert np.abs(theirs * 255 - drawn).max() <= 1
    model.pipeline.register_to_config(force_zeros_for_empty_prompt=False)
    assert np.abs(model.generate(["a dog"], [3], sampling).astype(int) - drawn).max() > 1


@pytest.mark.parametrize("sampler", StableDiffusionXL.samplers)
def test_every_sampler_draws_the_same_picture_in_any_batch(sampler: str) -> None:
    model = tiny_xl_model()
    sampling = Sampling(sampler=sampler, num_inference_steps=4, guidance_scale=3.0)
    together = model.generate(["a dog", "a cat"], [1, 2], sampling).astype(int)
    assert np.abs(model.generate(["a cat"], [2], sampling) - together[1]).max() <= 1
    assert together.std() > 0


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda p: p.unet.register_to_config(in_channels=9), "reads 9 channels"),
        (lambda p: p.unet.register_to_config(addition_embed_type=None), "takes no framing of a photo"),
        (lambda p: p.vae.register_to_config(latents_mean=[0.0] * 4), r"Playground 2\.5"),
        (lambda p: p.scheduler.register_to_config(prediction_type="flow"), "prediction type 'flow'"),
    ],
)
def test_a_pipeline_of_another_kind_is_refused(harm: Any, said: str) -> None:
    pipeline = tiny_xl_pipeline()
    harm(pipeline)
    with pytest.raises(ModelError, match=said):
        StableDiffusionXL(pipeline, "other")


def test_v_prediction_is_heeded() -> None:
    process: Any = tiny_xl_model(prediction_type="v_prediction").stages[0].process
    assert process.prediction == "v_prediction"


def test_a_folder_opens_as_its_family(tmp_path: Path) -> None:
    model = tiny_xl_model()
    model.save(tmp_path / "model")
    again = models.load(Base(model=str(tmp_path / "model")))
    assert type(again) is StableDiffusionXL
    assert again.fingerprint() == model.fingerprint()
    words: list[Conditioning] = [m.stages[0].condition(["a dog"]) for m in (model, again)]
    assert torch.equal(words[0].embeds, words[1].embeds)
    for tokenizer in ("tokenizer", "tokenizer_2"):
        assert (tmp_path / "model" / tokenizer / "merges.txt").is_file()  # what readers of older transformers want
