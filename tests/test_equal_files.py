"""What is shared of equal weights is equal to the byte, in every process: a file's hash says what it holds.

Run as a program it writes the files that the test compares with its own.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from dreambooth.config import Config
from dreambooth.subject import Subject
from dreambooth.support.files import seals
from families import FAMILIES
from tiny import attached

SUBJECT = Subject(photos=(), class_noun="dog", identifier="<dog>")
LORA = {"lora": {"method": "lora"}}
KINDS = {
    **LORA,
    "dora": {"method": "lora", "lora_type": "dora"},
    "oft": {"method": "lora", "lora_type": "oft"},
    "word": {"method": "textual_inversion"},
}
"""A family names its layers in its own way, in a file of any kind; the kinds are written alike for all families."""


def kinds_of(family: str) -> Mapping[str, Mapping[str, str]]:
    """Those that are compared: all where words are learned, too, and a LoRA of the others."""
    return KINDS if FAMILIES[family].text else LORA


def write_all(folder: Path) -> None:
    """A model of every family, and what is shared of it."""
    for family, its in FAMILIES.items():
        its.model().save(folder / family / "model")
        for kind, given in kinds_of(family).items():
            config = Config.build({"model": "tiny", **its.settings, **given})
            attached(its.model(), SUBJECT, config).export(folder / family / kind)


def test_two_processes_write_equal_files_of_equal_weights(tmp_path: Path) -> None:
    """Metadata and sets of words come in another order in each process."""
    given = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "1"}
    write_all(tmp_path / "mine")
    subprocess.run([sys.executable, __file__, str(tmp_path / "theirs")], env=given, check=True, capture_output=True)
    mine, theirs = seals(tmp_path / "mine"), seals(tmp_path / "theirs")
    assert mine.keys() == theirs.keys()
    assert sorted(name for name in mine if mine[name] != theirs[name]) == []
    for family in FAMILIES:
        for kind in ("model", *kinds_of(family)):
            assert any(name.startswith(f"{family}/{kind}/") and name.endswith(".safetensors") for name in mine)


if __name__ == "__main__":
    write_all(Path(sys.argv[1]))
