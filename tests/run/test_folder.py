"""run.py: a folder that only one process writes and that belongs to one set of settings."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dreambooth.config import Config
from dreambooth.data.photos import photos_in
from dreambooth.errors import ModelError, RunError
from dreambooth.run import Run
from dreambooth.run.lock import locked
from dreambooth.run.records import BASE, BaseModel
from dreambooth.run.timing import timed
from dreambooth.subject import Subject

SUBJECT = Subject(photos=(Path("a.png"), Path("b.png")), class_noun="dog")


def begun(run: Run) -> Run:
    """The run as it is once its base model is open: from then on it has the settings that it began with."""
    BASE.write(run.root, BaseModel(model="some/model", fingerprint="0123"))
    return run


def test_a_new_run_holds_its_settings_and_its_subject(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "runs" / "dog", SUBJECT, Config.build({"seed": 4}))
    assert run.config == Config.build({"seed": 4})
    assert run.subject.class_noun == "dog"
    assert run.subject.photos == (Path("a.png").absolute(), Path("b.png").absolute())
    assert run.subject.identifier is None


def test_the_same_command_resumes_and_keeps_the_identifier(tmp_path: Path) -> None:
    run = begun(Run.create(tmp_path / "dog", SUBJECT, Config()))
    run.save_subject(run.subject.named("sks"))
    again = Run.create(tmp_path / "dog", SUBJECT, Config())
    assert again.subject.name == "sks dog"
    with pytest.raises(RunError, match="identifier: 'zwx', was 'sks'"):
        Run.create(tmp_path / "dog", SUBJECT.named("zwx"), Config())


def test_other_settings_are_refused_and_named(tmp_path: Path) -> None:
    begun(Run.create(tmp_path / "dog", SUBJECT, Config()))
    other = Subject(photos=(Path("a.png"),), class_noun="cat")
    with pytest.raises(RunError) as caught:
        Run.create(tmp_path / "dog", other, Config.build({"model": "toybox", "seed": 1}))
    for word in ("seed: 1, was 0", "1 files, was 2", "class_noun: 'cat', was 'dog'", "--output-dir"):
        assert word in str(caught.value)


def test_a_run_that_never_opened_its_base_model_takes_other_settings_and_photos(tmp_path: Path) -> None:
    root = tmp_path / "dog"
    Run.create(root, SUBJECT, Config.build({"model": "no/such"}))
    with pytest.raises(ModelError), Run(root).lock(), timed(Run(root), "load"):
        raise ModelError("there is no such model")
    other = Subject(photos=(Path("c.png"),), class_noun="cat", identifier="zwx")
    run = Run.create(root, other, Config())
    assert (run.config, run.subject.class_noun, run.subject.photos) == (Config(), "cat", (Path("c.png").absolute(),))
    run.require_same_photos()
    begun(run)
    with pytest.raises(RunError, match=r"choose another --output-dir\.$"):
        Run.create(root, SUBJECT, Config())


def test_a_folder_whose_making_was_killed_is_made_again(tmp_path: Path) -> None:
    Run.create(tmp_path / "dog", SUBJECT, Config())
    (tmp_path / "dog" / "config.toml").rename(tmp_path / "dog" / ".config.toml.0123abcd.part")
    assert Run.create(tmp_path / "dog", SUBJECT, Config()).config == Config()


def test_a_folder_of_the_users_is_never_taken(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(RunError, match="not a run folder"):
        Run.create(tmp_path, SUBJECT, Config())
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(RunError, match="not a run folder"):
        Run.create(tmp_path / "thesis.txt", SUBJECT, Config())


def test_what_is_no_run_folder_is_not_opened(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"has no config\.toml"):
        Run.open(tmp_path)


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "dog", SUBJECT, Config())
    with run.lock(), pytest.raises(RunError, match=f"in use by process {os.getpid()}"), run.lock():
        pass
    with run.lock():
        pass
    assert not (run.root / ".lock").exists()


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "dog", SUBJECT, Config())
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (run.root / ".lock").write_text(str(ended.pid))
    with run.lock():
        assert str(os.getpid()) in (run.root / ".lock").read_text()


@pytest.mark.parametrize("left", ["{own}", '{"process": 1, "host": "gone"}', "", "\x00" * 9])
def test_a_lock_that_nobody_holds_is_taken_whoever_has_its_number_now(left: str, tmp_path: Path) -> None:
    """A restarted container is process 1 again, and a number is given to another process in time."""
    run = Run.create(tmp_path / "dog", SUBJECT, Config())
    (run.root / ".lock").write_text(left.replace("{own}", str(os.getpid())))  # the same test's name in every process
    with run.lock():
        pass


WRITER = """
import sys, time
from pathlib import Path
from dreambooth.errors import RunError
from dreambooth.run.lock import locked
folder, started = Path(sys.argv[1]), time.time()
mine = folder / f"writer-{sys.argv[2]}"
for trial in range(int(sys.argv[3])):
    if sys.argv[4] == "stale":
        try:
            (folder / ".lock").write_text("999999999")
        except OSError:
            pass
    try:
        with locked(folder / ".lock", patience=60):
            mine.touch()
            if len(list(folder.glob("writer-*"))) > 1:
                print("two writers")
            mine.unlink()
    except RunError as error:
        print(error)
print("done")
"""


@pytest.mark.parametrize("stale", ["stale", "none"])
@pytest.mark.parametrize("writers", [2, 4])
def test_there_are_never_two_writers(stale: str, writers: int, tmp_path: Path) -> None:
    """The full form, with more trials: python -m benchmarks.one_writer."""
    commands = [[sys.executable, "-c", WRITER, str(tmp_path), str(number), "25", stale] for number in range(writers)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
    assert [process.communicate()[0] for process in running] == ["done\n"] * writers


def test_a_killed_writer_leaves_nothing_to_wait_for(tmp_path: Path) -> None:
    holding = f"""
import os
from pathlib import Path
from dreambooth.run.lock import locked
with locked(Path({str(tmp_path / ".lock")!r})):
    os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", holding], check=False).returncode == -9
    assert (tmp_path / ".lock").exists()
    with locked(tmp_path / ".lock"):
        pass


def test_other_photos_under_the_same_names_are_refused(tmp_path: Path) -> None:
    subject = Subject(photos=(tmp_path / "a.png", tmp_path / "b.png"), class_noun="dog")
    for photo in subject.photos:
        photo.write_bytes(photo.name.encode())
    run = begun(Run.create(tmp_path / "dog", subject, Config()))
    run.require_same_photos()
    Run.create(tmp_path / "dog", subject, Config())
    (tmp_path / "b.png").write_bytes(b"a teapot")
    with pytest.raises(RunError, match=r"b\.png shows something else"):
        Run.create(tmp_path / "dog", subject, Config())
    with pytest.raises(RunError, match=r"other photos under the same names: .*b\.png"):
        run.require_same_photos()
    fewer = Subject(photos=(tmp_path / "a.png",), class_noun="dog")
    with pytest.raises(RunError, match=r"b\.png is gone"):
        Run.create(tmp_path / "dog", fewer, Config())


def test_a_damaged_subject_is_made_again_by_the_command_that_gave_it(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "dog", SUBJECT, Config())
    (run.root / "subject.json").write_text('{"photos": 3}')
    with pytest.raises(RunError, match="damaged"):
        _ = run.subject
    assert Run.create(tmp_path / "dog", SUBJECT, Config()).subject.class_noun == "dog"


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "flipped": lambda content: content[:90] + bytes([content[90] ^ 1]) + content[91:],
    "more": lambda content: content + b"\n[training]\nmax_train_steps = 3\n",
    "no text": lambda content: b"\xff\xfe" + content,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_settings_that_are_not_as_they_were_written_start_nothing(damage: str, tmp_path: Path) -> None:
    run = Run.create(tmp_path / "dog", SUBJECT, Config())
    file = run.root / "config.toml"
    file.write_bytes(DAMAGES[damage](file.read_bytes()))
    with pytest.raises(RunError, match=r"config\.toml is damaged or was changed by hand"):
        Run.open(run.root)
    with pytest.raises(RunError, match=r"config\.toml is damaged or was changed by hand"):
        Run.create(run.root, SUBJECT, Config())


def test_what_a_killed_writer_left_half_written_is_removed(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "dog", SUBJECT, Config())
    deep = run.root / "checkpoints" / ".checkpoint-3.0123abcd.part"
    deep.mkdir(parents=True)
    (deep / "weights.safetensors").write_bytes(b"half")
    (run.root / ".scores.json.89abcdef.part").write_text("half")
    (run.root / ".model.01234567.old").mkdir()  # moved aside, and killed before the new one had its place
    (run.root / ".model.01234567.old" / "weights").write_text("whole")
    (run.root / ".mine.part").write_text("a user's own")
    with run.lock():
        pass
    left = {str(path.relative_to(run.root)) for path in run.root.rglob("*") if path.is_file()}
    assert left == {"config.toml", "subject.json", "photos.json", "status.json", "model/weights", ".mine.part"}


def test_a_folder_by_way_of_one_that_is_not_there_is_somebody_elses_all_the_same(
    photos_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(RunError, match="is not a run folder"):
        Run.create(Path("runs/.."), Subject(photos=photos_in(photos_dir), class_noun="dog"), Config.build({}))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
