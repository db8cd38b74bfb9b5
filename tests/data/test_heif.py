"""Photos of an iPhone: read with the extra `heic`, upright and in their colours; without it the error says how."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dreambooth.data import heif
from dreambooth.data.photos import check_photos, photos_in
from dreambooth.data.pictures import open_image, upright_size
from dreambooth.errors import PhotoError

START = b"\0\0\0\x18ftyp"


def corners() -> Image.Image:
    """96 x 64, each quarter of its own colour."""
    image = Image.new("RGB", (96, 64), (220, 30, 30))
    image.paste((30, 200, 30), (48, 0, 96, 32))
    image.paste((30, 30, 220), (0, 32, 48, 64))
    image.paste((240, 240, 60), (48, 32, 96, 64))
    return image


def heic(path: Path) -> Path:
    pillow_heif = pytest.importorskip("pillow_heif")
    buffer = io.BytesIO()
    pillow_heif.from_pillow(corners()).save(buffer, quality=95)
    path.write_bytes(buffer.getvalue())
    return path


def test_without_the_decoder_the_error_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heif, "formats", tuple)
    for name, brand in (("a.heic", b"heic"), ("b.heif", b"mif1"), ("c.heic", b"avif")):
        (tmp_path / name).write_bytes(START + brand + b"\0" * 40)
    with pytest.raises(PhotoError) as caught:
        check_photos(photos_in(tmp_path))
    first, second, third = caught.value.problems
    assert "pip install 'dreambooth[heic]'" in first and "pip install 'dreambooth[heic]'" in second
    assert "AVIF" in third and "pip" not in third


def test_a_photo_of_a_phone_is_opened(tmp_path: Path) -> None:
    photo = heic(tmp_path / "IMG_0001.HEIC")
    check_photos(photos_in(tmp_path))
    assert upright_size(photo) == (96, 64)
    assert np.abs(np.asarray(open_image(photo), dtype=int) - np.asarray(corners(), dtype=int)).mean() < 3


def test_a_damaged_one_is_named(tmp_path: Path) -> None:
    photo = heic(tmp_path / "cut.heic")
    photo.write_bytes(photo.read_bytes()[:200])
    with pytest.raises(PhotoError, match=r"cut\.heic is (damaged|not a)"):
        check_photos([photo])


def test_a_large_one_is_refused_from_its_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = heic(tmp_path / "large.heic")
    monkeypatch.setattr("dreambooth.data.pictures.MAX_PIXELS", 96 * 64 * 3 - 1)
    with pytest.raises(PhotoError, match="96 x 64 pixels, larger than"):
        check_photos([photo])
