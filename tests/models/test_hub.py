"""A model on the hub is looked at before it is downloaded; the hub's cache on this disk stands for the hub."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub.errors import EntryNotFoundError

from dreambooth import models
from dreambooth.config import Base, Config
from dreambooth.config.machine import check_reach
from dreambooth.errors import ModelError
from dreambooth.models import hub
from hub import hub as stand_in
from tiny import tiny_pipeline

PARTS = {
    **{part: ["diffusers", "X"] for part in ("unet", "vae", "scheduler")},
    **{part: ["transformers", "X"] for part in ("text_encoder", "tokenizer", "safety_checker")},
}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the cache keeps owner/name; empty."""
    repository = tmp_path / "hub" / "models--owner--name"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    (repository / "snapshots").mkdir()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return repository / "snapshots" / COMMIT


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What is asked of diffusers' downloader, which finds nothing."""
    asked: list[dict[str, Any]] = []

    def download(name: str, **how: Any) -> str:
        asked.append({"name": name, **how})
        raise OSError("nothing there")

    monkeypatch.setattr("diffusers.DiffusionPipeline.download", download)
    return asked


@pytest.mark.parametrize("kind", ["ChromaPipeline", "StableDiffusionXLInpaintPipeline", ["pipeline", "Own"], None])
def test_a_family_that_is_not_known_is_refused_before_the_download(
    kind: Any, snapshot: Path, downloads: list[dict[str, Any]]
) -> None:
    snapshot.mkdir()
    (snapshot / "model_index.json").write_text(json.dumps({"_class_name": kind}))
    with pytest.raises(ModelError, match=r"owner/name is a .*; this package trains StableDiffusionPipeline"):
        models.load(Base(model="owner/name"))
    assert downloads == []


@pytest.mark.parametrize("part", [{"image_encoder": ["transformers", "X"]}, {"unet": ["own_code", "X"]}])
def test_parts_that_are_not_known_are_refused_before_the_download(
    part: dict[str, Any], snapshot: Path, downloads: list[dict[str, Any]]
) -> None:
    snapshot.mkdir()
    index = {"_class_name": "StableDiffusionPipeline", **PARTS, **part}
    (snapshot / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match=r"owner/name (has parts|names .* as its unet)"):
        models.load(Base(model="owner/name"))
    assert downloads == []


def test_a_model_of_the_cache_with_fp16_weights_alone_opens(snapshot: Path) -> None:
    tiny_pipeline().to(torch.float16).save_pretrained(snapshot, variant="fp16")
    assert models.load(Base(model="owner/name")).name == f"owner/name@{COMMIT}"


def test_the_commit_that_was_looked_at_is_downloaded_in_the_only_variant_that_is_there(
    snapshot: Path, downloads: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot.mkdir()
    (snapshot / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline", **PARTS}))
    files = [f"{part}/model.fp16.safetensors" for part in ("unet", "vae", "text_encoder")]
    files += ["safety_checker/model.safetensors", "x.gif"]
    monkeypatch.setattr(hub, "list_repo_files", lambda name, revision: files)
    with pytest.raises(ModelError, match="could not be downloaded, and it is not in the cache"):
        models.load(Base(model="owner/name"))
    assert [(its["revision"], its["variant"], its["use_safetensors"]) for its in downloads] == [(COMMIT, "fp16", True)]
    with pytest.raises(ModelError, match=r"no variant bf16 of every part .* Give --variant fp16"):
        models.load(Base(model="owner/name", variant="bf16"))
    assert len(downloads) == 1


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The URLs that are asked of a hub that no network leads to; the client's own pauses are no pauses."""
    urls: list[str] = []

    def refused(url: str, **_: Any) -> Any:
        urls.append(url)
        raise OSError("[Errno -2] Name or service not known")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", refused)
    monkeypatch.setattr("huggingface_hub.file_download.get_hf_file_metadata", refused)
    return urls


def test_a_hub_that_cannot_be_reached_is_asked_once(asked: list[str], snapshot: Path) -> None:
    with pytest.raises(ModelError, match=r"owner/name could not be downloaded.*Name or service not known"):
        models.load(Base(model="owner/name"))
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("denied", "revision", "says"),
    [
        ((403, "GatedRepo", ""), None, "owner/name is gated: .* Accept it on the model's page.*hf auth login"),
        ((404, "RepoNotFound", ""), None, "the hub has no model owner/name, or it is private. Check the name"),
        ((401, "RepoNotFound", ""), None, "the hub has no model owner/name, or it is private. Check the name"),
        ((401, "", "Invalid credentials in Authorization header"), None, "the hub refused owner/name .*log in anew"),
        ((404, "RevisionNotFound", ""), "v9", "owner/name has no revision v9: leave out --revision"),
        ((404, "EntryNotFound", ""), None, "owner/name has no model_index.json, so it is no diffusers model"),
    ],
    ids=str,
)
def test_gated_missing_and_of_no_such_revision_are_sentences_of_their_own(
    denied: tuple[int, str, str], revision: str | None, says: str, snapshot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the hub's own client, and what a server on this machine answers it."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with stand_in() as its:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", its.endpoint)
        template = its.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        its.denies = denied
        with pytest.raises(ModelError, match=says):
            models.load(Base(model="owner/name", revision=revision))


@pytest.mark.parametrize("there", [None, "IFPipeline"])
def test_a_second_stage_that_is_none_is_told_before_the_first_is_downloaded(
    there: str | None, asked: list[str], downloads: list[dict[str, Any]], snapshot: Path
) -> None:
    """asked: nobody reaches the hub, and the cache has what it answered."""
    parts = {"unet": ["diffusers", "X"], "text_encoder": ["transformers", "X"], "tokenizer": ["transformers", "X"]}
    index = {"_class_name": "IFPipeline", **parts, "scheduler": ["diffusers", "X"]}
    cached(snapshot, index)
    if there:  # once more a first stage
        cached(Path(str(snapshot).replace("owner--name", "owner--larger")), index)
    says = "owner/larger names None as its image_noising_scheduler" if there else "owner/larger could not be downloaded"
    with pytest.raises(ModelError, match=says):
        models.load(Base(model="owner/name", super_resolution="owner/larger", family="deepfloyd-if"))
    assert downloads == []


def cached(snapshot: Path, index: dict[str, Any]) -> None:
    """Have the hub's cache hold the model_index.json of a model's only commit."""
    snapshot.mkdir(parents=True)
    (snapshot / "model_index.json").write_text(json.dumps(index))
    refs = snapshot.parent.parent / "refs"
    refs.mkdir(exist_ok=True)
    (refs / "main").write_text(COMMIT)


def test_what_is_in_the_cache_needs_no_hub(asked: list[str], snapshot: Path) -> None:
    tiny_pipeline().save_pretrained(snapshot)
    assert models.load(Base(model="owner/name")).name == f"owner/name@{COMMIT}"
    assert len(asked) == 1


@pytest.mark.parametrize("name", ["owner/nothing", "owner/not hing", "o" * 200 + "/n"])
def test_offline_a_model_that_is_not_here_is_told_before_anything_is_opened(name: str, snapshot: Path) -> None:
    with pytest.raises(ModelError, match=r"the base model .* is not in the cache, and HF_HUB_OFFLINE is set"):
        check_reach(Config.build(model=name))
    snapshot.mkdir()
    (snapshot / "model_index.json").write_text("{}")
    check_reach(Config.build(model="owner/name"))
    check_reach(Config())


def test_a_repository_that_is_no_diffusers_model_is_told_as_one(
    downloads: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(*_: Any, **__: Any) -> str:
        raise EntryNotFoundError("404")

    monkeypatch.setattr(hub, "hf_hub_download", absent)
    with pytest.raises(ModelError, match=r"owner/name has no model_index\.json, so it is no diffusers model"):
        models.load(Base(model="owner/name"))
    assert downloads == []


def test_a_damaged_index_is_told_with_its_file(snapshot: Path) -> None:
    snapshot.mkdir()
    for content in ("{", "[]", "3"):
        (snapshot / "model_index.json").write_text(content)
        with pytest.raises(ModelError, match=r"model_index\.json of owner/name is damaged"):
            models.load(Base(model="owner/name"))
