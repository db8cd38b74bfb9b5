"""A picture file as pixels: upright, in sRGB on white, decoded once, and cut square where its detail is.

Files are only ever read. Large ones are turned into colours band by band, so that beside what the decoder itself needs
there is never a second copy.
"""

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, UnidentifiedImageError

from dreambooth.data import heif
from dreambooth.errors import PhotoError
from dreambooth.support.progress import log

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
"""What Pillow may decode, and HEIC where heif.py can; of several frames (phone JPEGs, GIF, TIFF) the first is used."""

MAX_PIXELS = 64_000_000
"""A larger picture is refused from its header, before it is decoded: 2 GB of pixels fit in a file of kilobytes."""

COPIES = {"WEBP": 4, "HEIF": 3}
"""Formats whose decoder holds so many pictures at a time: their limit is that much lower."""

MIN_SIDE = 32
"""A shorter side, in pixels, shows no subject."""

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".mpo", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".heic", ".heif")

_RAW = """
    .3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .iiq .k25 .kdc .mef .mos .mrw .nef .nrw .orf .pef .raf .raw .rw2 .rwl .sr2
    .srf .srw .x3f
"""
RAW_SUFFIXES = tuple(_RAW.split())
"""Of cameras' own formats: Pillow finds nothing in most, and in the others a thumbnail of 160 x 120 pixels."""

DETAIL_SIDE = 32
"""Detail is measured at this size: the texture of grass or asphalt averages out, the outlines of things remain."""

CENTRE_PREFERENCE = 0.2
"""A square at an end of the picture counts this much less than one in the centre, which wins where all is flat."""

BAND = 1_000_000
"""Pixels that are turned into colours at a time."""

_ORIENTATION, _LYING = 0x0112, (5, 6, 7, 8)
"""The EXIF tag that says how a camera was held, and those of its values where width and height are exchanged."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a picture upright, by that tag."""

_SUBFILE_TYPE = 254
"""The TIFF tag whose lowest bit says that a picture is a smaller copy of another in the same file."""


def size_of(path: Path) -> tuple[int, int]:
    """The picture's sides in pixels, as stored (a phone may store it lying down). Raises PhotoError."""
    with _opened(path) as image:
        return image.size


def upright_size(path: Path) -> tuple[int, int]:
    """Width and height of the picture as `open_image` shows it. Raises PhotoError."""
    with _opened(path) as image:
        lying = image.getexif().get(_ORIENTATION, 1) in _LYING and image.format != "TIFF"  # Pillow itself turns that
        return (image.height, image.width) if lying else image.size


def orientation_of(path: Path) -> int:
    """How its EXIF says the camera was held: 1 upright, 2 to 8 turned, else nothing known. Raises PhotoError."""
    with _opened(path) as image:
        said = image.getexif().get(_ORIENTATION, 1)
        return said if isinstance(said, int) else 0


def open_image(path: Path, at_least: int | None = None) -> Image.Image:
    """The picture, upright, in sRGB whatever its own colours are, transparency on white.

    at_least: a smaller copy will do, of no fewer pixels a side; that takes less memory, and JPEGs decode faster.
    Raises PhotoError.
    """
    with _opened(path) as image:
        if at_least is not None:
            image.draft(None, (at_least, at_least))
        return as_shown(image, 1 if at_least is None else max(1, min(image.size) // at_least))


def as_shown(image: Image.Image, factor: int = 1) -> Image.Image:
    """An opened picture, upright, in sRGB, transparency on white; each `factor` x `factor` pixels as one."""
    image.load()  # Pillow itself turns a TIFF
    turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    rgb = _to_rgb(image, factor)
    return rgb if turn is None else rgb.transpose(turn)


def alpha_of(path: Path) -> Image.Image | None:
    """How opaque each place of the picture is, upright, one channel of 8 bits; None where all of it is opaque.

    Raises PhotoError.
    """
    with _opened(path) as image:
        if not image.has_transparency_data:
            return None
        image.load()
        alpha = image.convert("RGBA").getchannel("A")
        turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
        return None if alpha.getextrema() == (255, 255) else alpha if turn is None else alpha.transpose(turn)


def crop_square(image: Image.Image, offset: float, side: int) -> Image.Image:
    """The largest square at `offset` along the long side, made `side` pixels.

    offset: 0 is left or top, 0.5 the centre, 1 right or bottom.
    """
    short = min(image.size)
    left, top = (round(offset * (length - short)) for length in image.size)
    box = (left, top, left + short, top + short)
    return image.crop(box).resize((side, side), Image.Resampling.LANCZOS, reducing_gap=3.0)


def square_scores(image: Image.Image) -> NDArray[np.float64]:
    """How much of the picture's detail each square along its long side keeps, first to last, in [0, 1].

    Detail is the size of the gradient: a subject in focus has more of it than walls, sky or a blurred background.
    """
    scale = DETAIL_SIDE / max(image.size)
    size = [max(1, round(length * scale)) for length in image.size]
    pixels = np.asarray(image.resize((size[0], size[1]), Image.Resampling.BOX), dtype=np.float64)
    if image.width > image.height:
        pixels = pixels.swapaxes(0, 1)
    along, across = pixels.shape[:2]
    gradient = np.zeros((along, across))
    gradient[1:] += np.abs(np.diff(pixels, axis=0)).sum(2)
    gradient[:, 1:] += np.abs(np.diff(pixels, axis=1)).sum(2)
    total = np.concatenate([[0.0], np.cumsum(gradient.sum(1))])
    kept = (total[across:] - total[:-across]) / total[-1] if total[-1] > 0 else np.ones(along - across + 1)
    off_centre = np.linspace(-1, 1, len(kept)) if len(kept) > 1 else np.zeros(1)
    return np.asarray(kept * (1 - CENTRE_PREFERENCE * off_centre**2))


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The picture with its header checked and its pixels not yet decoded; whatever goes wrong becomes a PhotoError."""
    _require_name(path)
    if path.suffix.lower() in RAW_SUFFIXES:
        raise _unusable(path, _IS_RAW)
    if says := heif.refusal(_first_bytes(path)):
        raise _unusable(path, says)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large pictures and odd metadata: the limits here are stricter
            with Image.open(path, formats=(*FORMATS, *heif.formats())) as image:
                _require_pixels(image, path)
                if image.format == "TIFF" and image.tag_v2.get(_SUBFILE_TYPE, 0) & 1:  # type: ignore[attr-defined]
                    raise _unusable(path, _IS_RAW)
                yield image
    except PhotoError:
        raise
    except Image.DecompressionBombError as error:
        limit = f"{MAX_PIXELS / 1e6:.0f} megapixels"
        raise _unusable(path, f"is larger than {limit}: make it smaller first") from error
    except UnidentifiedImageError as error:
        says = "is not a JPEG, PNG, WEBP, BMP, TIFF or GIF picture, or its start is damaged"
        raise _unusable(path, f"{says}: copy it again, or leave it out") from error
    except Exception as error:  # decoders raise all sorts of things on damaged files
        raise _unusable(path, f"is damaged ({error}): copy it again from where it came, or leave it out") from error


_IS_RAW = (
    "is a camera's RAW file, of which only a thumbnail could be read: save it as JPEG with the camera's own program or "
    "a RAW converter, and leave the RAW file out"
)


def _unusable(path: Path, why: str) -> PhotoError:
    return PhotoError([f"{path} {why}"])


def _require_name(path: Path) -> None:
    try:
        str(path.absolute()).encode("utf-8")
    except UnicodeEncodeError as error:
        shown = str(path).encode("utf-8", "backslashreplace").decode()
        raise PhotoError([f"{shown} has a name that is not UTF-8: rename it, or the folder it is in"]) from error


def _first_bytes(path: Path) -> bytes:
    if not path.is_file():  # a named pipe would block for ever
        there = path.exists() or path.is_symlink()
        raise _unusable(path, "is a folder, a broken link or no plain file" if there else "does not exist")
    try:
        with path.open("rb") as stream:
            start = stream.read(12)
    except OSError as error:
        raise _unusable(path, f"cannot be read ({error.strerror}): change its permissions or copy it") from error
    if not start:
        raise _unusable(path, "is empty (0 bytes): copy it again from where it came, or leave it out")
    return start


def _require_pixels(image: Image.Image, path: Path) -> None:
    width, height = image.size
    most = MAX_PIXELS // COPIES.get(image.format or "", 1)
    if width * height > most:
        limit = f"{most / 1e6:.0f} megapixels"
        raise _unusable(path, f"is {width} x {height} pixels, larger than {limit}: make it smaller first")
    if min(width, height) < MIN_SIDE:
        raise _unusable(path, f"is {width} x {height} pixels, too small: a photo needs {MIN_SIDE} a side, better 512")
    if image.mode in ("I", "F"):
        raise _unusable(path, f"holds measurements, not colours (mode {image.mode}): save it as 8-bit RGB first")


def _to_rgb(image: Image.Image, factor: int) -> Image.Image:
    """The picture's colours on white, each `factor` x `factor` pixels as one."""
    profile = image.info.get("icc_profile")
    width, height = image.size
    page = Image.new("RGB", (-(-width // factor), -(-height // factor)))
    rows = max(1, BAND // width // factor) * factor
    for top in range(0, height, rows):
        band = _band_to_rgb(image.crop((0, top, width, min(top + rows, height))), profile)
        page.paste(band.reduce(factor) if factor > 1 else band, (0, top // factor))
    return page


def _band_to_rgb(band: Image.Image, profile: bytes | None) -> Image.Image:
    if band.mode.startswith("I;16"):
        band = Image.fromarray((np.asarray(band) >> 8).astype(np.uint8))
    if not band.has_transparency_data:
        return _in_srgb(band.convert("RGB") if band.mode in ("P", "1") else band, profile)
    page, clear = Image.new("RGBA", band.size, "white"), band.convert("RGBA")
    colours = _in_srgb(clear.convert("RGB"), profile)
    colours.putalpha(clear.getchannel("A"))
    page.alpha_composite(colours)
    return page.convert("RGB")


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """RGB as a screen shows it: of a picture with a colour profile of its own, by that; a broken one is as none."""
    convert = _converter(profile, image.mode) if profile else None
    return image.convert("RGB") if convert is None else convert(image)


@lru_cache(maxsize=4)
def _converter(profile: bytes, mode: str) -> Callable[[Image.Image], Image.Image] | None:
    """What brings pictures of a profile and a mode to sRGB; None where they are there already, or none could."""
    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if ImageCms.getProfileDescription(own).startswith("sRGB"):
            return None
        transform = ImageCms.buildTransform(own, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        log.debug("a colour profile that does not fit its picture was left aside")
        return None

    def convert(image: Image.Image) -> Image.Image:
        return ImageCms.applyTransform(image, transform) or image.convert("RGB")

    return convert
