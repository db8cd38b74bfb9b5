"""run.py: a folder that only one process writes and that belongs to one set of settings."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dreambooth.config import Config
from dreambooth.errors import RunError
from dreambooth.run import Run
from dreambooth.subject import Subject

SUBJECT = Subject(photos=(Path("a.png"), Path("b.png")), class_noun="dog")


def test_a_new_run_holds_its_settings_and_its_subject(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "runs" / "dog", SUBJECT, Config.build({"seed": 4}))
    assert run.config == Config.build({"seed": 4})
    assert run.subject.class_noun == "dog"
    assert run.subject.photos == (Path("a.png").absolute(), Path("b.png").absolute())
    assert run.subject.identifier is None


def test_the_same_command_goes_on_and_keeps_the_identifier(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "dog", SUBJECT, Config())
    run.save_subject(run.subject.named("sks"))
    again = Run.create(tmp_path / "dog", SUBJECT, Config())
    assert again.subject.name == "sks dog"
    with pytest.raises(RunError, match="identifier: 'zwx', was 'sks'"):
        Run.create(tmp_path / "dog", SUBJECT.named("zwx"), Config())


def test_other_settings_are_refused_and_named(tmp_path: Path) -> None:
    Run.create(tmp_path / "dog", SUBJECT, Config())
    other = Subject(photos=(Path("a.png"),), class_noun="cat")
    with pytest.raises(RunError) as caught:
        Run.create(tmp_path / "dog", other, Config.build({"model": "toybox", "seed": 1}))
    for word in ("seed: 1, was 0", "1 files, was 2", "class_noun: 'cat', was 'dog'", "--output-dir"):
        assert word in str(caught.value)


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


def test_a_missing_or_damaged_file_names_the_stage(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "dog", SUBJECT, Config())
    with pytest.raises(RunError, match=r"prior\.json is missing"):
        run.read_json("prior.json")
    (run.root / "prior.json").write_text('{"images": [')
    with pytest.raises(RunError, match="damaged"):
        run.read_json("prior.json")


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "dog", SUBJECT, Config())
    with run.only_writer(), pytest.raises(RunError, match=f"in use by process {os.getpid()}"), run.only_writer():
        pass
    with run.only_writer():
        pass
    assert not (run.root / ".lock").exists()


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "dog", SUBJECT, Config())
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (run.root / ".lock").write_text(str(ended.pid))
    with run.only_writer():
        assert (run.root / ".lock").read_text() == str(os.getpid())
