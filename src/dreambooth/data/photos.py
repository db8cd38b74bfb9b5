"""Photos as people have them: checked before anything slow, upright, in RGB, and cut square around their subject.

The originals are only ever read.
"""

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from dreambooth.errors import PhotoError
from dreambooth.support.files import sha256
from dreambooth.support.progress import log, track

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
"""What Pillow may decode; of several frames (phone JPEGs, GIF, TIFF) the first is used."""

MAX_PIXELS = 64_000_000
"""A larger picture is refused from its header, before it is decoded: 2 GB of pixels fit in a file of kilobytes."""

MIN_SIDE = 32
"""A shorter side, in pixels, shows no subject."""

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".mpo", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".heic", ".heif")
_RAW = """
    .3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .iiq .k25 .kdc .mef .mos .mrw .nef .nrw .orf .pef .raf .raw .rw2 .rwl .sr2
    .srf .srw .x3f
"""
RAW_SUFFIXES = tuple(_RAW.split())
"""Of cameras' own formats: Pillow finds nothing in most, and in the others a thumbnail of 160 x 120 pixels."""

BESIDE_PHOTOS = (".txt", ".json", ".md", ".ini", ".db", ".aae", ".xmp")
"""Notes, captions and what systems leave in a folder of photos: passed over silently."""

CAPTIONS = (".txt", ".caption")
"""Where other trainers look for a photo's own caption, by the name of the photo."""

DETAIL_SIDE = 32
"""Detail is measured at this size: the texture of grass or asphalt averages out, the outlines of things remain."""

CENTRE_PREFERENCE = 0.2
"""A square at an end of the picture counts this much less than one in the centre, which wins where all is flat."""

_ORIENTATION, _LYING = 0x0112, (5, 6, 7, 8)
"""The EXIF tag that says how a camera was held, and those of its values where width and height are exchanged."""

_SUBFILE_TYPE = 254
"""The TIFF tag whose lowest bit says that a picture is a smaller copy of another in the same file."""

_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"II*\0", b"MM\0*")
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis")


def photos_in(folder: Path | str) -> tuple[Path, ...]:
    """The picture files directly in `folder`, by name; or `folder` itself where it is a file.

    A picture is told by its suffix or by its first bytes. Hidden files, folders and notes are passed over; any other
    file is named in a warning. Raises PhotoError where there is no such folder or no picture in it.
    """
    folder = Path(folder).expanduser()
    if folder.is_file():
        return (folder,)
    if not folder.is_dir():
        raise PhotoError([f"{folder}: there is no such folder; give the folder that holds your photos"])
    try:
        visible = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except PermissionError as error:
        raise PhotoError([f"{folder}: you may not read it; change its permissions or copy the photos"]) from error
    files = [entry for entry in visible if not entry.is_dir()]
    known = (*SUFFIXES, *RAW_SUFFIXES)
    photos = tuple(file for file in files if file.suffix.lower() in known or _looks_like_a_picture(file))
    passed_over = [f.name for f in files if f not in photos and f.suffix.lower() not in (*BESIDE_PHOTOS, *CAPTIONS)]
    if not photos:
        deeper = [entry.name for entry in visible if entry.is_dir()]
        found = f"only {', '.join((passed_over or [f'the folder {name}' for name in deeper])[:5])}"
        found = found if passed_over or deeper else "none"
        raise PhotoError([f"{folder}: no photos in it ({found}); put three to five JPEG photos there"])
    if passed_over:
        log.warning("%s: not pictures, passed over: %s", folder, ", ".join(passed_over))
    stems = {photo.stem for photo in photos}
    if captions := [file.name for file in files if file.suffix.lower() in CAPTIONS and file.stem in stems]:
        log.warning(
            '%s: captions are not used, every photo is captioned "a [identifier] [class noun]": %s',
            folder,
            ", ".join(captions),
        )
    return photos


def content_of(photos: Sequence[Path]) -> dict[str, str]:
    """The SHA-256 of each photo by its path; empty for one that cannot be read."""
    return {str(photo.absolute()): _sha256(photo) for photo in photos}


def _sha256(photo: Path) -> str:
    try:
        return sha256(photo) if photo.is_file() else ""
    except OSError:
        return ""


def check_photos(photos: Sequence[Path]) -> None:
    """Decode every photo once; raises PhotoError with all problems, and warns about an unusual number or duplicates."""
    if not photos:
        raise PhotoError(["there are none; three to five photos of the subject are usual"])
    problems: list[str] = []
    same: dict[str, list[Path]] = {}
    for photo in track(photos, "checking photos") if len(photos) > 20 else photos:
        try:
            open_image(photo)
            same.setdefault(sha256(photo), []).append(photo)
        except PhotoError as error:
            problems += error.problems
    if problems:
        raise PhotoError(problems)
    for copies in same.values():
        if len(copies) > 1:
            log.warning("the same photo %d times: %s", len(copies), ", ".join(copy.name for copy in copies))
    if len(same) == 1:
        log.warning("one photo only: its scene will be learned with the subject; three to five work better")
    elif len(photos) > 20:
        log.warning("%d photos: are all of them of one and the same subject? three to five are usual", len(photos))


def size_of(path: Path) -> tuple[int, int]:
    """The picture's sides in pixels, as stored (a phone may store it lying down). Raises PhotoError."""
    with _opened(path) as image:
        return image.size


def upright_size(path: Path) -> tuple[int, int]:
    """Width and height of the picture as `open_image` shows it. Raises PhotoError."""
    with _opened(path) as image:
        lying = image.getexif().get(_ORIENTATION, 1) in _LYING
        return (image.height, image.width) if lying else image.size


def open_image(path: Path, at_least: int | None = None) -> Image.Image:
    """The picture, upright, in sRGB whatever its own colours are, transparency on white.

    at_least: a smaller copy will do, of no fewer pixels a side; JPEGs then decode faster. Raises PhotoError.
    """
    with _opened(path) as image:
        if at_least is not None:
            image.draft(None, (at_least, at_least))
        return _to_rgb(ImageOps.exif_transpose(image), path)


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


def _looks_like_a_picture(file: Path) -> bool:
    if not file.is_file():  # to open a named pipe would wait for ever
        return False
    try:
        with file.open("rb") as stream:
            start = stream.read(12)
    except OSError:
        return False
    return start.startswith(_MAGIC) or (start[:4] == b"RIFF" and start[8:] == b"WEBP") or _is_heif(start)


def _is_heif(start: bytes) -> bool:
    return start[4:8] == b"ftyp" and start[8:12] in _HEIF_BRANDS


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The picture with its header checked and its pixels not yet decoded; whatever goes wrong becomes a PhotoError."""
    _require_name(path)
    if path.suffix.lower() in RAW_SUFFIXES:
        raise _unusable(path, _IS_RAW)
    if _is_heif(_first_bytes(path)):
        raise _unusable(path, "is a HEIC or AVIF picture: convert it to JPEG first")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large pictures and odd metadata: the limits here are stricter
            with Image.open(path, formats=FORMATS) as image:
                _require_size(image, path)
                if image.format == "TIFF" and image.tag_v2.get(_SUBFILE_TYPE, 0) & 1:  # type: ignore[attr-defined]
                    raise _unusable(path, _IS_RAW)
                yield image
    except PhotoError:
        raise
    except Image.DecompressionBombError as error:
        limit = f"{MAX_PIXELS / 1e6:.0f} megapixels"
        raise _unusable(path, f"is larger than {limit}: make it smaller first") from error
    except UnidentifiedImageError as error:
        raise _unusable(path, "is not a JPEG, PNG, WEBP, BMP, TIFF or GIF picture, or its start is damaged") from error
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


def _require_size(image: Image.Image, path: Path) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        limit = f"{MAX_PIXELS / 1e6:.0f} megapixels"
        raise _unusable(path, f"is {width} x {height} pixels, larger than {limit}: make it smaller first")
    if min(width, height) < MIN_SIDE:
        raise _unusable(path, f"is {width} x {height} pixels, too small: a photo needs {MIN_SIDE} a side, better 512")


def _to_rgb(image: Image.Image, path: Path) -> Image.Image:
    profile = image.info.get("icc_profile")
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise _unusable(path, f"holds measurements, not colours (mode {image.mode}): save it as 8-bit RGB first")
    if not image.has_transparency_data:
        return _in_srgb(image.convert("RGB") if image.mode in ("P", "1") else image, profile)
    page, clear = Image.new("RGBA", image.size, "white"), image.convert("RGBA")
    colours = _in_srgb(clear.convert("RGB"), profile)
    colours.putalpha(clear.getchannel("A"))
    page.alpha_composite(colours)
    return page.convert("RGB")


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """RGB as a screen shows it: of a picture with a colour profile of its own, by that; a broken one is as none."""
    if profile:
        try:
            own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if not ImageCms.getProfileDescription(own).startswith("sRGB"):
                screen = ImageCms.createProfile("sRGB")
                converted = ImageCms.profileToProfile(image, own, screen, outputMode="RGB")
                return converted or image.convert("RGB")
        except (ImageCms.PyCMSError, OSError, ValueError):
            log.debug("a colour profile that does not fit its picture was left aside")
    return image.convert("RGB")
