"""What is shared of equal weights is equal to the byte, in every process: a file's hash says what it holds.

Run as a program it writes the files that the test compares with its own.
"""

import os
import subprocess
import sys
from pathlib import Path

from dreambooth.config import Config
from dreambooth.subject import Subject
from dreambooth.support.files import seals
from families import FAMILIES
from tiny import attached

SUBJECT = Subject(photos=(), class_noun="dog", identifier="<dog>")
KINDS = {
    "lora": {"method": "lora"},
    "dora": {"method": "lora", "lora_type": "dora"},
    "oft": {"method": "lora", "lora_type": "oft"},
    "word": {"method": "textual_inversion"},
}


def write_all(folder: Path) -> None:
    """Every kind of file that is shared, of every family's small model."""
    for family, its in FAMILIES.items():
        for kind, given in KINDS.items():
            if kind == "word" and not its.text:
                continue
            attached(its.model(), SUBJECT, Config.build({"model": "tiny", **its.settings, **given})).export(
                folder / family / kind
            )
        its.model().save(folder / family / "model")


def test_two_processes_write_equal_files_of_equal_weights(tmp_path: Path) -> None:
    """Metadata and sets of words come in another order in each process."""
    given = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "1"}
    write_all(tmp_path / "mine")
    subprocess.run([sys.executable, __file__, str(tmp_path / "theirs")], env=given, check=True, capture_output=True)
    mine, theirs = seals(tmp_path / "mine"), seals(tmp_path / "theirs")
    assert mine.keys() == theirs.keys()
    assert sorted(name for name in mine if mine[name] != theirs[name]) == []
    assert sum(name.endswith(".safetensors") for name in mine) >= 6 * len(FAMILIES)


if __name__ == "__main__":
    write_all(Path(sys.argv[1]))
