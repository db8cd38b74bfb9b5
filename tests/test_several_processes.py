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
from test_finetuning import losses, photos, train

SETTINGS: dict[str, Any] = {
    "max_train_steps": 20,
    "learning_rate": 1e-5,
    "gradient_accumulation_steps": 1,
    "train_batch_size": 3,
    "validation_steps": 7,
    "checkpointing_steps": 9,
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

    def work(world: World) -> None:  # as a run has it: the first process looks and draws what is asked for
        train(two, look, on_request=None if world.rank else look, **SETTINGS)

    assert processes(tmp_path, work) == [0, 0]
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


@pytest.mark.parametrize(
    "held",
    [
        {"l2_to_base": 0.1},
        {"method": "lora", "with_prior_preservation": False, "dco_beta": 20.0},
    ],
    ids=lambda its: sorted(its)[0],
)
def test_two_processes_have_the_losses_of_one_where_a_model_is_held_otherwise(
    tmp_path: Path, held: dict[str, Any]
) -> None:
    settings = {**SETTINGS, "max_train_steps": 4, "learning_rate": 1e-3, "use_ema": False, **held}
    one, two = tmp_path / "one", tmp_path / "two"
    _, expected = train(one, **settings)
    assert processes(tmp_path, lambda world: train(two, **settings)) == [0, 0]
    for mine, its in zip(losses(two), expected, strict=True):
        for name in ("loss", "subject", "grad_norm"):
            assert mine[name] == pytest.approx(its[name], rel=1e-4), (name, mine["step"])


def test_a_signal_to_one_process_saves_once_and_ends_all(tmp_path: Path) -> None:
    run = tmp_path / "run"

    def work(world: World) -> None:
        if world.rank == 1:  # the one that writes is not told
            batch = photos().batch

            def stop(*place: int) -> Any:
                if place[1] == 4:
                    os.kill(os.getpid(), signal.SIGTERM)
                return batch(*place)

            dataset = photos()
            object.__setattr__(dataset, "batch", stop)
            train(run, dataset=dataset, **SETTINGS)
        else:
            train(run, **SETTINGS)

    assert processes(tmp_path, work) == [2, 2]
    assert [path.name for path in Run(run).checkpoints.iterdir()] == ["checkpoint-5"]
    assert (tmp_path / "said-0").read_text().startswith("Interrupted: stopped by a signal to another process")
    assert (tmp_path / "said-1").read_text().startswith("Interrupted: stopped by SIGTERM after step 5 of 20")


@pytest.mark.parametrize("dies", [0, 1])
def test_a_process_that_dies_ends_the_others(tmp_path: Path, dies: int) -> None:
    def work(world: World) -> None:
        dataset = photos()
        batch = dataset.batch

        def die(*place: int) -> Any:
            if place[1] == 3 and world.rank == dies:
                os.kill(os.getpid(), signal.SIGKILL)
            return batch(*place)

        object.__setattr__(dataset, "batch", die)
        train(tmp_path / "run", dataset=dataset, **{**SETTINGS, "checkpointing_steps": 2})

    began = time.monotonic()
    ends = processes(tmp_path, work)
    assert sorted(ends) == [-signal.SIGKILL, 2]
    assert "cannot reach the others any more" in (tmp_path / f"said-{1 - dies}").read_text()
    assert time.monotonic() - began < 50
    assert checkpoint.newest_step(Run(tmp_path / "run").checkpoints) == 2


def test_a_process_without_signs_of_life_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "LOST", 1.0)
    monkeypatch.setattr(World, "_live", lambda self: None)

    def slow() -> int:
        time.sleep(4)
        return 0

    def work(world: World) -> None:
        world.first(slow)

    assert processes(tmp_path, work)[1] == 2
    assert "process 0 of 2 gave no sign of life for 1 seconds" in (tmp_path / "said-1").read_text()


def test_a_process_that_never_comes_is_told_in_bounded_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "PATIENCE", 2.0)
    assert processes(tmp_path, lambda world: None, come=1) == [2]
    assert "WORLD_SIZE is 2, and so many processes did not come" in (tmp_path / "said-0").read_text()


def test_processes_that_have_other_photos_do_not_begin(tmp_path: Path) -> None:
    def work(world: World) -> None:
        train(tmp_path / "run", dataset=photos(3 + world.rank), **SETTINGS)

    assert processes(tmp_path, work) == [2, 2]
    assert "the processes of this run have other settings, photos or weights" in (tmp_path / "said-1").read_text()


def test_more_processes_than_rows_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "_NOW", [World(0, 5)])
    monkeypatch.setenv("WORLD_SIZE", "5")
    with pytest.raises(ConfigError, match="5 processes share the 2 rows of a step"):
        check_machine(Config.build({}))
