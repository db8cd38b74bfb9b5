"""What pixels tell of photos: every fault that is made is called, and none of photos that people would take as good."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter

from dreambooth.data.pictures import open_image
from dreambooth.doctor.faults import ALL, Fault, table
from dreambooth.doctor.photos import STEEP, examine_photos, require_usable, sharpness
from dreambooth.errors import PhotoError
from dreambooth.toybox.photos import photos
from dreambooth.toybox.world import CLASSES

DREAMBENCH = Path(os.environ.get("DREAMBENCH", Path(__file__).parents[3] / "shared" / "dreambench"))


@pytest.fixture(scope="module")
def dog(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four photos of 256 pixels; only to be read."""
    return photos("dog", 7, 4, tmp_path_factory.mktemp("dog") / "photos", 256)


def made(folder: Path, paths: list[Path], name: str, image: Image.Image, **how: Any) -> list[Path]:
    """The photos and one more."""
    image.save(folder / name, **how)
    return [*paths, folder / name]


@pytest.mark.parametrize("class_noun", CLASSES)
def test_photos_of_toys_have_no_fault(class_noun: str, tmp_path: Path) -> None:
    for seed, size in ((7, 128), (450, 256)):
        assert examine_photos(photos(class_noun, seed, 4, tmp_path / str(seed), size), 128) == []


@pytest.mark.skipif(not DREAMBENCH.is_dir(), reason="DreamBench photos are not here")
def test_photos_that_people_took_have_no_fault() -> None:
    subjects = sorted(entry for entry in DREAMBENCH.iterdir() if entry.is_dir())
    for folder in subjects:
        assert examine_photos(sorted(folder.glob("*.jpg")), 512) == [], folder.name
    assert len(subjects) == 8


@pytest.mark.skipif(not DREAMBENCH.is_dir(), reason="DreamBench photos are not here")
def test_photos_that_people_took_are_blurred_when_they_are_blurred() -> None:
    found = {}
    for photo in sorted(DREAMBENCH.glob("*/00.jpg")):
        image = open_image(photo)
        found[photo.parent.name] = [sharpness(image), sharpness(image.filter(ImageFilter.GaussianBlur(5)))]
    assert all(sharp > 1.5 * STEEP and blurred < STEEP for sharp, blurred in found.values()), found  # type: ignore[operator]


def test_a_blurred_photo_and_one_that_shows_nothing_are_told(dog: list[Path], tmp_path: Path) -> None:
    image = open_image(dog[0]).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    moved = Image.fromarray(np.mean([np.roll(np.asarray(image), by, 1) for by in range(16)], 0).astype(np.uint8))
    paths = made(tmp_path, dog, "blurred.jpg", image.filter(ImageFilter.GaussianBlur(4)))
    paths = made(tmp_path, paths, "dark.png", Image.new("RGB", (256, 256), (9, 9, 9)))
    faults = {fault.where: fault.says for fault in examine_photos(paths, 128)}
    assert faults == {
        "blurred.jpg": "is blurred all over",
        "dark.png": "shows hardly anything: no edge is in it, as in the dark, in fog or far out of focus",
    }
    steep = sharpness(moved)
    assert steep is not None and steep < STEEP


def test_a_background_out_of_focus_is_no_fault(dog: list[Path]) -> None:
    image = open_image(dog[0])
    focus = Image.new("L", image.size, 0)
    focus.paste(255, (80, 80, 180, 180))
    steep = sharpness(Image.composite(image, image.filter(ImageFilter.GaussianBlur(6)), focus))
    assert steep is not None and steep > STEEP


def test_copies_and_shots_of_one_moment_are_told_once_each(dog: list[Path], tmp_path: Path) -> None:
    image = open_image(dog[1])
    paths = made(tmp_path, dog, "z-cut.jpg", image.crop((4, 3, 254, 252)))
    paths = made(tmp_path, paths, "z-light.jpg", ImageEnhance.Brightness(image).enhance(1.1), quality=60)
    (tmp_path / "z-same.png").write_bytes(dog[2].read_bytes())
    faults = examine_photos([*paths, tmp_path / "z-same.png"], 128)
    assert {fault.where: fault.says for fault in faults} == {
        "z-cut.jpg": "is nearly the same picture as 01.png",
        "z-light.jpg": "is nearly the same picture as 01.png",
        "z-same.png": "is the same file as 02.png",
    }


def test_a_tiny_photo_is_told_with_what_training_takes(dog: list[Path], tmp_path: Path) -> None:
    small = open_image(dog[3]).transpose(Image.Transpose.FLIP_LEFT_RIGHT).resize((60, 60), Image.Resampling.LANCZOS)
    (fault,) = examine_photos(made(tmp_path, dog, "small.png", small), 128)
    assert (fault.where, fault.says) == ("small.png", "is tiny: 60 pixels a side, and training takes 128")


def test_an_orientation_that_there_is_not_is_told(dog: list[Path], tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 13
    mirrored = open_image(dog[3]).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    (fault,) = examine_photos(made(tmp_path, dog, "held.jpg", mirrored, exif=exif), 128)
    assert fault.where == "held.jpg" and "EXIF orientation of 13" in fault.says


@pytest.mark.parametrize(("count", "says"), [(1, "are one photo"), (2, ""), (20, ""), (21, "are 21: are all of them")])
def test_too_few_and_too_many_are_doubted(count: int, says: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8))
        coarse.resize((72, 72), Image.Resampling.NEAREST).save(tmp_path / f"{number:02}.png")
    faults = examine_photos(sorted(tmp_path.iterdir()), 64)
    assert [fault.where for fault in faults] == [ALL] * bool(says)
    assert all(fault.says.startswith(says) for fault in faults)


def test_what_cannot_be_used_is_fatal_and_all_of_it_is_named(dog: list[Path], tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("no picture")
    paths = [*dog, tmp_path / "empty.jpg", tmp_path / "text.jpg"]
    faults = examine_photos(paths, 128)
    assert [fault.where for fault in faults if fault.fatal] == ["empty.jpg", "text.jpg"]
    with pytest.raises(PhotoError) as refused:
        require_usable(faults, paths)
    empty, text = refused.value.problems
    assert empty.startswith(f"{tmp_path / 'empty.jpg'} is empty (0 bytes): copy it again")
    assert text.startswith(f"{tmp_path / 'text.jpg'} is not a JPEG")
    require_usable(examine_photos(dog, 128), dog)
    with pytest.raises(PhotoError, match="there are none"):
        require_usable([], [])


def test_a_table_has_a_row_a_fault_the_fatal_ones_first() -> None:
    long = " ".join(["word"] * 20)
    lines = table(
        [Fault(where="b.png", says=long, remedy="leave it out"), Fault(where="a.png", says="x", remedy="y", fatal=True)]
    ).splitlines()
    assert lines[0].split() == ["file", "fault", "remedy"] and lines[1].split() == ["a.png", "x", "y"]
    assert lines[2].startswith("b.png  word word") and lines[2].endswith("leave it out") and len(lines) == 5
    assert max(map(len, lines)) < 110
