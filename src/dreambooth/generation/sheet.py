"""A contact sheet: labelled rows of pictures in groups, such as before | after."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from dreambooth.support.files import atomic_write

PAPER, INK, FAINT = (252, 251, 248), (28, 27, 25), (120, 116, 108)
GAP, GUTTER, MARGIN = 6, 28, 32
LABEL, HEADING = 18, 16
QUALITIES = (92, 86, 80, 72)
LARGEST = 65_500
"""Pixels of a side that a JPEG can have."""


@dataclass(frozen=True)
class Row:
    """Pictures under a label; each group has a heading ("before"), or "" for none."""

    label: str
    groups: tuple[tuple[str, tuple[Image.Image, ...]], ...]


def lay_out(rows: Sequence[Row], tile: int) -> Image.Image:
    """One RGB image of all rows, each picture fitted into `tile` x `tile` pixels and small ones enlarged.

    Groups stand side by side. Raises ValueError where there is nothing to show.
    """
    if not any(pictures for row in rows for _, pictures in row.groups):
        raise ValueError("a contact sheet needs at least one picture")
    label_font, heading_font = ImageFont.load_default(LABEL), ImageFont.load_default(HEADING)
    width = 2 * MARGIN + max(_row_width(row, tile) for row in rows)
    labels = [_wrapped(row.label, label_font, width - 2 * MARGIN) for row in rows]
    line = LABEL * 3 // 2
    heights = [
        len(lines) * line + _heading_height(row) + tile + GUTTER for row, lines in zip(rows, labels, strict=True)
    ]
    sheet = Image.new("RGB", (width, 2 * MARGIN - GUTTER + sum(heights)), PAPER)
    draw = ImageDraw.Draw(sheet)
    y = MARGIN
    for row, lines, height in zip(rows, labels, heights, strict=True):
        for at, text in enumerate(lines):
            draw.text((MARGIN, y + at * line), text, INK, label_font)
        top = y + len(lines) * line
        x = MARGIN
        for heading, pictures in row.groups:
            draw.text((x, top), heading, FAINT, heading_font)
            for picture in pictures:
                _place(sheet, picture, x, top + _heading_height(row), tile)
                x += tile + GAP
            x += GUTTER - GAP
        y += height
    return sheet


def save_below(sheet: Image.Image, target: Path, limit: int) -> None:
    """Write a JPEG of at most `limit` bytes: of lower quality where it must be, then smaller; whole or not at all.

    Raises DiskError where it cannot be written.
    """
    if max(sheet.size) > LARGEST:
        sheet = ImageOps.contain(sheet, (LARGEST, LARGEST))
    for quality in QUALITIES:
        buffer = io.BytesIO()
        sheet.save(buffer, format="JPEG", quality=quality, optimize=True, progressive=True)
        if buffer.tell() <= limit:
            with atomic_write(target) as aside:
                aside.write_bytes(buffer.getvalue())
            return
    smaller = sheet.resize((max(1, sheet.width * 4 // 5), max(1, sheet.height * 4 // 5)), Image.Resampling.LANCZOS)
    save_below(smaller, target, limit)


def fitted(picture: Image.Image, side: int) -> Image.Image:
    """The picture as RGB enlarged or reduced to `side` pixels on its longer side; nothing but pixels is kept."""
    scale = side / max(picture.size)
    resized = picture.convert("RGB").resize(
        (max(1, round(picture.width * scale)), max(1, round(picture.height * scale))), Image.Resampling.LANCZOS
    )
    resized.info.clear()  # a photo's comment and colour profile would be saved with it
    return resized


def _place(sheet: Image.Image, picture: Image.Image, x: int, y: int, tile: int) -> None:
    image = fitted(picture, tile)
    sheet.paste(image, (x + (tile - image.width) // 2, y + (tile - image.height) // 2))


def _row_width(row: Row, tile: int) -> int:
    widths = [len(pictures) * (tile + GAP) - GAP for _, pictures in row.groups]
    return sum(widths) + GUTTER * (len(widths) - 1)


def _heading_height(row: Row) -> int:
    return HEADING * 3 // 2 if any(heading for heading, _ in row.groups) else 0


def _wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
