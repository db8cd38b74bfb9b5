"""The picture to send to a friend: the photos, and the same thing drawn elsewhere; one file, readable on a phone."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from dreambooth.data.pictures import open_image
from dreambooth.errors import PhotoError
from dreambooth.generation.samples import Sample, opened
from dreambooth.generation.sheet import FAINT, INK, PAPER, save_below
from dreambooth.subject import IDENTIFIER_SLOT, Subject

WIDTH, MARGIN, GAP = 1080, 48, 14
TITLE, CAPTION = 60, 40
"""Pixels of the letters: on a phone that shows it 390 pixels wide they are 22 and 14."""
PHOTOS, SAMPLES = 5, 4
LIMIT = 500_000
"""Bytes: what messengers send as it is."""


def share_picture(target: Path, subject: Subject, samples: Sequence[Sample], tuned: bool = True) -> None:
    """Write a JPEG of the first photos and up to SAMPLES samples; nothing where there is none of either.

    tuned: whether the model that drew them was trained on the photos.
    """
    photos = list(islice((image for path in subject.photos if (image := _opened(path))), PHOTOS))
    if not photos or not samples:
        return
    shown = samples[: SAMPLES if len(samples) >= SAMPLES else 2 if len(samples) > 1 else 1]
    small, large = min(240, _side(len(photos))), _side(min(2, len(shown)))
    caption, rows = CAPTION * 3 // 2, -(-len(shown) // 2)
    height = 2 * MARGIN + 2 * (TITLE * 3 // 2) + small + GAP + rows * (large + caption) + GAP
    sheet = Image.new("RGB", (WIDTH, height), PAPER)
    draw, y = ImageDraw.Draw(sheet), MARGIN
    _line(draw, y, f"{_counted(len(subject.photos))} of one {subject.class_noun} …", TITLE, INK)
    y += TITLE * 3 // 2
    for at, photo in enumerate(photos):
        sheet.paste(_square(photo, small), (MARGIN + at * (small + GAP), y))
    y += small + GAP
    _line(draw, y, "… as its tuned model draws it:" if tuned else "… as words alone describe it:", TITLE, INK)
    y += TITLE * 3 // 2
    for at, sample in enumerate(shown):
        x, top = MARGIN + at % 2 * (large + GAP), y + at // 2 * (large + caption)
        sheet.paste(_square(opened(sample), large), (x, top))
        _line(
            draw,
            top + large + 4,
            sample.template.replace(IDENTIFIER_SLOT, subject.class_noun),
            CAPTION,
            FAINT,
            x,
            large,
        )
    save_below(sheet, target, LIMIT)


def _side(across: int) -> int:
    return (WIDTH - 2 * MARGIN - (across - 1) * GAP) // across


def _counted(number: int) -> str:
    return f"{number} photo{'s' if number != 1 else ''}"


def _square(image: Image.Image, side: int) -> Image.Image:
    return ImageOps.fit(image, (side, side), Image.Resampling.LANCZOS)


def _opened(path: Path) -> Image.Image | None:
    try:
        return open_image(path, at_least=480)
    except PhotoError:  # moved away: the report says so
        return None


def _line(
    draw: ImageDraw.ImageDraw, y: int, text: str, size: int, ink: tuple[int, int, int], x: int = MARGIN, room: int = 0
) -> None:
    """A line of text, in smaller letters where it would be wider than its room."""
    room = room or WIDTH - 2 * MARGIN
    while (font := ImageFont.load_default(size)).getlength(text) > room and size > CAPTION // 2:
        size -= 2
    draw.text((x, y), text, ink, font)
