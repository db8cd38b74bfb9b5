"""One promise of all executors: each job ends once, with what went wrong; who is killed is replaced, not for ever."""

import importlib.util
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import jobs
from dreambooth.errors import ConfigError, DreamBoothError
from dreambooth.executors import Engine, Executor, Job, opened
from dreambooth.executors.base import LIVES
from dreambooth.executors.pool import InTurn, Pool

Opened = Callable[[Path], Executor]


def slurm(folder: Path) -> Executor:
    pytest.importorskip("submitit")
    from dreambooth.executors.slurm import Slurm

    return Slurm(folder, cluster="slurm" if shutil.which("sbatch") else "local")


def ray(folder: Path) -> Executor:
    pytest.importorskip("ray")
    from dreambooth.executors.ray import Ray

    return Ray(None, cpus=1, gpus=0)


OUTSIDE: dict[str, Opened] = {"pool": lambda folder: Pool(2), "slurm": slurm, "ray": ray}
"""Those whose jobs run in processes of their own."""


@pytest.fixture(params=OUTSIDE)
def outside(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Executor]:
    """Each of them in turn."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]), prepend=":")
    executor = OUTSIDE[request.param](tmp_path / "said")
    yield executor
    executor.close()


def noting(folder: Path, name: str) -> Job:
    return Job(key=name, label=name, work=jobs.note, given=(folder / name,))


def check_promises(executor: Executor, folder: Path) -> None:
    names = ["a", "b", "c"]
    mistakes = [
        Job(key="refused", label="refused", work=jobs.refuse),
        Job(key="stumbled", label="stumbled", work=jobs.stumble),
    ]
    killed = Job(key="killed", label="killed", work=jobs.die, given=(folder / "killed", 1))
    hopeless = Job(key="hopeless", label="hopeless", work=jobs.die, given=(folder / "hopeless", 99))
    outside = [] if isinstance(executor, InTurn) else [killed, hopeless]
    executor.submit([*(noting(folder, name) for name in names), *mistakes, *outside])
    problems: dict[str, str | None] = {}
    for ended in executor.ended():
        assert ended.job.key not in problems
        problems[ended.job.key] = ended.problem
        if ended.job.key == "a":  # such as what waits for its class images
            executor.submit([noting(folder, "later")])
    assert problems.pop("refused") == "there is no such thing"
    assert problems.pop("stumbled") == "ZeroDivisionError: by nothing"
    called = {file.name: file.read_text().count("called") for file in folder.glob("*") if file.is_file()}
    if outside:
        assert "again and again" in (problems.pop("hopeless") or "")
        assert problems.pop("killed") is None
        assert (called.pop("killed"), called.pop("hopeless")) == (2, LIVES)
    assert problems == dict.fromkeys([*names, "later"]) and called == dict.fromkeys([*names, "later"], 1)


def test_jobs_elsewhere_end_once_each_and_those_of_killed_processes_are_carried_out_again(
    outside: Executor, tmp_path: Path
) -> None:
    (tmp_path / "work").mkdir()
    check_promises(outside, tmp_path / "work")
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL  # libraries leave the signals of this process alone


def test_jobs_in_turn_end_once_each(tmp_path: Path) -> None:
    check_promises(InTurn(), tmp_path)


@pytest.mark.parametrize("name", ["ray", "slurm"])
def test_an_executor_that_cannot_be_says_what_it_lacks(name: str, tmp_path: Path) -> None:
    library = {"ray": "ray", "slurm": "submitit"}[name]
    if importlib.util.find_spec(library):
        pytest.skip(f"{library} is installed")
    engine = Engine(name="ray") if name == "ray" else Engine(name="slurm")
    with (
        pytest.raises(DreamBoothError, match=rf"needs {library}: pip install 'dreambooth\[{name}\]'"),
        opened(engine, tmp_path),
    ):
        pass


def test_what_an_executor_does_not_heed_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        Engine(name="local", cpus=4, gpus=1, ray_address="auto")
    assert [problem.split()[0] for problem in caught.value.problems] == ["--cpus", "--gpus", "--ray-address"]
    with pytest.raises(ConfigError, match="--jobs has no effect with --executor ray"):
        Engine(name="ray", jobs=4)
    with pytest.raises(ConfigError, match="whole GPUs"):
        Engine(name="slurm", gpus=0.5)
    Engine(name="slurm", jobs=4, cpus=2, gpus=1, slurm=("partition=gpu",))


@pytest.mark.parametrize(
    ("time", "minutes"),
    [
        ("90", 90),
        ("90:01", 91),
        ("1:30:00", 90),
        ("2-0", 2880),
        ("1-12:30", 2190),
        ("0-00:00:30", 1),
        ("1-0:0:0", 1440),
    ],
)
def test_slurm_and_submitit_are_told_one_time_limit(
    time: str, minutes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitit = pytest.importorskip("submitit")
    from dreambooth.executors.slurm import Slurm

    told: dict[str, Any] = {}
    monkeypatch.setattr(submitit.AutoExecutor, "update_parameters", lambda self, **given: told.update(given))
    Slurm(tmp_path, told=("partition=gpu", f"--time={time}"), cluster="local")
    assert told["timeout_min"] == minutes and told["slurm_additional_parameters"] == {"partition": "gpu"}


@pytest.mark.parametrize("time", ["", "an hour", "1h", "1:2:3:4", "1-", "-5", "1.5", "0", "0:00", "UNLIMITED"])
def test_a_time_that_is_none_is_refused_before_anything_is_submitted(time: str) -> None:
    with pytest.raises(ConfigError, match=f"--slurm time={time}: .*such as time="):
        Engine(name="slurm", slurm=(f"time={time}",))
    with pytest.raises(ConfigError, match="--slurm gpu: give options of sbatch with their values"):
        Engine(name="slurm", slurm=("gpu",))


def test_slurm_says_what_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DreamBoothError, match="there is no Slurm here"), opened(Engine(name="slurm"), tmp_path):
        pass
