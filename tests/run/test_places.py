"""A run folder is shown to others: nothing in it says where its user keeps things, and it still finds them."""

import shutil
from pathlib import Path

import pytest

from dreambooth.config import Config
from dreambooth.data.photos import names_of
from dreambooth.errors import RunError
from dreambooth.run import Run
from dreambooth.run.places import found, written
from dreambooth.run.records import BASE, BaseModel
from dreambooth.subject import Subject


def subject(*photos: Path) -> Subject:
    for photo in photos:
        photo.parent.mkdir(parents=True, exist_ok=True)
        photo.write_bytes(photo.name.encode())
    return Subject(photos=photos, class_noun="dog")


def test_what_is_at_home_is_written_so_and_all_else_from_the_run_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "ada"))
    root = tmp_path / "work" / "runs" / "dog"
    places = {
        tmp_path / "ada" / "photos" / "0.jpg": Path("~/photos/0.jpg"),
        tmp_path / "work" / "photos" / "0.jpg": Path("../../photos/0.jpg"),
        root / "0.jpg": Path("0.jpg"),
    }
    for place, text in places.items():
        assert written(place, root) == text
        assert found(text, root) == place
    assert found(Path("/photos/0.jpg"), root) == Path("/photos/0.jpg")  # of an older version
    monkeypatch.chdir(tmp_path)
    assert written(Path("work/photos/0.jpg"), Path("work/runs/dog")) == Path("../../photos/0.jpg")


def test_a_run_folder_is_the_same_whichever_way_one_comes_to_it(tmp_path: Path) -> None:
    disk, work = tmp_path / "mnt" / "large" / "disk", tmp_path / "work"
    disk.mkdir(parents=True)
    mine = subject(work / "photos" / "0.jpg")
    (work / "runs").symlink_to(disk)
    Run.create(work / "runs" / "dog", mine, Config())
    for root in (work / "runs" / "dog", disk / "dog"):
        run = Run.open(root)
        assert run.subject.photos == mine.photos
        run.require_same_photos()
    lexical = Path("../../photos/0.jpg")  # as older versions wrote it
    assert found(lexical, work / "runs" / "dog") == mine.photos[0]


@pytest.mark.parametrize("name", ["a" * 300 + ".jpg", "0.jpg\0"])
def test_a_place_that_cannot_be_is_not_there(name: str, tmp_path: Path) -> None:
    assert found(Path(name), tmp_path) == tmp_path / name


@pytest.mark.parametrize("home", ["ada", "elsewhere"])
def test_the_records_of_a_run_do_not_say_where_its_photos_are(
    home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / home))
    mine = subject(tmp_path / "ada" / "photos" / "0.jpg", tmp_path / "ada" / "photos" / "1.jpg")
    run = Run.create(tmp_path / "runs" / "dog", mine, Config())
    assert run.subject.photos == mine.photos
    for file in run.root.iterdir():
        assert str(tmp_path) not in file.read_text(), file.name


def test_a_run_and_its_photos_move_together(tmp_path: Path) -> None:
    mine = subject(tmp_path / "old" / "photos" / "0.jpg")
    Run.create(tmp_path / "old" / "runs" / "dog", mine, Config())
    shutil.move(tmp_path / "old", tmp_path / "new")
    run = Run.open(tmp_path / "new" / "runs" / "dog")
    assert run.subject.photos == (tmp_path / "new" / "photos" / "0.jpg",)
    run.require_same_photos()


def test_photos_that_moved_are_the_same_photos_when_they_are_given_again(tmp_path: Path) -> None:
    mine = subject(tmp_path / "a" / "0.jpg", tmp_path / "a" / "1.jpg")
    run = Run.create(tmp_path / "dog", mine, Config())
    BASE.write(run.root, BaseModel(model="some/model", fingerprint="0123"))
    run.save_subject(run.subject.named("sks"))
    shutil.move(tmp_path / "a", tmp_path / "b")
    moved = Subject(photos=tuple(tmp_path / "b" / photo.name for photo in mine.photos), class_noun="dog")
    assert Run.create(tmp_path / "dog", moved, Config()).subject == Subject(
        photos=moved.photos, class_noun="dog", identifier="sks"
    )
    (tmp_path / "b" / "1.jpg").write_bytes(b"another")
    with pytest.raises(RunError, match=r"1\.jpg shows something else"):
        Run.create(tmp_path / "dog", moved, Config())


def test_photos_of_one_name_in_two_folders_are_told_apart(tmp_path: Path) -> None:
    photos = (tmp_path / "a" / "0.jpg", tmp_path / "b" / "0.jpg", tmp_path / "b" / "1.jpg")
    assert names_of(photos) == ["a/0.jpg", "b/0.jpg", "b/1.jpg"]
    assert names_of(photos[1:]) == ["0.jpg", "1.jpg"]
    run = Run.create(tmp_path / "dog", subject(*photos), Config())
    photos[0].write_bytes(b"another")
    with pytest.raises(RunError, match=r"under the same names: a/0\.jpg"):
        run.require_same_photos()
