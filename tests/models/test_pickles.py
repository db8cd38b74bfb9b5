"""A pickled checkpoint is refused unopened, and the command that it is refused with converts it."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dreambooth.config import Base
from dreambooth.errors import ModelError
from dreambooth.models import load

WEIGHT = torch.arange(6.0).reshape(2, 3)


class Trap:
    """What runs when a pickle of it is opened."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('the pickle was opened')",)


@pytest.mark.parametrize("name", ["rex.ckpt", "rex.safetensors"])
def test_a_pickle_is_refused_by_its_name_or_its_first_bytes(name: str, tmp_path: Path) -> None:
    torch.save({"state_dict": {"weight": WEIGHT}, "more": Trap()}, tmp_path / name)
    with pytest.raises(ModelError, match="is a pickle, which can run code"):
        load(Base(model=str(tmp_path / name)))


def test_the_command_converts_tensors_and_opens_nothing_else(tmp_path: Path) -> None:
    torch.save({"state_dict": {"weight": WEIGHT, "step": 3}}, file := tmp_path / "my rex.ckpt")
    with pytest.raises(ModelError) as error:
        load(Base(model=str(file)))
    _, *words = shlex.split(str(error.value).splitlines()[1])
    subprocess.run([sys.executable, *words], check=True)
    converted = load_file(file.with_suffix(".safetensors"))
    assert converted.keys() == {"weight"} and torch.equal(converted["weight"], WEIGHT)
    torch.save({"more": Trap()}, file)
    assert subprocess.run([sys.executable, *words], capture_output=True).returncode == 1
