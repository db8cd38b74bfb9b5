"""HEIC, as iPhones keep photos: read by pillow-heif (https://pypi.org/project/pillow-heif) where that is installed.

It is an extra, as it brings a decoder of its own, libheif, whose licence is the LGPL.
"""

from functools import cache

from dreambooth.support.picture_files import AVIF_BRANDS, is_heif


def refusal(start: bytes) -> str:
    """Why such a file cannot be read here, and what to do; empty where it can, or is another kind of file."""
    if not is_heif(start):
        return ""
    if start[8:12] in AVIF_BRANDS:
        return "is an AVIF picture: convert it to JPEG first"
    says = "is a HEIC picture: pip install 'dreambooth[heic]' to use it, or convert it to JPEG first"
    return "" if formats() else says


@cache
def formats() -> tuple[str, ...]:
    """What Pillow can decode because of it: its own name for HEIC, or nothing."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return ()
    register_heif_opener(thumbnails=False)
    return ("HEIF",)
