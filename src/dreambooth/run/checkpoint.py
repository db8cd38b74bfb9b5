"""State to resume from: `checkpoint-<step>` folders of safetensors and one state.json, whole or not there.

    weights.safetensors   optimizer.safetensors   ema.safetensors (with use_ema)
    state.json            step, settings, sizes and SHA-256 of the files above, and a SHA-256 of itself

No pickle is written or read, so a checkpoint of a stranger can do no more than be wrong.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from dreambooth.errors import DiskError, RunError
from dreambooth.support.files import require_space, sha256, write_json, written_aside
from dreambooth.support.progress import log


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """All that a resumed run needs: everything else is a function of the settings and the step.

    step: optimizer steps done.  settings: a hash of whatever must be equal to go on.  tensors: "weights", "optimizer"
    (see `flat`) and perhaps "ema", by name.  scaler: the state of the fp16 gradient scaler, or empty.
    """

    step: int
    settings: str
    tensors: Mapping[str, Mapping[str, Tensor]]
    scaler: Mapping[str, float] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes on the disk, within a few kilobytes."""
        return sum(tensor.nbytes for part in self.tensors.values() for tensor in part.values())


def flat(state: Mapping[int, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The "state" of a torch optimizer's state_dict as one level: "<parameter>.<name>"."""
    return {f"{index}.{name}": tensor for index, values in state.items() for name, tensor in values.items()}


def nested(tensors: Mapping[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    """What `flat` flattened."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = tensor
    return state


def write(folder: Path, checkpoint: Checkpoint, keep: int) -> Path:
    """Write `folder`/checkpoint-<step>, then delete all but the newest `keep`; raises DiskError if it finds no room."""
    require_space(folder, checkpoint.size, "a checkpoint")
    target = folder / f"checkpoint-{checkpoint.step}"
    with written_aside(target) as aside:
        aside.mkdir()
        for part, tensors in checkpoint.tensors.items():
            try:
                save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, aside / _file(part))
            except SafetensorError as error:  # its own kind, even where the disk is full
                raise DiskError(
                    f"{target} could not be written: {error}. Earlier checkpoints are unchanged: free some space and "
                    "run the same command again."
                ) from error
        state = {
            "step": checkpoint.step,
            "settings": checkpoint.settings,
            "scaler": dict(checkpoint.scaler),
            "files": {_file(part): _seal(aside / _file(part)) for part in checkpoint.tensors},
        }
        write_json(aside / "state.json", {**state, "sha256": _own_seal(state)})
    for old in _newest_first(folder)[keep:]:
        _delete(old)
    return target


def latest(folder: Path, settings: str) -> Checkpoint | None:
    """The newest good checkpoint, or None where there is none.

    A damaged one is set aside as damaged-checkpoint-<step>, with a warning that names the bad file. Raises RunError
    where the newest good one belongs to other settings.
    """
    for path in _newest_first(folder):
        try:
            checkpoint = read(path)
        except RunError as error:
            aside = path.with_name(f"damaged-{path.name}")
            _delete(aside)
            path.rename(aside)
            log.warning("%s It is now %s; going on from the one before.", error, aside.name)
            continue
        if checkpoint.settings != settings:
            raise RunError(
                f"{path} was made with other settings, other photos or another base model. Give the ones it was made "
                "with, or choose another folder with --output-dir."
            )
        return checkpoint
    return None


def newest_step(folder: Path) -> int | None:
    """The step of the newest checkpoint, good or not; None where there is none."""
    paths = _newest_first(folder)
    return int(paths[0].name.removeprefix("checkpoint-")) if paths else None


def forget_after(folder: Path, step: int) -> None:
    """Delete the checkpoints of later steps."""
    for path in _newest_first(folder):
        if int(path.name.removeprefix("checkpoint-")) > step:
            _delete(path)


def read(path: Path) -> Checkpoint:
    """The checkpoint in `path`; raises RunError naming the file that is missing or damaged."""
    try:
        return _read(path)
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise RunError(f"{path} is damaged, or was not written by this program: {error}.") from error


def _read(path: Path) -> Checkpoint:
    try:
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
        seal = state.pop("sha256")
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise RunError(f"{path / 'state.json'} is missing or damaged.") from error
    if seal != _own_seal(state) or path.name != f"checkpoint-{state['step']}":
        raise RunError(f"{path / 'state.json'} is damaged: it does not match its own checksum.")
    tensors = {}
    for name, expected in state["files"].items():
        try:
            found = _seal(path / name)
        except OSError as error:
            raise RunError(f"{path / name} is missing or cannot be read.") from error
        if found != expected:
            raise RunError(f"{path / name} is damaged: it has {found['bytes']} bytes, or others than were written.")
        # clone: a mapped file's alignment changes the last bits of what SIMD computes from it
        tensors[Path(name).stem] = {key: tensor.clone() for key, tensor in load_file(path / name).items()}
    return Checkpoint(step=state["step"], settings=state["settings"], tensors=tensors, scaler=state["scaler"])


def _file(part: str) -> str:
    return f"{part}.safetensors"


def _seal(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": sha256(path)}


def _own_seal(state: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def _newest_first(folder: Path) -> list[Path]:
    steps = {path: path.name.removeprefix("checkpoint-") for path in folder.glob("checkpoint-*")}
    return sorted((p for p, step in steps.items() if step.isdigit()), key=lambda p: int(steps[p]), reverse=True)


def _delete(path: Path) -> None:
    """Delete state.json first: what a crash leaves behind is then seen as damaged, never as complete."""
    (path / "state.json").unlink(missing_ok=True)
    shutil.rmtree(path, ignore_errors=True)
