"""Photos as people have them: every good one opens alike, every bad one is named before anything slow."""

import hashlib
import logging
import os
import re
import resource
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from dreambooth.data import pictures
from dreambooth.data.photos import check_photos, photos_in
from dreambooth.data.pictures import crop_square, open_image, square_scores
from dreambooth.errors import PhotoError

DREAMBENCH = Path(os.environ.get("DREAMBENCH", Path(__file__).parents[3] / "shared" / "dreambench"))


def picture(width: int = 96, height: int = 64, seed: int = 0) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def pixels(path: Path) -> np.ndarray:
    return np.asarray(open_image(path)).astype(int)


def test_a_folder_is_read_in_the_order_of_names(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("b.JPG", "a.png", "c.webp", ".hidden.png"):
        picture().save(tmp_path / name)
    picture().save(tmp_path / "no-suffix", format="PNG")
    (tmp_path / "folder.png").mkdir()
    for name in ("truth.json", "caption.txt", "movie.mov"):
        (tmp_path / name).write_text("{}")
    with caplog.at_level(logging.WARNING, "dreambooth"):
        found = photos_in(tmp_path)
    assert [photo.name for photo in found] == ["a.png", "b.JPG", "c.webp", "no-suffix"]
    assert [message.split("not pictures: ")[1] for message in caplog.messages] == ["movie.mov"]
    assert photos_in(tmp_path / "a.png") == (tmp_path / "a.png",)


def test_a_folder_without_photos_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "truth.json").write_text("{}")
    with pytest.raises(PhotoError, match="no photos in it"):
        photos_in(tmp_path)
    with pytest.raises(PhotoError, match="no such folder"):
        photos_in(tmp_path / "elsewhere")


def test_all_bad_files_are_named_at_once(tmp_path: Path) -> None:
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (200, 200, 3), dtype=np.uint8))
    noise.save(tmp_path / "whole.jpg")
    noise.save(tmp_path / "whole.png")
    expected = {
        "empty.jpg": (b"", "is empty"),
        "text.jpg": (b"not a picture at all, whatever its name", "is not a JPEG"),
        "cut.jpg": ((tmp_path / "whole.jpg").read_bytes()[:9000], "is damaged"),
        "cut.png": ((tmp_path / "whole.png").read_bytes()[:9000], "is damaged"),
        "header.png": (b"\x89PNG\r\n\x1a\n" + b"\0" * 60, "(is damaged|is not a JPEG)"),
        "phone.heic": (b"\0\0\0\x18ftypheic" + b"\0" * 40, "(is a HEIC picture|is damaged|is not a)"),
    }
    for name, (content, _) in expected.items():
        (tmp_path / name).write_bytes(content)
    picture(20, 20).save(tmp_path / "tiny.png")
    Image.new("I", (64, 64)).save(tmp_path / "depth.tiff")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    paths = [*photos_in(tmp_path), tmp_path / "gone.jpg", tmp_path]
    with pytest.raises(PhotoError) as caught:
        check_photos(paths)
    whys = {name: why for name, (_, why) in expected.items()}
    whys |= {"tiny.png": "20 x 20 .* too small", "depth.tiff": "measurements", "loop.jpg": "broken link"}
    whys |= {"pipe.jpg": "no plain file", "gone.jpg": "does not exist", tmp_path.name: "is a folder"}
    assert len(caught.value.problems) == len(whys)
    for name, why in whys.items():
        place = tmp_path if name == tmp_path.name else tmp_path / name
        assert any(re.match(f"{place} .*{why}", problem) for problem in caught.value.problems), name


@pytest.mark.parametrize("side", [12_000, 20_000])
def test_a_decompression_bomb_is_refused_from_its_header(tmp_path: Path, side: int) -> None:
    Image.MAX_IMAGE_PIXELS, allowed = None, Image.MAX_IMAGE_PIXELS
    try:
        Image.new("1", (side, side)).save(tmp_path / "bomb.png")
    finally:
        Image.MAX_IMAGE_PIXELS = allowed
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(PhotoError, match="larger than 64 megapixels"):
        check_photos([tmp_path / "bomb.png"])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def test_all_eight_orientations_open_alike(tmp_path: Path) -> None:
    upright = np.asarray(picture())
    flipped = upright[:, ::-1]
    stored = [upright, flipped, np.rot90(upright, 2), np.rot90(flipped, 2)]  # EXIF 1 to 4
    stored += [np.rot90(flipped), np.rot90(upright), np.rot90(flipped, 3), np.rot90(upright, 3)]  # 5 to 8
    for orientation, array in enumerate(stored, start=1):
        exif = Image.Exif()
        exif[0x0112] = orientation
        for suffix in ("png", "tiff", "webp"):
            path = tmp_path / f"{orientation}.{suffix}"
            Image.fromarray(np.ascontiguousarray(array)).save(path, exif=exif, lossless=True)
            assert (pixels(path) == upright).all(), path.name


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "RGBA", "LA", "I;16"])
def test_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    grey = picture().convert("L")
    if mode == "I;16":
        image = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    else:
        image = (picture() if mode in ("P", "CMYK", "RGBA") else grey).convert(mode)
    path = tmp_path / ("a.tiff" if mode == "CMYK" else "a.png")
    image.save(path)
    opened = open_image(path)
    assert opened.mode == "RGB"
    wanted = (image.convert("RGB") if mode in ("1", "P", "CMYK", "RGBA") else grey.convert("RGB"))  # fmt: skip
    assert np.abs(pixels(path) - np.asarray(wanted).astype(int)).max() <= 1


@pytest.mark.parametrize("factor", [1, 3])
@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "RGBA", "LA", "I;16", "RGB"])
def test_bands_of_a_large_picture_join_without_a_seam(
    mode: str, factor: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = picture(100, 131)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    path = tmp_path / ("a.tiff" if mode == "CMYK" else "a.png")
    (image if mode == "I;16" else image.convert(mode)).save(path, icc_profile=ADOBE_RGB if mode == "RGB" else None)
    at_least = None if factor == 1 else 33
    whole = open_image(path, at_least)
    monkeypatch.setattr(pictures, "BAND", 1000)
    banded = open_image(path, at_least)
    assert banded.size == ((100, 131) if factor == 1 else (34, 44))
    assert (np.asarray(whole) == np.asarray(banded)).all()


LARGE = """
import re, sys
from pathlib import Path
from PIL import Image
from dreambooth.data.photos import check_photos
from dreambooth.data.pictures import open_image
small, *large = map(Path, sys.argv[1:])
check_photos([small])
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
before = peak()
Image.open(large[0]).load()
decoded = peak()
for file in large:
    check_photos([file])
    open_image(file, at_least=1024)
print(decoded - before, peak() - decoded)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to ask for the memory")
def test_a_large_picture_is_decoded_once_and_never_copied_whole(tmp_path: Path) -> None:
    """64 megapixels with transparency: 256 MB in the decoder, where five copies would be 1.3 GB."""
    picture().save(tmp_path / "small.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGBA", (8000, 8000), (200, 10, 10, 100)).save(tmp_path / "a.png", compress_level=1, exif=exif)
    Image.new("RGB", (8000, 8000), "red").save(tmp_path / "b.jpg")
    words = [sys.executable, "-c", LARGE, *(str(tmp_path / name) for name in ("small.png", "a.png", "b.jpg"))]
    decoded, beyond = map(int, subprocess.check_output(words, text=True, stderr=subprocess.DEVNULL).split())
    assert decoded > 200_000 and beyond < 100_000  # KB


def test_a_webp_is_bounded_by_what_its_decoder_takes(tmp_path: Path) -> None:
    Image.new("RGB", (5000, 5000)).save(tmp_path / "a.webp", lossless=True, method=0)
    with pytest.raises(PhotoError, match="5000 x 5000 pixels, larger than 16 megapixels"):
        check_photos(photos_in(tmp_path))


def test_transparency_becomes_white(tmp_path: Path) -> None:
    hidden = np.zeros((64, 64, 4), dtype=np.uint8)
    hidden[:, 32:] = (10, 20, 30, 255)
    hidden[:, :32, 0] = 200  # a colour under alpha 0
    Image.fromarray(hidden).save(tmp_path / "rgba.png")
    palette = Image.new("P", (64, 64), 0)
    palette.putpalette([200, 0, 0, 10, 20, 30])
    palette.paste(1, (32, 0, 64, 64))
    palette.save(tmp_path / "palette.png", transparency=0)
    for name in ("rgba.png", "palette.png"):
        opened = pixels(tmp_path / name)
        assert (opened[:, :32] == 255).all()
        assert (opened[:, 32:] == (10, 20, 30)).all()


def test_the_first_frame_of_several_is_used(tmp_path: Path) -> None:
    first, second = picture(seed=1), picture(seed=2)
    for name in ("a.gif", "a.mpo"):
        first.save(tmp_path / name, save_all=True, append_images=[second])
        opened = pixels(tmp_path / name)
        near, far = (np.abs(opened - np.asarray(frame)).mean() for frame in (first, second))
        assert near < 8 < far
    check_photos(photos_in(tmp_path))


def test_the_originals_are_not_touched(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture().save(tmp_path / "a.jpg", exif=exif)
    before = hashlib.sha256((tmp_path / "a.jpg").read_bytes()).digest(), (tmp_path / "a.jpg").stat().st_mtime_ns
    check_photos(photos_in(tmp_path))
    crop_square(open_image(tmp_path / "a.jpg"), 0.5, 32)
    assert before == (
        hashlib.sha256((tmp_path / "a.jpg").read_bytes()).digest(),
        (tmp_path / "a.jpg").stat().st_mtime_ns,
    )


@pytest.mark.parametrize("turned", [False, True])
def test_the_square_is_cut_where_the_detail_is(turned: bool) -> None:
    scene = Image.new("RGB", (640, 240), "skyblue")
    scene.paste(picture(120, 120).resize((12, 12)).resize((120, 120), Image.Resampling.NEAREST), (500, 60))
    if turned:
        scene = scene.transpose(Image.Transpose.ROTATE_270)
    scores = square_scores(scene)
    offset = scores.argmax() / (len(scores) - 1)
    left = offset * (640 - 240)
    assert left <= 500 and left + 240 >= 620  # all of the subject
    square = crop_square(scene, offset, 64)
    assert square.size == (64, 64)
    assert square_scores(Image.new("RGB", (640, 240))).argmax() == (len(square_scores(scene)) - 1) // 2  # flat: centre
    assert len(square_scores(picture(64, 64))) == 1
    assert np.isfinite(square_scores(picture(6400, 40))).all()


def test_a_crop_is_the_square_it_says() -> None:
    image = Image.new("RGB", (300, 100), "red")
    image.paste("blue", (200, 0, 300, 100))
    assert np.asarray(crop_square(image, 0.0, 10)).tolist() == np.full((10, 10, 3), (255, 0, 0)).tolist()
    assert np.asarray(crop_square(image, 1.0, 10)).tolist() == np.full((10, 10, 3), (0, 0, 255)).tolist()


@pytest.mark.skipif(not DREAMBENCH.is_dir(), reason="DreamBench photos are not here")
def test_real_photos_are_found_and_open() -> None:
    for folder in sorted(entry for entry in DREAMBENCH.iterdir() if entry.is_dir()):
        photos = photos_in(folder)
        assert 4 <= len(photos) <= 6
        check_photos(photos)


def profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC profile of version 2 for a display, by https://www.color.org/icc32.pdf."""
    text = b"own\0"
    described = b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(78)
    tags = {b"desc": described, b"cprt": b"text" + bytes(4) + text, b"wtpt": xyz(0.9642, 1.0, 0.8249), **tags}
    tags = {name: content + bytes(-len(content) % 4) for name, content in tags.items()}
    at, table = 132 + 12 * len(tags), struct.pack(">I", len(tags))
    for name, content in tags.items():
        table += name + struct.pack(">II", at, len(content))
        at += len(content)
    header = struct.pack(">I4xI4s4s4s", at, 0x02100000, b"mntr", space, b"XYZ ") + bytes(12) + b"acsp" + bytes(28)
    return header + fixed(0.9642, 1.0, 0.8249) + bytes(48) + table + b"".join(tags.values())


def fixed(*numbers: float) -> bytes:
    return b"".join(struct.pack(">i", round(number * 65536)) for number in numbers)


def xyz(*numbers: float) -> bytes:
    return b"XYZ " + bytes(4) + fixed(*numbers)


def gamma(value: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(value * 256))


ADOBE_RGB = profile(
    b"RGB ",
    {
        b"rXYZ": xyz(0.60974, 0.31111, 0.01947),
        b"gXYZ": xyz(0.20528, 0.62567, 0.06087),
        b"bXYZ": xyz(0.14919, 0.06322, 0.74457),
        **{name: gamma(2.2) for name in (b"rTRC", b"gTRC", b"bTRC")},
    },
)
LINEAR_GREY = profile(b"GRAY", {b"kTRC": gamma(1.0)})


@pytest.mark.parametrize(
    ("mode", "stored", "icc", "seen"),
    [
        ("RGB", (180, 44, 44), ADOBE_RGB, (210, 40, 40)),  # the values that Adobe RGB has for that colour
        ("RGBA", (180, 44, 44, 255), ADOBE_RGB, (210, 40, 40)),
        ("P", (180, 44, 44), ADOBE_RGB, (210, 40, 40)),
        ("L", 128, LINEAR_GREY, (188, 188, 188)),  # half the light is (255 * 0.5 ** (1 / 2.2)) and a little more
        ("RGB", (180, 44, 44), None, (180, 44, 44)),
        ("RGB", (180, 44, 44), b"no profile", (180, 44, 44)),
        ("RGB", (180, 44, 44), LINEAR_GREY, (180, 44, 44)),  # of another kind of picture
        ("RGB", (180, 44, 44), ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(), (180, 44, 44)),
    ],
)
def test_a_photo_shows_the_colours_that_its_profile_says(
    mode: str, stored: object, icc: bytes | None, seen: tuple[int, int, int], tmp_path: Path
) -> None:
    image = Image.new("RGB" if mode == "P" else mode, (64, 64), stored)  # type: ignore[arg-type]
    (image.quantize(4) if mode == "P" else image).save(tmp_path / "a.png", icc_profile=icc)
    assert np.abs(pixels(tmp_path / "a.png") - seen).max() <= 3


@pytest.mark.parametrize("name", ["a.NEF", "a.cr2", "a.dng", "a.arw", "a.tif"])
def test_camera_raw_is_refused_by_name_with_the_remedy(name: str, tmp_path: Path) -> None:
    """Pillow would open the thumbnail in it, 160 x 120 pixels; a renamed one is told by its mark as a smaller copy."""
    picture(160, 120).save(tmp_path / name, format="TIFF", tiffinfo={254: 1})
    with pytest.raises(PhotoError, match=f"{name} is a camera's RAW file.*save it as JPEG"):
        check_photos(photos_in(tmp_path))


def test_a_named_pipe_among_the_photos_is_passed_by(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.png")
    for name in ("pipe", "pipe.txt", "pipe.mov"):
        os.mkfifo(tmp_path / name)
    assert [photo.name for photo in photos_in(tmp_path)] == ["a.png"]


def test_captions_beside_photos_are_reported_as_unused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a.png", "b.png"):
        picture().save(tmp_path / name)
    for name in ("a.txt", "b.caption", "readme.txt"):
        (tmp_path / name).write_text("a photo of my dog")
    photos_in(tmp_path)
    (message,) = caplog.messages
    assert "captions are not used" in message and "a.txt, b.caption" in message and "readme" not in message


def test_photos_in_a_folder_below_are_reported_with_the_folder_to_give(tmp_path: Path) -> None:
    for name in ("10_zwx dog", ".hidden"):
        (tmp_path / name).mkdir()
        for number in range(3):
            picture().save(tmp_path / name / f"{number}.png")
    with pytest.raises(PhotoError) as caught:
        photos_in(tmp_path)
    message = str(caught.value)
    assert "photos in its folder, '10_zwx dog' (3): give that one" in message
    assert f"'{tmp_path / '10_zwx dog'}'" in message  # as a shell takes it
    assert "--class-noun" in message and "--identifier" in message
    assert len(photos_in(tmp_path / "10_zwx dog")) == 3


def test_photos_in_several_folders_below_are_reported_each(tmp_path: Path) -> None:
    for name, count in (("img/10_zwx dog", 2), ("reg/1_dog", 3), ("log", 0)):
        (tmp_path / name).mkdir(parents=True)
        for number in range(count):
            picture().save(tmp_path / name / f"{number}.png")
    with pytest.raises(PhotoError, match=r"'img/10_zwx dog' \(2\), 'reg/1_dog' \(3\): give the one with your subject"):
        photos_in(tmp_path)


def test_people_s_own_folders_are_reported_without_kohya(tmp_path: Path) -> None:
    (tmp_path / "holiday").mkdir()
    picture().save(tmp_path / "holiday" / "a.png")
    with pytest.raises(PhotoError, match=r"'holiday' \(1\): give that one") as caught:
        photos_in(tmp_path)
    assert "kohya" not in str(caught.value)


def test_photos_below_those_that_are_used_are_reported_as_unused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "originals").mkdir()
    for name in ("a.png", "originals/b.png"):
        picture().save(tmp_path / name)
    assert [photo.name for photo in photos_in(tmp_path)] == ["a.png"]
    assert "photos in its folders are not used: originals (1)" in caplog.text


def test_a_name_that_is_not_utf_8_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.png")
    strange = os.fsencode(tmp_path) + b"/caf\xe9.png"
    os.rename(tmp_path / "a.png", strange)
    with pytest.raises(PhotoError, match="has a name that is not UTF-8: rename it") as refused:
        check_photos(photos_in(tmp_path))
    str(refused.value).encode("utf-8")
