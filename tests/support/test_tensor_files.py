"""Files of equal tensors and equal metadata are equal to the byte, whoever wrote them first."""

import json
from hashlib import sha256
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from dreambooth.support.tensor_files import make_canonical, save_tensors

TENSORS = {
    "b.weight": torch.arange(6.0).view(2, 3),
    "a.alpha": torch.tensor(2.0),
    "c": torch.ones(3, dtype=torch.float16),
    "é": torch.zeros(0, 4),
}
METADATA = {f"{name}{number}": f"{number} “{name}”\n" for name in ("title", "rank", "seed") for number in range(4)}


def backwards(values: dict) -> dict:  # type: ignore[type-arg]
    """The same in the other order."""
    return dict(reversed(values.items()))


def test_equal_tensors_and_metadata_are_equal_files_in_whatever_order_they_are_given(tmp_path: Path) -> None:
    hashes = set()
    for number in range(6):
        tensors, metadata = (TENSORS, METADATA) if number % 2 else (backwards(TENSORS), backwards(METADATA))
        save_tensors(tmp_path / "file.safetensors", tensors, metadata)
        hashes.add(sha256((tmp_path / "file.safetensors").read_bytes()).digest())
    assert len(hashes) == 1


def test_what_a_library_wrote_becomes_the_same_file(tmp_path: Path) -> None:
    save_tensors(tmp_path / "ours.safetensors", TENSORS, METADATA)
    for _ in range(3):
        save_file(TENSORS, tmp_path / "theirs.safetensors", METADATA)
        make_canonical(tmp_path / "theirs.safetensors")
        assert (tmp_path / "theirs.safetensors").read_bytes() == (tmp_path / "ours.safetensors").read_bytes()


def test_the_library_reads_what_was_written_under_the_names_that_were_given(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "file.safetensors", METADATA)
    make_canonical(tmp_path / "file.safetensors", lambda name: f"text_model.{name}")
    found = load_file(tmp_path / "file.safetensors")
    assert found.keys() == {f"text_model.{name}" for name in TENSORS}
    for name, tensor in TENSORS.items():
        assert torch.equal(found[f"text_model.{name}"], tensor) and found[f"text_model.{name}"].dtype == tensor.dtype
    with safe_open(tmp_path / "file.safetensors", "pt") as file:
        assert file.metadata() == METADATA


def test_the_header_is_sorted_and_the_tensors_begin_at_a_multiple_of_eight_bytes(tmp_path: Path) -> None:
    save_tensors(tmp_path / "file.safetensors", TENSORS, METADATA)
    content = (tmp_path / "file.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    assert length % 8 == 0
    assert list(header.pop("__metadata__")) == sorted(METADATA)
    places = [entry["data_offsets"] for entry in header.values()]
    assert places == sorted(places)


def test_a_file_that_is_canonical_is_left_alone(tmp_path: Path) -> None:
    save_tensors(tmp_path / "file.safetensors", TENSORS, METADATA)
    before = (tmp_path / "file.safetensors").stat()
    make_canonical(tmp_path / "file.safetensors")
    after = (tmp_path / "file.safetensors").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
