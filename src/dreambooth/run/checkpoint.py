"""State to resume from: `checkpoint-<step>` folders of safetensors and one state.json, whole or not there.

    weights.safetensors   optimizer.safetensors   ema.safetensors (with use_ema)
    state.json            a `State`

No pickle is written or read, so a checkpoint of a stranger can do no more than be wrong.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from dreambooth.errors import RunError
from dreambooth.run.files import JsonFile
from dreambooth.run.kept import newest_first, of_step, steps
from dreambooth.support.files import atomic_write, require_space, sha256
from dreambooth.support.progress import log

if TYPE_CHECKING:  # steps and names are looked at without torch, which takes seconds to import
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """All that a resumed run needs: everything else is a function of the settings and the step.

    step: optimizer steps done.  settings: a hash of whatever must be equal to resume.  tensors: "weights", "optimizer"
    (see `flat`) and perhaps "ema", by name.  scaler: the state of the fp16 gradient scaler, or empty.
    """

    step: int
    settings: str
    tensors: Mapping[str, Mapping[str, "Tensor"]]
    scaler: Mapping[str, int | float] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes on the disk, within a few kilobytes."""
        return sum(tensor.nbytes for part in self.tensors.values() for tensor in part.values())


@dataclass(frozen=True, kw_only=True)
class FileSeal:
    """How a file was written: its size, and the SHA-256 of its content."""

    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class State:
    """What state.json holds: a `Checkpoint` without its tensors, the files that they are in, and a hash of all this."""

    step: int
    settings: str
    scaler: Mapping[str, int | float]
    files: Mapping[str, FileSeal]
    sha256: str = ""


STATE = JsonFile("state.json", State)


def flat(state: Mapping[int, Mapping[str, "Tensor"]]) -> dict[str, "Tensor"]:
    """The "state" of a torch optimizer's state_dict as one level: "<parameter>.<name>"."""
    return {f"{index}.{name}": tensor for index, values in state.items() for name, tensor in values.items()}


def nested(tensors: Mapping[str, "Tensor"]) -> dict[int, dict[str, "Tensor"]]:
    """What `flat` flattened."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = tensor
    return state


def write(folder: Path, checkpoint: Checkpoint, keep: int) -> Path:
    """Write `folder`/checkpoint-<step>, then delete all but the newest `keep`; raises DiskError if it finds no room."""
    from dreambooth.support.tensor_files import save_tensors

    require_space(folder, checkpoint.size, "a checkpoint")
    target = of_step(folder, checkpoint.step)
    with atomic_write(target) as aside:
        aside.mkdir()
        for part, tensors in checkpoint.tensors.items():
            save_tensors(aside / _file(part), tensors)
        state = State(
            step=checkpoint.step,
            settings=checkpoint.settings,
            scaler=checkpoint.scaler,
            files={_file(part): _seal(aside / _file(part)) for part in checkpoint.tensors},
        )
        STATE.write(aside, replace(state, sha256=_hash(state)))
    for old in newest_first(folder)[keep:]:
        _delete(old)
    return target


def latest(folder: Path, settings: str) -> Checkpoint | None:
    """The newest good checkpoint, or None where there is none.

    A damaged one is set aside as damaged-checkpoint-<step>, with a warning that names the bad file. Raises RunError
    where the newest good one belongs to other settings.
    """
    for path in newest_first(folder):
        try:
            checkpoint = read(path)
        except RunError as error:
            aside = path.with_name(f"damaged-{path.name}")
            _delete(aside)
            path.rename(aside)
            log.warning("%s It was renamed to %s; resuming from the checkpoint before it.", error, aside.name)
            continue
        if checkpoint.settings != settings:
            raise RunError(
                f"{path} was made with other settings, other photos or masks, or another base model. Give the ones it "
                "was made with, or choose another folder with --output-dir."
            )
        return checkpoint
    return None


def newest_step(folder: Path) -> int | None:
    """The step of the newest checkpoint, good or not; None where there is none."""
    return next(iter(steps(folder)), None)


def forget_after(folder: Path, step: int) -> None:
    """Delete the checkpoints of later steps."""
    for later in (its for its in steps(folder) if its > step):
        _delete(of_step(folder, later))


def read(path: Path) -> Checkpoint:
    """The checkpoint in `path`; raises RunError naming the file that is missing or damaged."""
    try:
        return _read(path)
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise RunError(f"{path} is damaged, or was not written by this program: {error}.") from error


def _read(path: Path) -> Checkpoint:
    try:
        state = STATE.read(path)
    except (OSError, RunError) as error:
        raise RunError(f"{path / STATE.name} is missing or damaged.") from error
    if state.sha256 != _hash(state) or path != of_step(path.parent, state.step):
        raise RunError(f"{path / STATE.name} is damaged: it does not match its own checksum.")
    from safetensors.torch import load_file

    tensors = {}
    for name, expected in state.files.items():
        try:
            found = _seal(path / name)
        except OSError as error:
            raise RunError(f"{path / name} is missing or cannot be read.") from error
        if found != expected:
            raise RunError(f"{path / name} is damaged: it has {found.bytes} bytes, or others than were written.")
        # clone: a mapped file's alignment changes the last bits of what SIMD computes from it
        tensors[Path(name).stem] = {key: tensor.clone() for key, tensor in load_file(path / name).items()}
    return Checkpoint(step=state.step, settings=state.settings, tensors=tensors, scaler=state.scaler)


def _file(part: str) -> str:
    return f"{part}.safetensors"


def _seal(path: Path) -> FileSeal:
    return FileSeal(bytes=path.stat().st_size, sha256=sha256(path))


def _hash(state: State) -> str:
    """The SHA-256 of all else that the state says."""
    others = STATE.plain(replace(state, sha256=""))
    return hashlib.sha256(json.dumps(others, sort_keys=True).encode()).hexdigest()


def _delete(path: Path) -> None:
    """Delete state.json first: what a crash leaves behind is then seen as damaged, never as complete."""
    (path / STATE.name).unlink(missing_ok=True)
    shutil.rmtree(path, ignore_errors=True)
