"""One hash for what a model is: of its files while nothing moved, of what moved afterwards."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from dreambooth.errors import ModelError
from dreambooth.models.weights import Weights
from tiny import tiny_model


class Counting:
    """How many bytes of tensors and of files were hashed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tensors = 0
        blake2b = hashlib.blake2b

        def counted(*given: Any, **how: Any) -> Any:
            outer, digest = self, blake2b(*given, **how)

            class Digest:
                def update(self, data: Any) -> None:
                    outer.tensors += not isinstance(data, bytes)
                    digest.update(data)

                def hexdigest(self) -> str:
                    return digest.hexdigest()

            return Digest()

        monkeypatch.setattr(hashlib, "blake2b", counted)


def module(value: float = 1.0) -> nn.Module:
    """Two layers of constant weights."""
    made = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.fill_(value)
    return made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_file(module().state_dict(), tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def test_weights_as_they_were_read_are_their_files(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, again = Weights({"part": module()}, [file]), Weights({"part": module()}, [file])
    counted = Counting(monkeypatch)
    assert first.fingerprint("") == again.fingerprint("") != first.fingerprint("another schedule")
    assert counted.tensors == 0  # no weight was read back
    copied = file.with_name("copy.safetensors")
    copied.write_bytes(file.read_bytes())
    assert Weights({"part": module()}, [copied]).fingerprint("") == first.fingerprint("")
    save_file(module(2.0).state_dict(), copied)
    assert Weights({"part": module()}, [copied]).fingerprint("") != first.fingerprint("")


def test_a_weight_that_moves_is_told_and_no_other_is_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = module()
    weights = Weights({"part": part}, [file])
    before = weights.fingerprint("")
    with torch.no_grad():
        part[1].bias.add_(1)  # type: ignore[index]
    counted = Counting(monkeypatch)
    after = weights.fingerprint("")
    assert counted.tensors == 1
    assert weights.fingerprint("") == after != before
    assert counted.tensors == 1  # nor twice


def test_what_an_adapter_adds_is_told_and_what_it_wraps_is_as_it_was_read(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part: Any = module()
    weights = Weights({"part": part}, [file])
    before = weights.fingerprint("")
    inner = part[0]
    part[0] = nn.Sequential(inner, nn.Linear(2, 2))
    counted = Counting(monkeypatch)
    assert weights.fingerprint("") != before
    assert counted.tensors == 2
    part[0] = inner
    assert weights.fingerprint("") == before


def test_a_tensor_in_another_ones_memory_is_not_taken_for_it(file: Path) -> None:
    part: Any = module()
    weights = Weights({"part": part}, [file])
    before = weights.fingerprint("")
    memory = part[0].weight.data
    part[0].weight = nn.Parameter(memory)
    assert part[0].weight.data_ptr() == memory.data_ptr()
    assert weights.fingerprint("") != before


def test_moving_and_keeping_a_part_away_changes_nothing(file: Path) -> None:
    weights = Weights({"part": module(), "reader": module()}, [file])
    before = weights.fingerprint("")
    for parameter in weights.parts["part"].parameters():
        parameter.data = parameter.data.clone()  # behind its back: not as it was read
    moved = weights.fingerprint("")
    assert moved != before
    weights.to(torch.device("cpu"))
    weights.offload(["reader"])
    with weights.together():
        assert weights.fingerprint("") == moved
    assert weights.fingerprint("") == moved


def test_offloaded_parts_come_back_to_draw_and_go_again() -> None:
    weights = Weights({"part": module(), "reader": module()}, [])
    meta = torch.device("meta")  # any device that is not the CPU
    weights.to(meta)
    assert {p.device for m in weights.parts.values() for p in m.parameters()} == {meta}
    weights.parts["reader"].to_empty(device="cpu")
    weights.offload(["reader"])
    assert next(weights.parts["reader"].parameters()).device.type == "cpu"
    with weights.together():
        assert next(weights.parts["reader"].parameters()).device == meta
        weights.parts["reader"].to_empty(device="cpu")  # what is on meta cannot come back by itself
    assert next(weights.parts["part"].parameters()).device == meta
    assert next(weights.parts["reader"].parameters()).device.type == "cpu"


def test_a_model_whose_weights_are_no_numbers_is_not_saved(tmp_path: Path) -> None:
    model = tiny_model()
    with torch.no_grad():
        model.pipeline.unet.conv_in.bias[0] = float("inf")
    with pytest.raises(ModelError, match=r"tiny was not saved: its denoiser\.conv_in\.bias is NaN or infinite"):
        model.save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []
