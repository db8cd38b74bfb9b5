"""Pictures known by their first bytes, whatever they are called."""

from pathlib import Path

HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
"""How files begin, after four bytes of length and "ftyp" (ISO/IEC 23008-12)."""
AVIF_BRANDS = (b"avif", b"avis")

_STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"II*\0", b"MM\0*")


def is_picture(file: Path) -> bool:
    """Whether a file begins as a picture does; not where it cannot be read."""
    if not file.is_file():  # to open a named pipe would wait for ever
        return False
    try:
        with file.open("rb") as stream:
            start = stream.read(12)
    except OSError:
        return False
    return start.startswith(_STARTS) or (start[:4] == b"RIFF" and start[8:] == b"WEBP") or is_heif(start)


def is_heif(start: bytes) -> bool:
    """Whether a file that starts so is a HEIC or AVIF picture."""
    return start[4:8] == b"ftyp" and start[8:12] in (*HEIC_BRANDS, *AVIF_BRANDS)
