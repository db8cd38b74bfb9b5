"""A model for other programs: what is written, in which precision, and what is refused in words."""

from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file

from dreambooth import __version__, cli
from dreambooth.config import Config
from dreambooth.errors import ModelError
from dreambooth.export import export_folder, export_single_file, push_to_hub
from dreambooth.models.stable_diffusion import StableDiffusion
from dreambooth.run import Run
from dreambooth.subject import Subject
from dreambooth.support.files import seals, write_json
from hub import TOKEN, hub
from tiny import tiny_model


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run that has made its model, a small random one."""
    subject = Subject(photos=(), class_noun="dog", identifier="zwx")
    made = Run.create(tmp_path / "run", subject, Config.build({}))
    tiny_model().save(made.model)
    write_json(made.root / "model.json", seals(made.model))
    return made


def exported(*words: object) -> int:
    """The exit status of `dreambooth export WORDS`."""
    return cli.main(["export", *map(str, words)], __version__)


def dtypes(folder: Path) -> set[torch.dtype]:
    """Of all weights of a model's folder."""
    return {tensor.dtype for file in folder.rglob("*.safetensors") for tensor in load_file(file).values()}


@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
def test_the_model_of_a_run_is_written_in_the_precision_that_is_asked_for(
    precision: str, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exported(run.root, "--folder", tmp_path / "out", "--dtype", precision) == 0
    assert str(tmp_path / "out") in capsys.readouterr().out
    assert dtypes(tmp_path / "out") == {getattr(torch, precision)}
    assert dtypes(run.model) == {torch.float32}


def test_files_and_folders_may_be_text(run: Run, tmp_path: Path) -> None:
    export_folder(str(run.root), str(tmp_path / "out"), "float16")
    assert dtypes(tmp_path / "out") == {torch.float16}
    export_folder(run.model, tmp_path / "again", "float32")
    assert dtypes(tmp_path / "again") == {torch.float32}
    with pytest.raises(ModelError, match="cannot be one file"):  # a small model is not what is published
        export_single_file(run.root, str(tmp_path / "dog.safetensors"), "float32")


def test_the_embedded_model_can_be_had_in_float32(tmp_path: Path) -> None:
    assert exported("toybox", "--folder", tmp_path / "out") == 0
    assert dtypes(tmp_path / "out") == {torch.float32}


def test_a_single_file_is_written_under_the_name_that_was_given_with_the_subjects_title(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The layout itself is tested in models/test_original_layout.py: a small model is not what is published."""
    written: list[tuple[Path, str]] = []
    monkeypatch.setattr(StableDiffusion, "save_single_file", lambda _, file, title: written.append((file, title)))
    assert exported(run.root, "--single-file", tmp_path / "dog.safetensors") == 0
    assert written == [(tmp_path / "dog.safetensors", "zwx dog")]


def test_what_cannot_be_exported_is_told_and_nothing_is_written(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(*words: object) -> str:
        before = sorted(tmp_path.rglob("*"))
        assert exported(*words) == 2
        assert sorted(tmp_path.rglob("*")) == before
        return capsys.readouterr().err

    file, folder = tmp_path / "dog.safetensors", tmp_path / "out"
    assert "expect Stable Diffusion 1.x" in told(run.root, "--single-file", file)
    assert "cannot be one file: its tokenizer has words of its own" in told("toybox", "--single-file", file)
    assert "does not end in .safetensors" in told(run.root, "--single-file", tmp_path / "dog.ckpt")
    assert "--single-file --folder --push-to-hub is required" in told(run.root)
    assert f"{run.root} exists" in told(run.root, "--folder", run.root)
    assert "--public does nothing without --push-to-hub" in told(run.root, "--folder", folder, "--public")
    assert "--dtype does nothing with --push-to-hub" in told(run.root, "--push-to-hub", "me/it", "--dtype", "float16")
    assert "there is no folder or file nowhere" in told("nowhere", "--folder", folder)
    next(run.model.rglob("*.safetensors")).write_bytes(b"")
    assert "make it with `dreambooth continue" in told(run.root, "--folder", folder)
    (run.root / "config.toml").write_bytes(b"")
    assert "config.toml is damaged" in told(run.root, "--folder", folder)


def test_weights_that_are_too_large_for_float16_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    large: Any = tiny_model()
    with torch.no_grad():
        large.pipeline.unet.conv_in.bias.fill_(1e6)
    large.save(tmp_path / "large")
    assert exported(tmp_path / "large", "--folder", tmp_path / "out", "--dtype", "float16") == 2
    assert "weights too large for float16: give --dtype bfloat16" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert exported(tmp_path / "large", "--folder", tmp_path / "out", "--dtype", "bfloat16") == 0


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the hub's client and httpx
def test_a_run_is_uploaded_with_its_card_and_nothing_else(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (run.model / "README.md").write_text("---\nlicense: apache-2.0\n---\n# zwx dog\n", encoding="utf-8")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    for name, value in (("HF_HUB_DISABLE_XET", True), ("HF_HUB_OFFLINE", False)):
        monkeypatch.setattr(constants, name, value)
    with hub() as its:
        monkeypatch.setattr(constants, "ENDPOINT", its.endpoint)
        assert push_to_hub(str(run.root), "somebody/my-dog", endpoint=its.endpoint) == f"{its.endpoint}/somebody/my-dog"
        asked = its.created["somebody/my-dog"]
        assert asked.get("private") or asked.get("visibility") == "private"
        there = {path.relative_to(run.model).as_posix(): path for path in run.model.rglob("*") if path.is_file()}
        assert its.files == {name: path.read_bytes() for name, path in there.items()}
        run.adapter.mkdir()
        (run.adapter / "README.md").write_text("# of the adapter", encoding="utf-8")
        its.files.clear()
        push_to_hub(str(run.root), "somebody/my-lora", public=True, endpoint=its.endpoint)
        assert its.files == {"README.md": b"# of the adapter"}
        its.files.clear()
        its.private = False
        with pytest.raises(ModelError, match=r"^somebody/my-dog is public, and nothing was uploaded: add --public"):
            push_to_hub(str(run.root), "somebody/my-dog", endpoint=its.endpoint)
        assert its.files == {}
        its.private, its.refuses = True, True
        with pytest.raises(ModelError, match="log in with `hf auth login`"):
            push_to_hub(str(run.root), "somebody/my-dog", endpoint=its.endpoint)
    assert exported("toybox", "--push-to-hub", "somebody/my-dog") == 2
    assert "is no run" in capsys.readouterr().err
