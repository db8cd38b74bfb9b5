"""DeepFloyd IF beside the conformance suite: what super-resolution is shown, two stages in one run, IF's folders."""

import html
import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import sentencepiece
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from dreambooth import models, recipe
from dreambooth.config import Base, Config
from dreambooth.data.batch import Batch
from dreambooth.data.dataset import encode_once, examples
from dreambooth.data.photos import photos_in
from dreambooth.errors import ConfigError, ModelError
from dreambooth.finetuning import training_step
from dreambooth.models.base import Sampling
from dreambooth.models.deepfloyd_if import DeepFloydIF
from dreambooth.models.refining import Refining
from dreambooth.personal import generate as generate_more
from dreambooth.run import Run
from dreambooth.run.records import LOSSES
from dreambooth.subject import Subject
from dreambooth.support.files import sha256
from dreambooth.support.model_index import SUPER_RESOLUTION, add_to_model_index
from dreambooth.support.rng import normal
from tiny import WORDS
from tiny_if import BASE, LARGER, Pair, tiny_if_pair, wrapped

DIFFUSERS: Any = diffusers
LATER = "super_resolution/unet"
SAMPLING = Sampling(sampler="ddpm", num_inference_steps=3, guidance_scale=3.0)
SETTINGS: dict[str, Any] = {
    "max_train_steps": 4,
    "learning_rate": 1e-3,
    "super_resolution_steps": 3,
    "super_resolution_lr": 2e-3,
    "checkpointing_steps": 2,
    "checkpoints_total_limit": 9,
    "validation_steps": 100,
    "num_class_images": 2,
    "class_num_inference_steps": 2,
    "class_guidance_scale": 2.0,
    "identifier": "sks",
    "method": "dreambooth",
    "probe": False,
}


def refiner(noise_level: int = 0) -> Any:
    """The second stage of a small model that tunes at this level."""
    pair = tiny_if_pair()
    return DeepFloydIF(pair.base, "tiny", pair.larger, Refining(noise_level=noise_level)).stages[1]


def smooth(count: int, side: int = 16) -> Tensor:
    """(B, 3, H, W) in [-1, 1] of large blots, that a small picture shows too."""
    return F.interpolate(normal((count, 3, 4, 4), "blots"), size=(side, side), mode="bicubic").clamp(-1, 1)


def shown(stage: Any, photos: Tensor, number: int = 0) -> Tensor:
    """(B, 3, H, W) what the stage is shown beside x_t of these photos, at the step `number`."""
    count = len(photos)
    batch = Batch(
        mean=photos,
        std=torch.zeros(count, 1, 1, 1),
        prompts=("a dog",) * count,
        is_prior=torch.zeros(count, dtype=torch.bool),
        rows=tuple(range(count)),
        low_res=F.interpolate(photos, size=(4, 4), mode="area"),
    )
    given: list[Tensor] = []
    stage.unet.register_forward_pre_hook(lambda module, args, kwargs: given.append(args[0]), with_kwargs=True)
    with torch.no_grad():
        training_step(stage, stage.process, batch, stage.condition(batch.prompts), 1.0, 0, number)
    return given[-1][:, 3:]


def correlation(one: Tensor, other: Tensor) -> float:
    """Of two tensors' values."""
    return float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1])


def test_what_super_resolution_is_shown_is_the_enlarged_photo_and_next_to_no_noise() -> None:
    photos = smooth(8)
    large = F.interpolate(
        F.interpolate(photos, size=(4, 4), mode="area"), size=(16, 16), mode="bilinear", align_corners=True
    )
    difference = shown(refiner(), photos) - large
    assert difference.abs().max() < 6 * 0.0064 and 0.004 < difference.std() < 0.009  # IF's own lowest level
    harder = shown(refiner(250), photos) - large
    assert 0.3 < harder.std() < 0.45


@pytest.mark.parametrize("noise_level", [0, 12, 250])
def test_what_super_resolution_is_shown_carries_no_trace_of_the_targets_noise(noise_level: int) -> None:
    """The scripts of the field show the stage x_t twice: there the correlation is that of x_t, and this test fails."""
    stage, photos = refiner(noise_level), smooth(16)
    noise = normal(photos.shape, "noise", 0, 0)  # as `training_step` draws it
    assert abs(correlation(shown(stage, photos), noise)) < 0.05
    x_t = stage.process.add_noise(photos, noise, torch.full((16,), 500))
    assert correlation(x_t, noise) > 0.3  # what it would be


def test_the_shown_noise_is_new_each_step_and_each_row_has_its_own() -> None:
    stage, photos = refiner(250), smooth(1).expand(2, -1, -1, -1)
    first, again, next_step = (shown(stage, photos, number) for number in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.allclose(first, next_step, atol=0.1) and not torch.allclose(first[0], first[1], atol=0.1)


def test_a_photo_is_kept_at_both_sides_of_the_same_square(photos_dir: Path) -> None:
    model = wrapped(tiny_if_pair())
    base, larger = model.stages
    subject = Subject(photos=photos_in(photos_dir), class_noun="dog", identifier="sks")
    rows = [examples(subject, (), Config().data, stage.resolution, 0) for stage in (base, larger)]
    small, large = (encode_once(rows[at], stage.posterior, stage.low_res) for at, stage in enumerate((base, larger)))
    assert large.low_res is not None and torch.equal(large.low_res, small.mean) and small.low_res is None
    batch = large.batch(0, 0, 2, 0)
    assert batch.low_res is not None and torch.equal(batch.low_res, small.mean[list(batch.rows)])


@pytest.mark.parametrize("noise_level", [0, 250])
def test_pictures_are_those_of_both_pipelines_called_one_after_the_other(noise_level: int) -> None:
    refining = Refining(noise_level=noise_level, guidance_scale=2.0, num_inference_steps=4)
    ours, theirs = tiny_if_pair(), tiny_if_pair()
    prompts, seeds = ["a SKS dog", "a red car in the snow"], [3, 8]
    drawn = DeepFloydIF(ours.base, "tiny", ours.larger, refining).generate(prompts, seeds, SAMPLING)
    for pipeline in (theirs.base, theirs.larger):
        pipeline.scheduler = DIFFUSERS.DDPMScheduler.from_config(
            pipeline.scheduler.config, variance_type="fixed_small", clip_sample=False, steps_offset=1
        )
    for row, (prompt, seed) in enumerate(zip(prompts, seeds, strict=True)):
        its = {"generator": torch.Generator().manual_seed(seed), "clean_caption": False}
        small = theirs.base(prompt, num_inference_steps=3, guidance_scale=3.0, output_type="pt", **its).images
        large = theirs.larger(
            prompt, image=small, num_inference_steps=4, guidance_scale=2.0, noise_level=noise_level, output_type="np",
            **its,
        ).images[0]  # fmt: skip
        assert np.abs(large * 255 - drawn[row]).max() <= 1


def test_super_resolution_reads_what_its_folder_says_unless_it_is_told_otherwise(tmp_path: Path) -> None:
    pair = tiny_if_pair()
    model = DeepFloydIF(pair.base, "tiny", pair.larger, Refining(noise_level=12, guidance_scale=2.0))
    model.save(tmp_path / "model")
    again: Any = models.load(Base(model=str(tmp_path / "model")))
    assert again.refining == model.refining and again.fingerprint() == model.fingerprint()
    asked = Base(model=str(tmp_path / "model"), noise_level=0, super_resolution_inference_steps=9)
    other: Any = models.load(asked)
    assert other.refining == Refining(noise_level=0, guidance_scale=2.0, num_inference_steps=9)
    assert other.fingerprint() != model.fingerprint()  # its class images are others


@pytest.mark.parametrize(
    "said", [{"guidance_scale": 0}, {"num_inference_steps": -3}, {"guidance_scale": "x"}, {"odd": 1}]
)
def test_a_folder_that_says_what_super_resolution_cannot_draw_by_is_told(said: dict[str, Any], tmp_path: Path) -> None:
    pair = tiny_if_pair()
    DeepFloydIF(pair.base, "tiny", pair.larger).save(tmp_path / "model")
    add_to_model_index(tmp_path / "model", SUPER_RESOLUTION, said)
    with pytest.raises(ModelError, match=r"model_index\.json does not say how super-resolution draws"):
        models.load(Base(model=str(tmp_path / "model")))


def test_the_folders_of_if_as_they_are_published_are_one_model(tmp_path: Path) -> None:
    """Two folders, each with a text encoder of its own; diffusers' own pipelines open what is saved of them."""
    pair = tiny_if_pair()
    pair.base.save_pretrained(tmp_path / "IF-I")
    pair.larger.save_pretrained(tmp_path / "IF-II")
    alone: Any = models.load(Base(model=str(tmp_path / "IF-I")))
    assert [stage.name for stage in alone.stages] == ["base"] and alone.resolution == 4
    both: Any = models.load(Base(model=str(tmp_path / "IF-I"), super_resolution=str(tmp_path / "IF-II")))
    assert [stage.name for stage in both.stages] == ["base", "super_resolution"] and both.resolution == 16
    both.save(tmp_path / "both")
    assert not (tmp_path / "both" / "super_resolution" / "text_encoder").exists()  # 10 GB of IF's
    theirs = Pair.open(tmp_path / "both")
    assert type(theirs.base).__name__ == "IFPipeline" and type(theirs.larger).__name__ == "IFSuperResolutionPipeline"
    assert theirs.larger.scheduler.config.variance_type == "fixed_small"
    with pytest.raises(ModelError, match="no program reads from one file"):
        both.save_single_file(tmp_path / "one.safetensors", "sks dog")


def test_the_words_of_ifs_own_folders_are_read_in_sentencepieces_format(tmp_path: Path) -> None:
    """Published in 2023 with spiece.model alone, which no tokenizer.json stands beside."""
    tiny_if_pair().base.save_pretrained(tmp_path)
    trained = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([f"a {word} in the snow" for word in WORDS] * 4),
        model_writer=trained,
        vocab_size=60,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    (tmp_path / "tokenizer" / "tokenizer.json").unlink()
    (tmp_path / "tokenizer" / "spiece.model").write_bytes(trained.getvalue())
    (tmp_path / "tokenizer" / "tokenizer_config.json").write_text('{"tokenizer_class": "T5Tokenizer", "extra_ids": 0}')
    (tokenizer,) = models.load(Base(model=str(tmp_path))).tokenizers.values()
    its = sentencepiece.SentencePieceProcessor(model_proto=trained.getvalue())
    for prompt in ("a dog in the snow", "a zwx teapot"):
        assert tokenizer(prompt)["input_ids"] == [*its.encode(prompt), its.eos_id()]


def test_what_is_no_deepfloyd_if_is_refused(tmp_path: Path) -> None:
    pair = tiny_if_pair()
    with pytest.raises(ModelError, match="6 channels in and 6 out, not 3 and 6"):
        DeepFloydIF(pair.larger, "swapped")
    with pytest.raises(ModelError, match="of its super-resolution stage has 3 channels in"):
        DeepFloydIF(pair.base, "twice", pair.base)
    wrapped(pair).save(tmp_path / "model")
    (tmp_path / "model" / "super_resolution" / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"cut")
    with pytest.raises(ModelError, match="super_resolution could not be opened"):
        models.load(Base(model=str(tmp_path / "model")))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small cascade on the disk."""
    folder = tmp_path_factory.mktemp("base") / "model"
    wrapped(tiny_if_pair(side=32)).save(folder)  # a class image has 32 pixels at least
    return folder


@pytest.fixture(scope="module")
def whole(folder: Path, photos_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that tuned both stages; only to be read."""
    return tuned(tmp_path_factory.mktemp("run") / "whole", folder, photos_dir)


def tuned(root: Path, folder: Path, photos_dir: Path, **more: Any) -> Run:
    """A run as far as its model."""
    subject = Subject(photos=photos_in(photos_dir), class_noun="dog")
    run = Run.create(root, subject, Config.build({**SETTINGS, "model": str(folder), **more}))
    recipe.personalise(run)
    return run


def weights(model: Path) -> dict[str, str]:
    """The hash of every weight file of a cascade, by its place."""
    return {file.parent.relative_to(model).as_posix(): sha256(file) for file in sorted(model.rglob("*.safetensors"))}


def test_one_run_tunes_both_stages_by_their_own_steps_and_rates(whole: Run, folder: Path) -> None:
    before, after = weights(folder), weights(whole.model)
    assert {place for place in before if before[place] != after[place]} == {"unet", "super_resolution/unet"}
    lines = {run.root.name: LOSSES.read(run.root) for run in (whole, *whole.later_stages)}
    assert {name: len(its) for name, its in lines.items()} == {"whole": 4, "super_resolution": 3}
    assert {line.lr for line in lines["whole"]} == {1e-3} and {line.lr for line in lines["super_resolution"]} == {2e-3}
    drawn = generate_more(whole, ["a {} in the snow"], count=1, num_inference_steps=2)
    assert len(drawn) == 1
    index = json.loads((whole.model / "model_index.json").read_text(encoding="utf-8"))
    assert index[SUPER_RESOLUTION]["noise_level"] == 0


def test_the_reports_lines_draw_with_both_stages(whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As someone pastes them in the run's folder."""
    page = html.unescape(recipe.report(whole).read_text(encoding="utf-8"))
    (code,) = [code for code in re.findall(r"<pre><code>(.*?)</code>", page, re.DOTALL) if "from_pretrained" in code]
    shutil.copytree(whole.model, tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    quick = re.sub(r"num_inference_steps=\d+", "num_inference_steps=2", code)
    exec(compile(quick, "snippet", "exec"), {})
    with Image.open("picture.png") as picture:
        assert picture.size == (32, 32)


@pytest.mark.parametrize("stopped", ["base", "between", "super_resolution"])
def test_a_run_that_was_killed_in_either_stage_or_between_ends_with_the_same_weights(
    stopped: str, whole: Run, tmp_path: Path
) -> None:
    """What a kill leaves: the checkpoints before it, and nothing of what came after."""
    run = Run(tmp_path / "run")
    shutil.copytree(whole.root, run.root)
    shutil.rmtree(run.model)
    (run.root / "model.json").unlink()
    later = run.stage("super_resolution")
    if stopped == "super_resolution":
        shutil.rmtree(later.checkpoints / "checkpoint-3")
    else:
        shutil.rmtree(later.root)
    if stopped == "base":
        shutil.rmtree(run.checkpoints / "checkpoint-4")
    recipe.personalise(run)
    assert weights(run.model) == weights(whole.model)
    for one, other in ((run, whole), (later, whole.stage("super_resolution"))):
        mine, its = (LOSSES.read(r.root) for r in (one, other))
        assert [replace(line, seconds=0) for line in mine] == [replace(line, seconds=0) for line in its]


def test_one_stage_alone_can_be_tuned(folder: Path, photos_dir: Path, whole: Run, tmp_path: Path) -> None:
    run = tuned(tmp_path / "run", folder, photos_dir, stages=("base",))
    before, after = weights(folder), weights(run.model)
    assert {place for place in before if before[place] != after[place]} == {"unet"}
    assert after["unet"] == weights(whole.model)["unet"] and run.later_stages == []
    for wrong, said in ({"stages": ("refiner",)}, "'refiner' is none of"), ({"resolution": 32}, "each their own"):
        with pytest.raises(ConfigError, match=said):
            tuned(tmp_path / said, folder, photos_dir, **wrong)


@pytest.mark.parametrize("identifier", ["sks", "SKS"])
def test_super_resolution_may_be_told_the_class_alone(
    identifier: str, folder: Path, photos_dir: Path, tmp_path: Path
) -> None:
    run = tuned(tmp_path / "run", folder, photos_dir, super_resolution_identifier=False, identifier=identifier)
    model: Any = models.load(Base(model=str(run.model)))
    base, larger = model.stages
    assert model.refining.unread == identifier
    prompts = (f"a {identifier} dog in the snow", "a dog in the snow")
    named, plain = (larger.condition([prompt]).embeds for prompt in prompts)
    assert torch.equal(named, plain)
    assert not torch.equal(*(base.condition([prompt]).embeds for prompt in ("a sks dog", "a dog")))


def test_a_lora_of_each_stage_is_a_file_that_its_pipeline_loads(folder: Path, photos_dir: Path, tmp_path: Path) -> None:
    run = tuned(tmp_path / "run", folder, photos_dir, method="lora")
    merged = {place: load_file(next((run.model / place).glob("*.safetensors"))) for place in ("unet", LATER)}
    for stage, place in (("base", "unet"), ("super_resolution", LATER)):
        opened = Pair.open(folder, stage)
        opened.load_lora_weights(run.stage(stage).adapter, weight_name="pytorch_lora_weights.safetensors")
        opened.fuse_lora(components=["unet"])
        opened.unload_lora_weights()
        state = opened.unet.state_dict()
        changed = [name for name, tensor in load_file(next((folder / place).glob("*.safetensors"))).items()
                   if not torch.equal(tensor, merged[place][name])]  # fmt: skip
        assert any("add_k_proj" in name for name in changed)
        assert all(torch.allclose(state[name], merged[place][name], atol=1e-6) for name in state)


def test_the_published_unets_have_their_published_sizes() -> None:
    """IF-I-XL and IF-II-L, on the meta device: 4.3 and 1.2 billion parameters."""
    shared: dict[str, Any] = {
        "norm_num_groups": 32,
        "attention_head_dim": 64,
        "addition_embed_type_num_heads": 64,
        "encoder_hid_dim": 4096,
    }
    first = {
        "sample_size": 64,
        "block_out_channels": (704, 1408, 2112, 2816),
        "layers_per_block": 3,
        "cross_attention_dim": 2816,
    }
    second = {
        "sample_size": 256,
        "block_out_channels": (160, 320, 640, 960, 1280),
        "layers_per_block": (2, 2, 3, 5, 5),
        "cross_attention_dim": 1280,
        "time_embedding_dim": 1280,
    }
    for small, published, plain, count in ((BASE, first, 1, 4_304_695_110), (LARGER, second, 3, 1_243_277_190)):
        attending = len(published["block_out_channels"]) - plain  # type: ignore[arg-type]
        blocks = {
            "down_block_types": ("ResnetDownsampleBlock2D",) * plain + ("SimpleCrossAttnDownBlock2D",) * attending,
            "up_block_types": ("SimpleCrossAttnUpBlock2D",) * attending + ("ResnetUpsampleBlock2D",) * plain,
        }
        with torch.device("meta"):
            unet = DIFFUSERS.UNet2DConditionModel(**{**small, **shared, **published, **blocks})
        assert sum(parameter.numel() for parameter in unet.parameters()) == count
