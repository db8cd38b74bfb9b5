"""A run on several processes is the run on one, to rounding; and it ends in all of them however it ends."""

import multiprocessing
import os
import shutil
import signal
import socket
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dreambooth.config import Config
from dreambooth.config.machine import check_machine
from dreambooth.errors import ConfigError, DreamBoothError
from dreambooth.run import Run, checkpoint
from dreambooth.support import distributed
from dreambooth.support.distributed import World, joined
from dreambooth.support.files import sha256
from test_finetuning import bits, losses, photos, train

SETTINGS: dict[str, Any] = {
    "max_train_steps": 20,
    "learning_rate": 1e-5,
    "gradient_accumulation_steps": 1,
    "train_batch_size": 3,
    "validation_steps": 7,
    "use_ema": True,
}


def processes(said: Path, work: Callable[[World], object], come: int = 2, of: int = 2) -> list[int]:
    """`work` in `come` processes `of` a run; their exit statuses: 2 for an error, which is in said-<rank>."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": str(of)}

    def one(rank: int) -> None:
        os.environ |= {**address, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        try:
            with joined() as world:
                work(world)
        except DreamBoothError as error:
            (said / f"said-{rank}").write_text(f"{type(error).__name__}: {error}")
            os._exit(2)
        os._exit(0)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a process that has threads is forked; they are not used in its children
        started = [multiprocessing.get_context("fork").Process(target=one, args=(rank,)) for rank in range(come)]
        for process in started:
            process.start()
    for process in started:
        process.join(60)
    ends = [process.exitcode for process in started]
    for process in started:
        process.kill()
    return [-1 if end is None else end for end in ends]


def seals(root: Path, step: int) -> dict[str, str]:
    return {file.name: sha256(file) for file in (root / f"checkpoints/checkpoint-{step}").glob("*.safetensors")}


def test_two_processes_have_the_losses_of_one_and_resume_to_the_bit(tmp_path: Path) -> None:
    one, two, again = (tmp_path / name for name in ("one", "two", "again"))
    _, expected = train(one, **SETTINGS)
    seen = tmp_path / "seen"

    def look(step: int, model: object) -> None:
        with seen.open("a") as file:
            file.write(f"{os.environ['RANK']} {step}\n")

    assert processes(tmp_path, lambda world: train(two, look, **SETTINGS)) == [0, 0]
    lines = losses(two)
    assert len(lines) == 20
    for name in ("loss", "subject", "prior", "grad_norm"):
        for mine, its in zip(lines, expected, strict=True):
            assert mine[name] == pytest.approx(its[name], abs=1e-6, rel=1e-6), (name, mine["step"])
    assert seen.read_text().splitlines() == ["0 7", "0 14", "0 20"]

    (again / "checkpoints").mkdir(parents=True)
    shutil.copytree(two / "checkpoints/checkpoint-9", again / "checkpoints/checkpoint-9")
    shutil.copy(Run(two).losses, Run(again).losses)
    assert processes(tmp_path, lambda world: train(again, **SETTINGS)) == [0, 0]
    assert losses(again) == lines
    assert seals(again, 20) == seals(two, 20)
