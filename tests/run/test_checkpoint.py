"""A checkpoint comes back to the bit, or is known to be damaged."""

import json
import logging
import pickle
import resource
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dreambooth.errors import DiskError, RunError
from dreambooth.run import checkpoint
from dreambooth.run.checkpoint import Checkpoint


def state(step: int, settings: str = "mine") -> Checkpoint:
    draw = torch.Generator().manual_seed(step)
    weights = {"denoiser.a": torch.randn(5, 3, generator=draw), "denoiser.b": torch.randn(7, generator=draw)}
    optimizer = {"0.step": torch.tensor(float(step)), "0.exp_avg": torch.randn(5, 3, generator=draw)}
    return Checkpoint(
        step=step, settings=settings, tensors={"weights": weights, "optimizer": optimizer, "ema": weights}
    )


def same(first: Checkpoint, second: Checkpoint) -> bool:
    def bits(of: Checkpoint) -> dict[str, bytes]:
        return {f"{p}/{n}": t.numpy().tobytes() for p, tensors in of.tensors.items() for n, t in tensors.items()}

    return first.step == second.step and bits(first) == bits(second)


def test_it_comes_back_to_the_bit(tmp_path: Path) -> None:
    checkpoint.write(tmp_path, state(3), keep=2)
    found = checkpoint.latest(tmp_path, "mine")
    assert found is not None
    assert same(found, state(3))


def test_only_safetensors_and_json_are_written(tmp_path: Path) -> None:
    written = checkpoint.write(tmp_path, state(3), keep=2)
    names = {file.name for file in written.iterdir()}
    assert names == {"weights.safetensors", "optimizer.safetensors", "ema.safetensors", "state.json"}
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-3"]


def test_the_newest_are_kept_by_number(tmp_path: Path) -> None:
    for step in (9, 10, 100):
        checkpoint.write(tmp_path, state(step), keep=2)
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-10", "checkpoint-100"}
    found = checkpoint.latest(tmp_path, "mine")
    assert found is not None
    assert found.step == 100


def test_the_state_of_an_optimizer_survives_flattening() -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([weight])
    weight.sum().backward()
    optimizer.step()
    nested: dict[int, dict[str, Tensor]] = optimizer.state_dict()["state"]
    back = checkpoint.nested(checkpoint.flat(nested))
    assert back.keys() == nested.keys()
    assert all(torch.equal(back[0][name], nested[0][name]) for name in nested[0])


@pytest.mark.parametrize("harm", ["truncate", "flip", "delete"])
@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.safetensors", "ema.safetensors", "state.json"])
def test_a_damaged_newest_is_named_and_the_one_before_is_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, harm: str, name: str
) -> None:
    checkpoint.write(tmp_path, state(1), keep=2)
    file = checkpoint.write(tmp_path, state(2), keep=2) / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    if harm == "truncate":
        file.write_bytes(data[:-10])
    elif harm == "flip":
        file.write_bytes(data)
    else:
        file.unlink()
    with caplog.at_level(logging.WARNING, "dreambooth"):
        found = checkpoint.latest(tmp_path, "mine")
    assert found is not None
    assert same(found, state(1))
    assert str(file) in caplog.text
    assert (tmp_path / "damaged-checkpoint-2").is_dir()


def test_its_state_says_what_it_said_in_every_version(tmp_path: Path) -> None:
    scaler = {"scale": 65536.0, "growth_factor": 2.0, "growth_interval": 2000, "_growth_tracker": 3}
    path = checkpoint.write(tmp_path, replace(state(2), scaler=scaler), keep=1)
    written = json.loads((path / "state.json").read_text())
    own = written.pop("sha256")
    assert list(written) == ["step", "settings", "scaler", "files"]
    assert repr(written["scaler"]) == repr(scaler) == repr(checkpoint.read(path).scaler)  # no int became a float
    assert own == sha256(json.dumps(written, sort_keys=True).encode()).hexdigest()
    for file, seal in written["files"].items():
        content = (path / file).read_bytes()
        assert seal == {"bytes": len(content), "sha256": sha256(content).hexdigest()}


def test_a_flipped_byte_anywhere_is_seen(tmp_path: Path) -> None:
    path = checkpoint.write(tmp_path, state(2), keep=1)
    for name in ("state.json", "weights.safetensors"):
        good = (path / name).read_bytes()
        for at in range(0, len(good), 5):
            (path / name).write_bytes(good[:at] + bytes([good[at] ^ 4]) + good[at + 1 :])
            if good[at] in b" \n" or good[at] ^ 4 in b" \n":
                continue  # JSON between its values
            with pytest.raises(RunError, match=name):
                checkpoint.read(path)
        (path / name).write_bytes(good)
    assert same(checkpoint.read(path), state(2))


def test_without_any_good_one_the_run_starts_over(tmp_path: Path) -> None:
    assert checkpoint.latest(tmp_path / "none", "mine") is None
    (checkpoint.write(tmp_path, state(2), keep=2) / "weights.safetensors").unlink()
    assert checkpoint.latest(tmp_path, "mine") is None


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    checkpoint.write(tmp_path, state(2, settings="theirs"), keep=2)
    with pytest.raises(RunError, match="other settings"):
        checkpoint.latest(tmp_path, "mine")


def test_a_full_disk_leaves_the_earlier_checkpoint_and_no_partial_one(tmp_path: Path) -> None:
    checkpoint.write(tmp_path, state(1), keep=1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
    try:
        with pytest.raises(DiskError, match="checkpoint-2 could not be written"):
            checkpoint.write(tmp_path, state(2), keep=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-1"]
    assert same(checkpoint.read(tmp_path / "checkpoint-1"), state(1))


def test_a_checkpoint_sealed_again_around_something_else_is_damaged(tmp_path: Path) -> None:
    folder = checkpoint.write(tmp_path, state(1), keep=2)
    newest = checkpoint.write(tmp_path, state(2), keep=2)
    (newest / "weights.safetensors").write_bytes(pickle.dumps({"weights": 1}))
    payload = json.loads((newest / "state.json").read_text())
    content = (newest / "weights.safetensors").read_bytes()
    payload["files"]["weights.safetensors"] = {"bytes": len(content), "sha256": sha256(content).hexdigest()}
    del payload["sha256"]
    own = sha256(json.dumps(payload, sort_keys=True).encode()).hexdigest()
    (newest / "state.json").write_text(json.dumps({**payload, "sha256": own}))
    with pytest.raises(RunError, match="checkpoint-2 is damaged"):
        checkpoint.read(newest)
    found = checkpoint.latest(tmp_path, "mine")
    assert found is not None and found.step == 1 and folder.exists()


def test_a_stray_folder_in_a_checkpoint_is_no_obstacle(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        folder = checkpoint.write(tmp_path, state(step), keep=1)
        (folder / "stray").mkdir()
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-3"]
