"""Where models compute, and what Apple's mps cannot do."""

import os
import platform
import re
import resource
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import dreambooth
from dreambooth import __version__, cli
from dreambooth.config import Config
from dreambooth.config.machine import check_machine
from dreambooth.diffusion import PREDICTIONS, DiscreteDiffusion, ForwardProcess, RectifiedFlow, row_errors
from dreambooth.errors import ConfigError, DreamBoothError
from dreambooth.support.device import VARIABLE, computing_on, device, keep_freed_memory
from dreambooth.support.rng import generator

SOURCE = Path(dreambooth.__file__).parent


@pytest.fixture(params=[(False, False), (False, True), (True, False), (True, True)], ids=str)
def machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[bool, bool]:
    """A machine with CUDA or not, and with Apple's MPS or not."""
    cuda, mps = request.param
    has(monkeypatch, cuda=cuda, mps=mps)
    return cuda, mps


def has(monkeypatch: pytest.MonkeyPatch, *, cuda: bool = False, mps: bool = False) -> None:
    """Have torch find these devices."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.delenv(VARIABLE, raising=False)


def test_the_best_device_is_chosen_unless_one_is_named(machine: tuple[bool, bool]) -> None:
    cuda, mps = machine
    assert device().type == ("cuda" if cuda else "mps" if mps else "cpu")
    for name, there in (("cuda", cuda), ("mps", mps), ("cpu", True)):
        with computing_on(name):
            if there:
                assert device().type == name
            else:
                with pytest.raises(DreamBoothError, match=f"no device '{name}' here, only .*cpu: give --device"):
                    device()


def test_the_choice_ends_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch, mps=True)
    with computing_on("cpu"), computing_on(None):
        assert device().type == "cpu"
    assert device().type == "mps" and VARIABLE not in os.environ
    monkeypatch.setenv(VARIABLE, "cpu")
    with computing_on("mps"):
        assert device().type == "mps"
    assert os.environ[VARIABLE] == "cpu"


def test_a_device_that_is_not_there_is_told_before_anything_is_made(
    photos_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    has(monkeypatch)
    words = ["run", str(photos_dir), "--class-noun", "dog", "--output-dir", str(tmp_path / "run")]
    assert cli.main([*words, "--device", "cuda"], __version__) == 2
    assert capsys.readouterr().err == "dreambooth: there is no device 'cuda' here, only cpu: give --device cpu.\n"
    assert cli.main([*words, "--device", "tpu"], __version__) == 2
    assert "invalid choice: 'tpu'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("setting", "value"), [("mixed_precision", "bf16"), ("mixed_precision", "fp16")])
def test_autocast_is_for_cuda_alone(setting: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("mps", "cpu"):
        has(monkeypatch, mps=True)
        with computing_on(kind), pytest.raises(ConfigError, match=f"needs a GPU with CUDA; on {kind} it must be 'no'"):
            check_machine(Config.build({setting: value}))
    has(monkeypatch, cuda=True)
    check_machine(Config.build({setting: value}))


def test_bfloat16_is_kept_off_mps(monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch, mps=True)
    check_machine(Config.build({}))
    with pytest.raises(ConfigError, match="dtype: 'bfloat16' is not for Apple's mps; there it must be 'float32'"):
        check_machine(Config.build({"dtype": "bfloat16"}))
    with computing_on("cpu"):
        check_machine(Config.build({"dtype": "bfloat16"}))


class NoFloat64(TorchDispatchMode):
    """Inside, nothing on a device other than the CPU may become float64."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        assert not (isinstance(made, Tensor) and made.device.type != "cpu" and made.dtype == torch.float64), func
        return made


PROCESSES: list[ForwardProcess] = [
    *(DiscreteDiffusion(torch.linspace(0.99, 0.01, 10), kind, 5.0) for kind in PREDICTIONS),
    RectifiedFlow(snr_gamma=5.0),
]


@pytest.mark.parametrize("process", PROCESSES, ids=lambda process: getattr(process, "prediction", "flow"))
def test_no_tensor_of_the_device_becomes_float64(process: ForwardProcess) -> None:
    """On torch's "meta", which refuses whatever would have to read a number from it."""
    t = process.sample_t((2, 4, 8, 8), generator(0), generator(1)).to("meta")
    x0, noise = torch.randn(2, 1, 4, 4, device="meta"), torch.randn(2, 1, 4, 4, device="meta")
    with NoFloat64():  # type: ignore[no-untyped-call]
        error = row_errors(process, process.add_noise(x0, noise, t), x0, noise, t)
    assert error.dtype == torch.float32 and error.device.type == "meta"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
def test_freed_memory_is_there_for_the_next() -> None:
    keep_freed_memory()
    torch.ones(2**21)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(2**21)  # 8 MiB, 2048 pages
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 20 * 2048 / 2


def test_all_randomness_is_drawn_on_the_cpu() -> None:
    assert generator("noise", 0).device.type == "cpu"
    for path in SOURCE.rglob("*.py"):
        for made in re.findall(r"torch\.Generator\((.*?)\)", path.read_text(encoding="utf-8")):
            assert made == "", path
