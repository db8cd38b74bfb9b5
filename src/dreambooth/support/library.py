"""Where class images are kept between runs."""

import os
from pathlib import Path

from dreambooth.errors import DiskError


def default_library() -> Path:
    """The folder in $DREAMBOOTH_CACHE or the user's cache; raises DiskError where there is neither."""
    own, shared = os.environ.get("DREAMBOOTH_CACHE"), os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        return Path(own or Path(shared) / "dreambooth").expanduser() / "class-images"
    except RuntimeError as error:  # no HOME, and a user without an entry
        raise DiskError(
            "there is no home folder to keep class images in: set the environment variable DREAMBOOTH_CACHE to a "
            "folder that you may write to."
        ) from error
