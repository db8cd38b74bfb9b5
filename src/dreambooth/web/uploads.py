"""Photos as they come from a phone: written as they arrive, checked one by one, kept upright and without metadata.

What was uploaded is deleted once it is read: place, camera and time go with it.
"""

import secrets
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from dreambooth.data.pictures import RAW_SUFFIXES, SUFFIXES, crop_square, open_image, square_scores
from dreambooth.errors import PhotoError
from dreambooth.web.looks import cautions, look_of
from dreambooth.web.records import Crop, Photo
from dreambooth.web.refusal import Refusal
from dreambooth.web.studio import INCOMING

MOST_PHOTOS = 20
LARGEST = 32 * 2**20
"""Bytes of one photo: a phone's largest JPEG has half of it."""
LONGEST = 4096
"""Pixels of the longer side that are kept; a model learns at a quarter of it."""
LOSSLESS = 1_000_000
"""Pixels up to which a photo is kept as PNG: rendered ones and drawings."""

SHOWN = 80
"""Letters of a file's name that are kept to be shown."""


def place_for(folder: Path, name: str) -> Path:
    """A new file in `folder` to write an upload to; its name is ours, its ending one that photos have, or none."""
    ending = Path(name).suffix.lower()
    incoming = folder / INCOMING
    incoming.mkdir(exist_ok=True)
    return incoming / f"{secrets.token_hex(6)}{ending if ending in (*SUFFIXES, *RAW_SUFFIXES) else ''}"


def shown_name(name: str) -> str:
    """What an upload is called on the page: one line, the end of a long name."""
    plain = "".join(letter for letter in name if letter.isprintable()).strip()
    return plain[-SHOWN:] or "photo"


def receive(folder: Path, incoming: Path, name: str, others: Sequence[Photo]) -> Photo:
    """Check an upload and keep it in folder/originals; what cannot be used is told in the photo's `refused`.

    others: the photos that are there.
    """
    photo = Photo(id=incoming.stem, name=name)
    try:
        image = open_image(incoming)
    except PhotoError as error:
        return replace(photo, refused=_sentence(error, incoming))
    finally:
        incoming.unlink(missing_ok=True)
    image.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
    looks = [(other.name, other.look) for other in others if other.look]
    return replace(
        photo,
        width=image.width,
        height=image.height,
        cautions=cautions(image, looks),
        best=best_square(image),
        look=look_of(image),
        file=_keep(image, folder / "originals", photo.id),
    )


def best_square(image: Image.Image) -> Crop:
    """The square that a training cuts from a photo by itself (--crop subject)."""
    short = min(image.size)
    scores = square_scores(image)
    offset = int(scores.argmax()) / max(len(scores) - 1, 1)
    left, top = (round(offset * (length - short)) for length in image.size)
    return Crop(left=left, top=top, side=short)


def require_crop(photo: Photo, crop: Crop) -> None:
    """Raise Refusal unless the square lies within the photo and shows something."""
    inside = crop.left + crop.side <= photo.width and crop.top + crop.side <= photo.height
    if min(crop.left, crop.top) < 0 or crop.side < 32 or not inside:
        raise Refusal(422, "This square is not inside the photo, or smaller than 32 pixels: draw it again.")


def write_photos(draft: Path, photos: Sequence[Photo]) -> Path:
    """The photos as a training takes them, cut where the user drew a square; returns their folder."""
    folder = draft / "photos"
    shutil.rmtree(folder, ignore_errors=True)  # of a start that did not come to its end
    folder.mkdir()
    for number, photo in enumerate(photo for photo in photos if not photo.refused):
        original = draft / "originals" / photo.file
        image = open_image(original)
        if photo.crop:
            box = photo.crop
            image = image.crop((box.left, box.top, box.left + box.side, box.top + box.side))
        _keep(image, folder, f"{number:02d}")
    return folder


def thumbnail(image: Image.Image, side: int, square: bool = False) -> Image.Image:
    """The picture with its longer side at most `side` pixels, or its middle square of that side."""
    if square:
        return crop_square(image, 0.5, min(side, *image.size))
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return image


def _keep(image: Image.Image, folder: Path, stem: str) -> str:
    """Save nothing but pixels; returns the file's name."""
    folder.mkdir(exist_ok=True)
    if image.width * image.height <= LOSSLESS:
        image.save(folder / f"{stem}.png", format="PNG")
        return f"{stem}.png"
    image.save(folder / f"{stem}.jpg", format="JPEG", quality=95, subsampling=0)
    return f"{stem}.jpg"


def _sentence(error: PhotoError, file: Path) -> str:
    """What is wrong, without the name that the file has here."""
    said = error.problems[0].removeprefix(str(file)).strip().removeprefix(":").strip()
    fault, colon, mend = said.partition(": ")
    return f"It {fault}. {mend[:1].upper()}{mend[1:]}." if colon else f"It {said}."
