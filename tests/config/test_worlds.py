"""Which world a base model is of: by its name, by what its folder says, or by what the user says."""

import json
from pathlib import Path
from typing import Any

import pytest

from dreambooth.config import Config, World
from dreambooth.config.worlds import DEFAULT_WORLD, EMBEDDED, WORLDS, named, record, recorded
from dreambooth.errors import ConfigError
from dreambooth.run import Run
from dreambooth.subject import Subject


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """The folder of a model that was tuned from the toybox, as far as settings read it."""
    folder = tmp_path / "tuned"
    folder.mkdir()
    (folder / "model_index.json").write_text('{\n  "_class_name": "StableDiffusionPipeline"\n}\n')
    record(folder, EMBEDDED)
    return folder


def test_every_world_is_called_as_the_table_calls_it() -> None:
    for name in WORLDS:
        assert isinstance(named(name), World) and named(name).name == name


def test_the_embedded_model_is_of_its_own_world_and_any_other_of_photographs() -> None:
    assert Config.build({}).world is Config.build({"model": EMBEDDED}).world is named(EMBEDDED)
    for model in ("owner/name", "nowhere", "", DEFAULT_WORLD):
        assert Config.build({"model": model}).world is named(DEFAULT_WORLD)


def test_a_saved_model_is_of_the_world_that_its_folder_names(saved: Path) -> None:
    config = Config.build({"model": str(saved)})
    assert config.world is named(EMBEDDED)
    assert config.flat() == Config.build({}).flat() | {"model": str(saved), "world": EMBEDDED}


def test_a_world_that_was_read_once_outlives_the_folder(saved: Path, tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", Subject(photos=(), class_noun="dog"), Config.build({"model": str(saved)}))
    saved.rename(tmp_path / "elsewhere")
    assert run.config.world is named(EMBEDDED)


def test_what_the_user_says_is_stronger_than_what_the_folder_says(saved: Path) -> None:
    assert Config.build({"model": str(saved), "world": DEFAULT_WORLD}).world is named(DEFAULT_WORLD)
    assert Config.build({"model": "owner/copy", "world": EMBEDDED}).generation == Config.build({}).generation


def test_the_embedded_model_is_never_looked_for_in_a_folder(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = json.loads((saved / "model_index.json").read_text())
    (saved / "model_index.json").write_text(json.dumps(index | {"_world": DEFAULT_WORLD}))
    saved.rename(saved.with_name(EMBEDDED))
    monkeypatch.chdir(saved.parent)
    assert Config.build({}).world is named(EMBEDDED) and Config.build({}).base.model == EMBEDDED


def test_a_model_of_photographs_stays_as_diffusers_wrote_it(saved: Path) -> None:
    before = (saved / "model_index.json").read_bytes()
    record(saved, DEFAULT_WORLD)
    assert (saved / "model_index.json").read_bytes() == before


@pytest.mark.parametrize("content", ["", "{", "[]", '"toybox"', "{}", "[" * 100_000])
def test_a_folder_that_says_nothing_is_reported_by_who_opens_it(content: str, saved: Path) -> None:
    (saved / "model_index.json").write_text(content)
    assert recorded(str(saved)) is None
    assert Config.build({"model": str(saved)}).world is named(DEFAULT_WORLD)


@pytest.mark.parametrize(
    ("settings", "named_in"),
    [
        ({"world": "moon"}, "'photographs' or 'toybox', got 'moon'"),
        ({"world": ["toybox"]}, "got"),
        ({"model": []}, "[]"),
    ],
)
def test_a_world_that_there_is_not_is_refused(settings: dict[str, Any], named_in: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config.build(settings)
    assert len(caught.value.problems) == 1 and named_in in str(caught.value)


def test_a_folder_of_a_world_that_is_not_known_yet_is_refused(saved: Path) -> None:
    record(saved, "moon")
    with pytest.raises(ConfigError, match="'photographs' or 'toybox', got 'moon'"):
        Config.build({"model": str(saved)})
