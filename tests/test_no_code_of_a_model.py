"""No folder can run its code: not those of judges, not those of base models, and nobody is asked whether it may."""

import builtins
import contextlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers
from transformers import dynamic_module_utils

from dreambooth import models
from dreambooth.config import Base
from dreambooth.errors import ModelError
from dreambooth.evaluation.clip import Clip
from dreambooth.evaluation.dino import Dino
from dreambooth.evaluation.perceptual import Lpips
from dreambooth.evaluation.weights import find
from small_judges import clip_parts, dino_parts, save
from tiny import tiny_model
from tiny_xl import tiny_xl_model

AUTO = ("AutoConfig", "AutoModel", "AutoTokenizer", "AutoImageProcessor", "AutoProcessor", "AutoFeatureExtractor")
OPEN: dict[str, Callable[[Path], Any]] = {
    "dino": lambda folder: Dino.open(find(str(folder), None, "dino")),
    "clip": lambda folder: Clip.open(find(str(folder), None, "clip")),
    "perceptual": lambda folder: Lpips.open(find(str(folder), None, "dino")),
    "base": lambda folder: models.load(Base(model=str(folder))),
    "base of two encoders": lambda folder: models.load(Base(model=str(folder))),
}


def written(kind: str, folder: Path) -> Path:
    match kind:
        case "dino" | "perceptual":
            return save(folder, dino_parts())
        case "clip":
            return save(folder, clip_parts())
        case "base":
            tiny_model().save(folder)
        case _:
            tiny_xl_model().save(folder)
    return folder


def trap(folder: Path, types: str, canary: Path) -> None:
    """Have every JSON file of `folder` name code beside it that would write `canary`."""
    code = f"import pathlib\npathlib.Path({str(canary)!r}).write_text('ran')\nclass Trap:\n    pass\n"
    for file in [*folder.rglob("*.json")]:
        value = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(value, dict) and file.name not in ("vocab.json", "tokenizer.json"):
            value["auto_map"] = dict.fromkeys(AUTO, "trap.Trap") | {"AutoTokenizer": ["trap.Trap", "trap.Trap"]}
            if types == "unknown":  # a name that transformers has is taken without asking
                for key in {"image_processor_type", "feature_extractor_type", "tokenizer_class"} & value.keys():
                    value[key] = "Trap"
            file.write_text(json.dumps(value))
            (file.parent / "trap.py").write_text(code)


@pytest.mark.parametrize("types", ["known", "unknown"])
@pytest.mark.parametrize("kind", OPEN)
def test_no_folder_runs_its_code_and_nobody_is_asked(
    kind: str, types: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, canary = written(kind, tmp_path / "folder"), tmp_path / "canary"
    trap(folder, types, canary)
    asked: list[str] = []

    def yes(question: str = "") -> str:
        asked.append(question)
        return "y"

    monkeypatch.setattr(builtins, "input", yes)
    try:
        OPEN[kind](folder)
    except ModelError as error:
        # what transformers knows opens as if nothing were said; the perceptual judge reads weights alone, and others
        assert "folder" in str(error) and (types == "unknown" or kind == "perceptual")
    assert not asked and not canary.exists()


@pytest.mark.parametrize("part", ["tokenizer", "unet", "text_encoder", "scheduler"])
@pytest.mark.parametrize("source", [["transformers", "AutoTokenizer"], ["trap", "Trap"], ["subprocess", "Popen"], []])
def test_a_base_model_whose_parts_are_code_of_its_own_is_refused(
    part: str, source: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, canary = written("base", tmp_path / "folder"), tmp_path / "canary"
    trap(folder, "unknown", canary)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, part: source}))
    monkeypatch.setattr(builtins, "input", lambda question="": pytest.fail("it asked"))
    with pytest.raises(ModelError, match="no code of a model is ever run"):
        OPEN["base"](folder)
    assert not canary.exists()


def test_the_trap_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a load does not say no, transformers asks, and yes runs the code."""
    folder, canary = written("dino", tmp_path / "folder"), tmp_path / "canary"
    trap(folder, "unknown", canary)
    monkeypatch.setattr(builtins, "input", lambda question="": "y")
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", [*sys.path])  # the folder is added to it
    anything: Any = transformers
    with contextlib.suppress(Exception):  # whatever comes of a class that is none
        anything.AutoImageProcessor.from_pretrained(folder, backend="pil", local_files_only=True)
    assert canary.exists()
