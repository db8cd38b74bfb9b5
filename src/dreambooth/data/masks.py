"""Where the subject is in a photo, as its owner says: a mask beside it, or the photo's own transparency."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from dreambooth.data.pictures import SUFFIXES, alpha_of, open_image, upright_size
from dreambooth.errors import PhotoError
from dreambooth.support.progress import log

MASK = ".mask.png"
BESIDE = (".mask", "-masklabel")
"""How the mask of a photo is called after its name, with or without its suffix: rex.mask.png; the second is
OneTrainer's. Small and capital letters are the same, and any picture's suffix will do."""

LIGHT = 128
"""The least brightness of 255 that is the subject's."""


def is_mask(file: Path) -> bool:
    """Whether a file is no photo, but the mask of one."""
    return file.suffix.lower() in SUFFIXES and file.stem.lower().endswith(BESIDE)


def mask_of(photo: Path) -> Path | None:
    """The file that says where the subject is: one beside the photo, or the photo itself where parts are transparent.

    Raises PhotoError for a photo that cannot be used.
    """
    return _of(photo, _masks_in(photo.parent)) or (photo if alpha_of(photo) else None)


def masks_beside(photos: Sequence[Path]) -> list[Path]:
    """The files beside these photos that are masks of them."""
    masks = {folder: _masks_in(folder) for folder in {photo.parent for photo in photos}}  # each is looked into once
    return [mask for photo in photos if (mask := _of(photo, masks[photo.parent]))]


def open_mask(file: Path) -> Image.Image:
    """One channel of 8 bits, upright, 255 where the subject is: how opaque the picture is, or else how bright.

    Raises PhotoError.
    """
    return alpha_of(file) or open_image(file).convert("L")


def check_masks(photos: Sequence[Path], used: bool) -> None:
    """Raise PhotoError, with all problems, where the mask of a photo cannot be one.

    used: whether the training will use masks; where it will not, those beside the photos are named in a warning.
    """
    if not used:
        if beside := [mask.name for mask in masks_beside(photos)]:
            log.warning("masks are not used without --masked-loss: %s", ", ".join(beside))
        return
    problems: list[str] = []
    for photo in photos:
        try:
            mask = mask_of(photo)
            problems += [f"{mask} {problem}" for problem in _problems(photo, mask)] if mask else []
        except PhotoError as error:
            problems += error.problems
    if problems:
        raise PhotoError(problems)


def holds_subject(mask: Image.Image) -> bool:
    """Whether any place of it is the subject's."""
    return mask.getextrema()[1] >= LIGHT  # type: ignore[operator]  # of one channel it is a pair


def _masks_in(folder: Path) -> dict[str, Path]:
    """The masks in a folder by their names in small letters, without suffix."""
    try:
        files = sorted(folder.iterdir(), reverse=True)
    except OSError:  # reported by who opens the photos
        return {}
    return {file.stem.lower(): file for file in files if is_mask(file) and file.is_file()}


def _of(photo: Path, masks: Mapping[str, Path]) -> Path | None:
    names = [name.lower() + end for name in (photo.name, photo.stem) for end in BESIDE]
    return next((masks[name] for name in names if name in masks), None)


def _problems(photo: Path, file: Path) -> list[str]:
    mask, (width, height) = open_mask(file), upright_size(photo)
    if mask.size != (width, height):
        is_, was = (f"{size[0]} x {size[1]} pixels" for size in (mask.size, (width, height)))
        return [f"is {is_}, and its photo {photo.name} is {was}: a mask lies on its photo pixel by pixel"]
    if holds_subject(mask):
        return []
    if file == photo:
        return [
            "is transparent all over, and --masked-loss takes the opaque part of a photo for the subject: make the "
            f"subject opaque, save the photo without transparency, or put a mask beside it, {photo.stem}{MASK}"
        ]
    if alpha_of(file):
        return ["is transparent all over: make it opaque where the subject is, or paint it without transparency"]
    return ["is dark all over: paint the subject white, and all else black"]
