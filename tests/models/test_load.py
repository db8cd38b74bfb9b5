"""What cannot be opened is refused in plain words."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from dreambooth import models
from dreambooth.config import Base, Config
from dreambooth.config.worlds import DEFAULT_WORLD, EMBEDDED
from dreambooth.errors import ConfigError, ModelError
from dreambooth.run import Run
from dreambooth.subject import Subject
from tiny import tiny_model, tiny_pipeline


def load(model: str | Path, revision: str | None = None, variant: str | None = None) -> models.DiffusionModel:
    return models.load(Base.model_validate({"model": str(model), "revision": revision, "variant": variant}))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    tiny_model().save(tmp_path / "model")
    return tmp_path / "model"


def edit_index(folder: Path, **values: Any) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, **values}))


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "no-such-model", "a/b/c", "~no-such-user/model"])
def test_a_folder_that_is_not_there(name: str) -> None:
    with pytest.raises(ModelError, match="there is no folder or file"):
        load(name)


def test_a_folder_that_is_no_pipeline(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="json is missing or damaged"):
        load(tmp_path)
    (tmp_path / "model_index.json").write_text("{")
    with pytest.raises(ModelError, match="missing or damaged"):
        load(tmp_path)


def test_a_picture_is_told_as_one(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(photo := tmp_path / "photo.png")
    with pytest.raises(ModelError, match=r"photo\.png is a picture and no model: give a diffusers folder"):
        load(photo)
    with pytest.raises(ConfigError, match=r"model: .*photo\.png is a picture and no model"):
        Config.build(model=str(photo))


def test_the_folder_of_a_run_is_told_with_the_model_in_it(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(photo := tmp_path / "photo.png")
    run = Run.create(tmp_path / "run", Subject(photos=(photo,), class_noun="dog"), Config())
    for told in ("has no model yet: `dreambooth continue", f"give the model that it made, {run.model}"):
        with pytest.raises(ModelError, match=f"run is the folder of a run.*{told}"):
            load(run.root)
        with pytest.raises(ConfigError, match=f"model: .*run is the folder of a run.*{told}"):
            Config.build(model=str(run.root))
        if not run.model.exists():
            tiny_model().save(run.model)
    assert load(run.model).name == Config.build(model=str(run.model)).base.model


def test_a_run_that_is_called_as_the_embedded_model_stands_in_nobodys_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (8, 8)).save(photo := tmp_path / "photo.png")
    Run.create(tmp_path / "toybox", Subject(photos=(photo,), class_noun="dog"), Config())
    monkeypatch.chdir(tmp_path)
    assert Config.build().base.model == "toybox"


def test_a_hub_model_without_a_network() -> None:
    with pytest.raises(ModelError, match=r"nobody/nothing at revision abc could not be downloaded, and it is not in"):
        load("nobody/nothing", revision="abc")


@pytest.mark.parametrize("local", ["toybox", "folder"])
def test_a_revision_of_something_local(local: str, saved: Path) -> None:
    with pytest.raises(ModelError, match="has no revisions"):
        load(saved if local == "folder" else "toybox", revision="main")


def test_a_family_that_is_not_known(saved: Path) -> None:
    edit_index(saved, _class_name="ChromaPipeline")
    with pytest.raises(ModelError, match="is a 'ChromaPipeline'; this package trains StableDiffusionPipeline"):
        load(saved)


def test_a_part_that_is_not_known(saved: Path) -> None:
    edit_index(saved, image_encoder=["transformers", "CLIPVisionModelWithProjection"])
    with pytest.raises(ModelError, match="parts that this package cannot train with: image_encoder"):
        load(saved)


def test_a_safety_checker_is_never_loaded(saved: Path) -> None:
    edit_index(saved, safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"])
    edit_index(saved, feature_extractor=["transformers", "CLIPImageProcessor"])
    model: Any = load(saved)
    assert model.pipeline.safety_checker is None


@pytest.mark.parametrize(
    "harm",
    [
        lambda file: file.unlink(),
        lambda file: file.write_bytes(file.read_bytes()[:-100]),
        lambda file: file.write_bytes(b"\xff" * 8 + file.read_bytes()[8:]),
        lambda file: file.write_bytes(b"\x80\x04cos\nsystem\n."),
        lambda file: file.write_bytes(b""),
    ],
    ids=["missing", "truncated", "huge header", "pickle", "empty"],
)
@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_a_missing_or_malformed_weight_file(saved: Path, part: str, harm: Callable[[Path], None]) -> None:
    (file,) = (saved / part).glob("*.safetensors")
    harm(file)
    with pytest.raises(ModelError, match=r"could not be opened"):
        load(saved)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_a_weight_that_is_lacking_is_never_made_up(saved: Path, part: str) -> None:
    (file,) = (saved / part).glob("*.safetensors")
    weights = load_file(file)
    name = sorted(weights)[-1]
    del weights[name]
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(ModelError, match=rf"lacks 1 of its weights, {part}\..+ for one"):
        load(saved)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_a_weight_that_is_no_number_is_found_at_once_and_blamed_on_its_file(
    saved: Path, part: str, value: float
) -> None:
    (file,) = (saved / part).glob("*.safetensors")
    weights = load_file(file)
    name = sorted(weights)[-1]
    weights[name].view(-1)[-1] = value
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(ModelError, match=rf"no numbers \(NaN or infinite\): {name} in .*{part}/.*safetensors"):
        load(saved)


def test_weights_as_pickle_only_are_refused(saved: Path) -> None:
    (file,) = (saved / "unet").glob("*.safetensors")
    file.unlink()
    torch.save({}, file.with_name("diffusion_pytorch_model.bin"))
    with pytest.raises(ModelError, match="could not be opened"):
        load(saved)


def test_half_precision_files_are_opened_in_float32(tmp_path: Path) -> None:
    half: Any = tiny_pipeline().to(torch.float16)
    half.save_pretrained(tmp_path / "half", variant="fp16")
    model: Any = load(tmp_path / "half", variant="fp16")
    dtypes = {p.dtype for part in ("unet", "vae", "text_encoder") for p in getattr(model.pipeline, part).parameters()}
    assert dtypes == {torch.float32}
    assert torch.equal(model.pipeline.unet.conv_in.weight, half.unet.conv_in.weight.float())


def cached(folder: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make the folder owner/name of the local cache; returns its commit."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = root / "hub" / "models--owner--name"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    (repository / "snapshots").mkdir()
    folder.rename(repository / "snapshots" / commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(root / "hub"))
    return commit


def test_a_hub_model_of_the_local_cache_is_opened(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = cached(saved, tmp_path, monkeypatch)
    assert load("owner/name").name == f"owner/name@{commit}"


def test_a_sampler_that_the_family_lacks_is_reported_with_those_it_has() -> None:
    config = Config.build({"model": "tiny", "sampler": "euler", "class_sampler": "ddim"})
    with pytest.raises(ConfigError, match=r"sampler: 'euler' is none of tiny's: ddpm, ddim, dpmsolver\+\+") as caught:
        models.check(tiny_model(), config)
    assert len(caught.value.problems) == 1
    models.check(tiny_model(), Config())
    odd: dict[str, Any] = {"model": "tiny", "noise_level": 100, "super_resolution_steps": 9}
    with pytest.raises(ConfigError, match="no cascade") as caught:
        models.check(tiny_model(), Config.build(odd))
    assert len(caught.value.problems) == 2


def test_noise_levels_of_a_flow_mean_nothing_to_a_model_that_is_none() -> None:
    with pytest.raises(ConfigError, match="noise_levels: tiny is no rectified flow"):
        models.check(tiny_model(), Config.build({"model": "tiny", "noise_levels": "uniform"}))


def test_weights_that_do_not_train_may_be_read_at_half_their_size(saved: Path) -> None:
    model: Any = models.load(Base(model=str(saved), dtype="bfloat16"))
    assert model.pipeline.unet.dtype == model.dtype == torch.bfloat16
    assert model.fingerprint() != load(saved).fingerprint()  # other pictures


@pytest.mark.parametrize("content", ["{}", "[]", "{", '{"_class_name": "DDPMScheduler"}'])
def test_a_schedule_that_says_nothing_is_refused(content: str, saved: Path) -> None:
    """diffusers would take other betas than the model was trained with."""
    (saved / "scheduler" / "scheduler_config.json").write_text(content)
    with pytest.raises(ModelError, match="download the model again"):
        load(saved)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
@pytest.mark.parametrize("content", [None, "{}", "[]", "{"])
def test_a_part_that_does_not_say_its_shape_is_refused_before_one_is_built(
    part: str, content: str | None, saved: Path
) -> None:
    """transformers would build a text encoder of its own default."""
    config = saved / part / "config.json"
    config.unlink() if content is None else config.write_text(content)
    with pytest.raises(ModelError, match=rf"{part}.*download the model again"):
        load(saved)


def test_a_shape_that_its_weights_do_not_have_is_told(saved: Path) -> None:
    config = saved / "text_encoder" / "config.json"
    settings = json.loads(config.read_text())
    config.write_text(json.dumps({**settings, "intermediate_size": settings["intermediate_size"] + 1}))
    with pytest.raises(ModelError, match=r"a config\.json in it does not fit its weights"):
        load(saved)


@pytest.fixture
def of_the_toybox(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The hub id of a model in the local cache whose index names the toybox."""
    edit_index(saved, _world=EMBEDDED)
    cached(saved, tmp_path, monkeypatch)
    return "owner/name"


def test_a_saved_model_is_of_the_world_that_it_names_or_that_is_given(saved: Path) -> None:
    assert load(saved).world == DEFAULT_WORLD
    edit_index(saved, _world=EMBEDDED)
    assert load(saved).world == EMBEDDED
    assert models.load(Base(model=str(saved), world="photographs")).world == DEFAULT_WORLD


def test_a_world_that_only_the_download_knows_is_told(of_the_toybox: str) -> None:
    with pytest.raises(ConfigError, match=f"world: owner/name is of the world {EMBEDDED}.* give --world {EMBEDDED}"):
        load(of_the_toybox)
    assert models.load(Config.build({"model": of_the_toybox, "world": EMBEDDED}).base).world == EMBEDDED
