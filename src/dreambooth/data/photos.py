"""Photos as people have them: found in their folder, and checked before anything slow. They are only ever read."""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from PIL import Image

from dreambooth.data.masks import is_mask, masks_beside
from dreambooth.data.pictures import MIN_SIDE, RAW_SUFFIXES, SUFFIXES, open_image
from dreambooth.data.subfolders import photos_below, which_to_give
from dreambooth.errors import PhotoError
from dreambooth.support.files import at_home, sha256
from dreambooth.support.picture_files import is_picture
from dreambooth.support.progress import log, track

BESIDE_PHOTOS = (".txt", ".json", ".md", ".ini", ".db", ".aae", ".xmp")
"""Notes, captions and what systems leave in a folder of photos: skipped silently."""

CAPTIONS = (".txt", ".caption")
"""Where other trainers look for a photo's own caption, by the name of the photo."""

MANY = 20
"""Photos that take so long to decode that it is shown."""


def photos_in(folder: Path | str, quietly: bool = False) -> tuple[Path, ...]:
    """The picture files directly in `folder`, by name; or `folder` itself where it is a file.

    A picture is known by its suffix or by its first bytes. Hidden files and notes are skipped; any other file, and
    folders with pictures, are named in a warning, unless `quietly`. Raises PhotoError where there is no such folder or
    no picture in it.
    """
    folder = at_home(folder)
    if folder.is_file():
        return (folder,)
    if not folder.is_dir():
        raise PhotoError([f"{folder}: there is no such folder; give the folder that holds your photos"])
    try:
        visible = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except PermissionError as error:
        raise PhotoError([f"{folder}: you may not read it; change its permissions or copy the photos"]) from error
    files = [entry for entry in visible if not entry.is_dir()]
    photos = tuple(file for file in files if _is_photo(file))
    if not photos and (below := photos_below(folder, _is_photo)):
        raise PhotoError([f"{folder}: no photos in it itself, but {which_to_give(folder, below)}"])
    if not photos:
        skipped = [file.name for file in files if _is_stray(file)]
        found = f"only {', '.join(skipped[:5])}" if skipped else "none"
        raise PhotoError([f"{folder}: no photos in it ({found}); put three to five JPEG photos there"])
    for what, why in () if quietly else unused_in(folder, photos):
        log.warning("%s: %s: %s", folder, why, what)
    return photos


def unused_in(folder: Path, photos: Sequence[Path]) -> list[tuple[str, str]]:
    """What else is in a folder of photos that somebody may think is used: the names, and why it is not."""
    files = [entry for entry in sorted(folder.iterdir()) if not entry.is_dir() and not entry.name.startswith(".")]
    stems, masks = {photo.stem for photo in photos}, masks_beside(photos)
    found = {
        "skipped, as they are not pictures": [file.name for file in files if _is_stray(file)],
        "photos in its folders are not used": [
            f"{path.relative_to(folder)} ({count})" for path, count in photos_below(folder, _is_photo).items()
        ],
        "masks of no photo here are not used, they are called as theirs: rex.mask.png of rex.jpg": [
            file.name for file in files if is_mask(file) and file not in masks
        ],
        'captions are not used, every photo is captioned "a [identifier] [class noun]"': [
            file.name for file in files if file.suffix.lower() in CAPTIONS and file.stem in stems
        ],
    }
    return [(", ".join(names), why) for why, names in found.items() if names]


def names_of(photos: Sequence[Path]) -> list[str]:
    """What photos are called: by their file names, or where two share one, from the folder on that they share."""
    if len({photo.name for photo in photos}) == len({photo.absolute() for photo in photos}):
        return [photo.name for photo in photos]
    shared = Path(os.path.commonpath([photo.absolute().parent for photo in photos]))
    return [photo.absolute().relative_to(shared).as_posix() for photo in photos]


def content_of(photos: Sequence[Path]) -> dict[str, str]:
    """The SHA-256 of each photo by its name; empty for one that cannot be read."""
    found = {}
    for name, photo in zip(names_of(photos), photos, strict=True):
        found[name] = ""
        with suppress(OSError):
            found[name] = sha256(photo) if photo.is_file() else ""
    return found


def decoded(photos: Sequence[Path], at_least: int) -> Iterator[Image.Image | PhotoError]:
    """Each photo as `open_image` shows it, or what is wrong with it."""
    for photo in track(photos, "checking photos") if len(photos) > MANY else photos:
        try:
            yield open_image(photo, at_least)
        except PhotoError as error:
            yield error


def check_photos(photos: Sequence[Path]) -> None:
    """Decode every photo once; raises PhotoError with all problems."""
    if not photos:
        raise PhotoError(["there are none; three to five photos of the subject are usual"])
    found = [image for image in decoded(photos, MIN_SIDE) if isinstance(image, PhotoError)]
    if problems := [problem for error in found for problem in error.problems]:
        raise PhotoError(problems)


def _is_stray(file: Path) -> bool:
    return not (_is_photo(file) or is_mask(file)) and file.suffix.lower() not in (*BESIDE_PHOTOS, *CAPTIONS)


def _is_photo(file: Path) -> bool:
    if is_mask(file):
        return False
    return file.suffix.lower() in (*SUFFIXES, *RAW_SUFFIXES) or is_picture(file)
