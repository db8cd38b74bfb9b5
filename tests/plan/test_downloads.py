"""What a plan says of downloads, by the hub's own client and a server on this machine; none of them is made."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dreambooth import __version__, cli, models
from dreambooth.config import Base, Config, Evaluation
from dreambooth.evaluation import judges_to_come
from dreambooth.generation.photographs import PHOTOGRAPHS
from hub import COMMIT, Hub
from hub import hub as stand_in
from tiny_if import tiny_if_pair

WEIGHTS = {"unet/diffusion_pytorch_model.safetensors": 2_500_000_000, "unet/diffusion_pytorch_model.bin": 2_500_000_000}
JUDGE: dict[str, bytes | int] = {"config.json": b"{}", "model.safetensors": 300_000_000, "tf_model.h5": 300_000_000}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """One that can be reached, with the judges of photographs alone; nothing of it is in the cache."""
    monkeypatch.setenv("DREAMBOOTH_CACHE", str(tmp_path / "own"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with stand_in() as its:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", its.endpoint)
        monkeypatch.setattr("huggingface_hub.hf_api.api.endpoint", its.endpoint)
        template = its.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        its.published = {name: dict(JUDGE) for name in PHOTOGRAPHS.judges.values()}
        yield its


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The first stage of a cascade, on this disk."""
    tiny_if_pair().base.save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def published(folder: Path, pipeline: Any) -> dict[str, bytes | int]:
    """What the hub has of a pipeline: its weights in two formats, as large as real ones."""
    pipeline.save_pretrained(folder)
    names = [str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()]
    return {name: (folder / name).read_bytes() for name in names if ".safetensors" not in name} | WEIGHTS


def planned(photos: Path, *words: object) -> int:
    given = ["run", photos, "--class-noun", "dog", "--plan", *words]
    return cli.main([str(word) for word in given], __version__)


def weights_read(hub: Hub) -> list[str]:
    return [name for name in hub.read if not name.endswith("model_index.json")]


def test_a_second_stage_and_judges_that_are_to_come_are_counted_and_not_downloaded(
    hub: Hub, base: Path, photos_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.published["owner/larger"] = published(tmp_path / "larger", tiny_if_pair().larger)
    assert planned(photos_dir, "--model", base, "--super-resolution", "owner/larger") == 0
    assert "3.1 GB to download (0.6 GB of it the judges) first" in capsys.readouterr().out
    hub.published["owner/name"] = published(tmp_path / "name", tiny_if_pair().base)
    hub.published["owner/name"]["text_encoder/model.safetensors"] = 9_000_000_000
    words = ["--model", "owner/name", "--super-resolution", "owner/larger", "--family", "deepfloyd-if", "--no-probe"]
    assert planned(photos_dir, *words) == 0
    assert "plan      14.0 GB to download first" in capsys.readouterr().out  # 2.5 + 9 and 2.5: one T5 reads to both
    assert weights_read(hub) == []


def test_a_second_stage_that_is_in_the_cache_is_planned_with_its_model(
    hub: Hub, base: Path, photos_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.published["owner/larger"] = published(tmp_path / "larger", tiny_if_pair().larger)
    repository = tmp_path / "cache" / "models--owner--larger"
    tiny_if_pair().larger.save_pretrained(repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    words = ["--model", base, "--super-resolution", "owner/larger", "--num-class-images", 1, "--max-train-steps", 1]
    assert planned(photos_dir, *words, "--no-probe") == 0
    told = capsys.readouterr().out
    assert "1 + 1 steps" in told and told.count("nothing to download") == 1
    assert planned(photos_dir, *words) == 0
    assert "0.6 GB to download (0.6 GB of it the judges)" in capsys.readouterr().out
    assert weights_read(hub) == []


def test_where_the_hub_does_not_say_how_much_is_to_come_nothing_is_downloaded(
    hub: Hub, base: Path, photos_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.published["owner/larger"] = published(tmp_path / "larger", tiny_if_pair().larger)
    hub.silent = True
    words = ["--num-class-images", 1, "--max-train-steps", 1]
    assert planned(photos_dir, "--model", base, "--super-resolution", "owner/larger", *words) == 2
    says = "owner/larger could not be downloaded, and it is not in the cache.*does not say how much is to come"
    assert re.search(says, capsys.readouterr().err)
    assert planned(photos_dir, "--model", base, *words) == 0
    says = "nothing of the model to download; the judges come on top, and the hub does not say how large they are"
    assert says in capsys.readouterr().out
    assert weights_read(hub) == []


def test_a_plan_does_not_download_clip_to_read_the_class_noun(
    hub: Hub, base: Path, photos_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["run", str(photos_dir), "--model", str(base), "--plan"], __version__) == 2
    assert (
        "is not on this machine yet: say what kind of thing it is, such as --class-noun dog" in capsys.readouterr().err
    )
    assert hub.read == []


def test_judges_that_are_here_are_not_counted(hub: Hub, tmp_path: Path) -> None:
    dino, clip = PHOTOGRAPHS.judges["dino"], PHOTOGRAPHS.judges["clip"]
    assert judges_to_come(Evaluation(), PHOTOGRAPHS) == 2 * (300_000_000 + len(b"{}"))
    assert judges_to_come(Evaluation(dino_model=str(tmp_path)), PHOTOGRAPHS) == 300_000_000 + len(b"{}")
    assert judges_to_come(Evaluation(), Config.build(model="toybox").world) == 0
    for name in (dino, clip):
        repository = tmp_path / "cache" / f"models--{name.replace('/', '--')}"
        snapshot = repository / "snapshots" / COMMIT
        snapshot.mkdir(parents=True)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(COMMIT)
        (snapshot / "config.json").write_text(json.dumps({}))
        (snapshot / "model.safetensors").write_bytes(b"")
    assert judges_to_come(Evaluation(), PHOTOGRAPHS) == 0
    assert models.to_come(Base(model=str(tmp_path))) == (None, 0)
