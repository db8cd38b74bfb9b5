"""Small judges in folders, written once."""

from pathlib import Path

import pytest

from dreambooth.config import Evaluation
from dreambooth.evaluation import Judges, load_judges
from dreambooth.generation.photographs import PHOTOGRAPHS
from small_judges import clip_parts, dino_parts, save


@pytest.fixture(scope="session")
def judge_folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with "dino" and "clip"; only to be read."""
    root = tmp_path_factory.mktemp("judges")
    save(root / "dino", dino_parts())
    save(root / "clip", clip_parts())
    return root


@pytest.fixture(scope="session")
def judges(judge_folders: Path) -> Judges:
    dino, clip = str(judge_folders / "dino"), str(judge_folders / "clip")
    return load_judges(Evaluation(dino_model=dino, clip_model=clip), PHOTOGRAPHS)
