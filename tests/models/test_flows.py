"""What every family along a rectified flow must prove beside the conformance suite."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors import safe_open
from safetensors.torch import load_file

from dreambooth import models
from dreambooth.config import Base, Config
from dreambooth.config.families import FAMILIES as ROWS
from dreambooth.config.noise_levels import NOISE_LEVELS
from dreambooth.data.batch import Batch
from dreambooth.errors import ConfigError, ModelError
from dreambooth.finetuning import training_step
from dreambooth.models import families
from dreambooth.models.base import padded
from dreambooth.models.quantized import Quantized
from dreambooth.support.rng import generator, normal
from families import FAMILIES, FLOWS, SUBJECT, Family
from tiny import attached

PROMPTS = ["a sks dog", "a photo of a small blue dog in the snow, and a cat with a mug on the beach", ""]
LONG = "a sks dog" + " in the snow" * 300
"""Longer than any call reads, and still shorter than the positions of the small language models."""


@pytest.fixture(params=FLOWS)
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


def test_a_training_step_equals_a_computation_by_hand_from_the_pipelines_parts(family: Family) -> None:
    """Photos to loss: latents, noise, noise level, velocity and both terms of Eq. 2, none of it by this package."""
    assert family.velocity is not None
    model, pipeline = family.model(), family.pipeline()
    images = torch.rand(3, 3, family.side, family.side, generator=generator("images")) * 2 - 1
    mean, std = model.stages[0].posterior(images)
    prompts, is_prior = ("a sks dog", "a dog in the snow", "a dog"), torch.tensor([False, True, True])
    batch = Batch(mean=mean, std=std, prompts=prompts, is_prior=is_prior, rows=(0, 1, 2))
    (stage,) = model.stages
    with torch.no_grad():
        loss, error = training_step(stage, stage.process, batch, stage.condition(prompts), 0.5, 7)
        mean, std = family.latents(pipeline.vae, images)
        x0 = mean + std * normal(mean.shape, "latent", 7)
        noise = normal(mean.shape, "noise", 7)
        sigma = stage.process.sample_t(mean.shape, *(generator("t", 7, row) for row in range(3)))
        share = sigma.view(-1, 1, 1, 1)
        velocity = family.velocity(pipeline, list(prompts), (1 - share) * x0 + share * noise, sigma)
    by_hand = [(velocity[row] - (noise[row] - x0[row])).square().mean() for row in range(3)]
    torch.testing.assert_close(error, torch.stack(by_hand), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(loss, by_hand[0] + 0.5 * (by_hand[1] + by_hand[2]) / 2, rtol=1e-4, atol=1e-5)


def test_one_file_holds_the_true_change_for_comfyui_where_alpha_is_not_the_rank(family: Family, tmp_path: Path) -> None:
    """Up times down at scale 1, as there is no alpha; where ComfyUI adds it is in test_comfyui.py."""
    model = family.model()
    before = {name: tensor.clone() for name, tensor in model.pipeline.transformer.state_dict().items()}
    config = Config.build({"model": "tiny", **family.settings, "method": "lora", "rank": 3, "lora_alpha": 6})
    adapter = attached(model, SUBJECT, config)
    adapter.load({name: 0.1 * normal(tensor.shape, name) for name, tensor in adapter.state().items()})
    adapter.export(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["pytorch_lora_weights.safetensors"]
    adapter.merge()
    merged = model.pipeline.transformer.state_dict()
    file = load_file(tmp_path / "pytorch_lora_weights.safetensors")
    assert not any("alpha" in name for name in file)
    layers = {name.removesuffix(".lora_A.weight") for name in file if name.endswith(".lora_A.weight")}
    assert len(file) == 2 * len(layers) and all(layer.startswith("transformer.") for layer in layers)
    changed = {name for name, tensor in before.items() if not torch.equal(tensor, merged[name])}
    assert {f"{layer.removeprefix('transformer.')}.weight" for layer in layers} == changed
    for layer in layers:
        name = f"{layer.removeprefix('transformer.')}.weight"
        up, down = file[f"{layer}.lora_B.weight"], file[f"{layer}.lora_A.weight"]
        torch.testing.assert_close(up @ down, merged[name] - before[name], rtol=0, atol=1e-6)
    with safe_open(tmp_path / "pytorch_lora_weights.safetensors", "pt") as opened:
        said = json.loads(opened.metadata()["lora_adapter_metadata"])
    assert said["transformer.r"] == said["transformer.lora_alpha"] == 3


class Heard(Exception):
    """Enough: nothing need be drawn."""


@pytest.mark.parametrize("prompt", ["a sks dog", LONG], ids=["short", "long"])
def test_prompts_become_what_the_call_of_the_pipeline_makes_of_them(
    family: Family, prompt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lengths, layers and templates: the pipeline is called with a prompt alone, and asked what it encoded how."""
    (stage,), pipeline = family.model().stages, family.pipeline()
    heard: list[Any] = []
    encode = pipeline.encode_prompt

    def listen(*args: Any, **kwargs: Any) -> Any:
        heard.extend(encode(*args, **kwargs))
        raise Heard

    monkeypatch.setattr(pipeline, "encode_prompt", listen)
    with pytest.raises(Heard):
        pipeline(prompt=prompt, **family.drawn, **family.unguided)
    mine, theirs = stage.condition([prompt]), heard[0]
    theirs = theirs[0] if isinstance(theirs, list) else theirs
    assert torch.equal(mine.embeds.reshape(theirs.shape), theirs)
    assert (mine.pooled is None) == (family.pooled is None)
    assert family.pooled is None or torch.equal(mine.pooled, heard[family.pooled])
    mask = None if family.mask is None else heard[family.mask]  # none where all of it is read
    assert mine.mask is None or torch.equal(mine.mask, torch.ones_like(mine.mask) if mask is None else mask.bool())
    assert mask is None or mine.mask is not None
    cut = torch.equal(stage.condition([f"{prompt} cat"]).embeds, mine.embeds)
    assert cut == (prompt is LONG), "a word after the last that is read changes nothing"


def test_prompts_of_all_lengths_are_stacked_as_if_they_were_conditioned_together(family: Family) -> None:
    """What is padded is never read: not by its neighbours, and not if the padding were anything else."""
    (stage,) = family.model().stages
    rows = [stage.condition([prompt]) for prompt in PROMPTS]
    stacked, x_t, t = stage.stack(rows), family.noisy(3), family.times(3)
    torch.testing.assert_close(
        stage.predict(x_t, t, stacked), stage.predict(x_t, t, stage.condition(PROMPTS)), rtol=1e-4, atol=1e-5
    )
    if stacked.mask is not None:
        hidden = ~stacked.mask.bool().view(*stacked.mask.shape, *[1] * (stacked.embeds.dim() - 2))
        noisy = torch.where(hidden, normal(stacked.embeds.shape, "junk"), stacked.embeds)
        found = stage.predict(x_t, t, replace(stacked, embeds=noisy))
        torch.testing.assert_close(found, stage.predict(x_t, t, stacked), rtol=1e-4, atol=1e-5)


def test_unequal_rows_are_padded_and_masked() -> None:
    (stage,) = FAMILIES[FLOWS[0]].model().stages
    rows = [replace(stage.condition([""]), embeds=normal((1, length, 6), "embeds")) for length in (3, 5)]
    both = padded(rows)
    assert both.embeds.shape == (2, 5, 6) and both.mask is not None
    assert both.mask.tolist() == [[True] * 3 + [False] * 2, [True] * 5]
    assert torch.equal(both.embeds[0, :3], rows[0].embeds[0]) and not both.embeds[0, 3:].any()


def test_a_model_that_draws_at_any_side_is_tuned_and_draws_at_the_one_it_is_given(
    family: Family, tmp_path: Path
) -> None:
    model = family.model()
    model.save(tmp_path / "model")
    assert models.load(Base(model=str(tmp_path / "model"))).resolution == family.side
    twice = models.load(Base(model=str(tmp_path / "model")), 2 * family.side)
    drawn = twice.generate(["a dog"], [0], family.sampling)
    assert drawn.shape == (1, 2 * family.side, 2 * family.side, 3)
    odd = models.load(Base(model=str(tmp_path / "model")), family.side + 1)
    with pytest.raises(ConfigError, match=r"resolution: \d+ is no multiple of"):
        models.check(odd, Config.build({"model": "tiny", **family.settings}))


def test_its_settings_come_with_its_folder_and_its_published_name(family: Family, tmp_path: Path) -> None:
    model = family.model()
    model.save(tmp_path / "model")
    class_name = json.loads((tmp_path / "model" / "model_index.json").read_text())["_class_name"]
    name = next(name for name, row in ROWS.items() if row.pipeline == class_name)
    row = ROWS[name]
    for given in (str(tmp_path / "model"), *row.published):
        config = Config.build({"model": given})
        assert config.base.family == name and config.method.method == "lora"
        assert not config.training.train_text_encoder
        expected = {**row.preset, **row.method_presets.get("lora", {})}
        assert {setting: config.flat()[setting] for setting in expected} == expected
        models.check(model, config.model_copy(update={"data": config.data}))
    for refused, reason in row.refused.items():
        with pytest.raises(ConfigError, match="is distilled to a few steps") as error:
            Config.build({"model": refused})
        assert reason in str(error.value)
    with pytest.raises(ConfigError, match=f"give --family {name}"):
        families.require_settings(Base(model="owner/unknown"), class_name)
    families.require_settings(Base(model="owner/unknown", family=name), class_name)


def test_recomputing_activations_changes_no_gradient(family: Family) -> None:
    gradients = []
    for checkpointing in (False, True):
        model = family.model()
        (stage,) = model.stages
        transformer = model.pipeline.transformer.requires_grad_(True)
        if checkpointing:
            transformer.enable_gradient_checkpointing()
        batch = family.encoded().batch(seed=0, number=0, subject_rows=1, prior_rows=1)
        training_step(stage, stage.process, batch, stage.condition(batch.prompts), 1.0, 0)[0].backward()
        gradients.append([p.grad for p in transformer.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(gradients[1]) > 0
    for plain, again in zip(*gradients, strict=True):
        torch.testing.assert_close(again, plain, rtol=1e-4, atol=1e-6)


def test_a_prediction_reads_nothing_from_the_device(family: Family) -> None:
    """On torch's "meta", where tensors have no values: whatever a GPU would be waited for fails there."""
    model, meta = family.model(), torch.device("meta")
    (stage,) = model.stages
    words = stage.stack([stage.condition([prompt]) for prompt in PROMPTS])
    pooled = None if words.pooled is None else words.pooled.to(meta)
    model.pipeline.transformer.to(meta)
    words = replace(words, embeds=words.embeds.to(meta), pooled=pooled)
    found = stage.predict(family.noisy(3).to(meta), family.times(3).to(meta), words)
    assert found.device == meta and found.shape == (3, *family.latent)


@pytest.mark.parametrize("bits", [None, "8", "4"])
def test_a_lora_on_a_bfloat16_base_learns(family: Family, bits: Any, tmp_path: Path) -> None:
    """On the CPU too, and on frozen weights of few bits: on noise that they share the last losses are lower."""
    if bits:
        pytest.importorskip("bitsandbytes")
    family.model().save(tmp_path / "base")
    model: Any = models.load(Base(model=str(tmp_path / "base"), dtype="bfloat16", base_bits=bits))
    assert any(isinstance(layer, Quantized) for layer in model.pipeline.text_encoder.modules()) == bool(bits)
    (stage,) = model.stages
    config = Config.build({"model": "tiny", **family.settings, "method": "lora", "rank": 8})
    adapter = attached(model, SUBJECT, config)
    assert stage.dtype is torch.bfloat16
    batch = family.encoded().batch(seed=0, number=0, subject_rows=2, prior_rows=2)
    words = stage.condition(batch.prompts)
    optimizer = torch.optim.AdamW([p for group in adapter.parameter_groups() for p in group["params"]], lr=2e-2)
    losses = []
    for step in range(24):
        loss, _ = training_step(stage, stage.process, batch, words, 1.0, step % 4)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(torch.tensor(losses).isfinite()) and sum(losses[-4:]) < 0.98 * sum(losses[:4])


def test_a_schedule_that_is_no_flow_is_refused(family: Family) -> None:
    pipeline = family.pipeline()
    pipeline.scheduler.register_to_config(time_shift_type="linear", prediction_type="flow_prediction")
    with pytest.raises(ModelError, match="shifts noise levels in a way of its own"):
        family.wrap(pipeline, "other")


def test_libraries_that_do_not_know_a_family_are_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    def older(name: str) -> Any:
        raise ImportError(f"cannot import name 'Pipeline' for {name}")

    monkeypatch.setattr(families, "import_module", older)
    with pytest.raises(ModelError, match="a FluxPipeline needs newer libraries than are installed"):
        families.family("FluxPipeline")


def test_no_single_file_is_written(family: Family, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="shared as a diffusers folder, or as its LoRA"):
        family.model().save_single_file(tmp_path / "file.safetensors", "title")


@pytest.mark.parametrize("name", NOISE_LEVELS)
def test_every_named_density_trains(name: Any) -> None:
    family = FAMILIES[FLOWS[0]]
    (stage,) = family.model().stages
    batch = family.encoded().batch(seed=0, number=0, subject_rows=1, prior_rows=2)
    process = stage.process.with_noise_levels(name)
    loss, _ = training_step(stage, process, batch, stage.condition(batch.prompts), 1.0, 0)
    assert loss.isfinite()


@pytest.mark.parametrize("name", ["diffusers_sd3", "kohya_sd3"])
def test_each_row_is_weighed_by_its_own_noise_level_where_that_is_named(family: Family, name: Any) -> None:
    """By sigma squared, class images like photos; and the terms of Eq. 2 are the means of what was weighed."""
    (stage,) = family.model().stages
    batch = family.encoded().batch(seed=0, number=0, subject_rows=2, prior_rows=2)
    words, process = stage.condition(batch.prompts), stage.process.with_noise_levels(name)
    with torch.no_grad():
        _, plain = training_step(stage, replace(process, x0_weighted=False), batch, words, 0.5, 7)
        loss, error = training_step(stage, process, batch, words, 0.5, 7)
    places = [generator("t", 7, row) for row in range(4)]
    if name == "kohya_sd3":
        sigma = torch.stack([1 - torch.rand((), generator=place) for place in places])
    else:
        odds = torch.stack([3 * torch.randn((), generator=place).exp() for place in places])
        sigma = odds / (1 + odds)
    assert (sigma.diff().abs() > 0.01).all()  # the weight of a neighbour would be another
    torch.testing.assert_close(error, plain * sigma.square(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(loss, error[:2].mean() + 0.5 * error[2:].mean())


def test_a_saved_pipeline_opens_in_one_precision_for_who_says_nothing(family: Family, tmp_path: Path) -> None:
    """transformers would take bfloat16 from a text encoder's settings, diffusers float32 for the rest."""
    family.model().save(tmp_path / "base")
    models.load(Base(model=str(tmp_path / "base"), dtype="bfloat16")).save(tmp_path / "low")
    pipeline: Any = DiffusionPipeline.from_pretrained(tmp_path / "low", local_files_only=True)
    assert {part.dtype for part in pipeline.components.values() if hasattr(part, "dtype")} == {torch.float32}
