"""A fleet that was carried out once, for all tests that look at it."""

import shutil
from pathlib import Path

import pytest
import torch

from dreambooth import __version__, cli
from fleets import SUBJECTS, manifest, words
from tiny import tiny_pipeline


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory, photos_dir: Path) -> Path:
    """A folder with a small model, and photos of each subject."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("fleet")
    tiny_pipeline().save_pretrained(folder / "model")
    for at, name in enumerate(SUBJECTS):
        (folder / "photos" / name).mkdir(parents=True)
        for number in (at, (at + 1) % 4):
            shutil.copy(photos_dir / f"{number}.png", folder / "photos" / name)
    return folder


@pytest.fixture(scope="session")
def out(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fleet of four, one of which fails; only to be read."""
    folder = tmp_path_factory.mktemp("out")
    manifest(place, SUBJECTS)
    assert cli.main(words(place, folder), __version__) == 2
    return folder
