"""Where what is worth keeping from one run to the next lies on this machine."""

import os
from pathlib import Path

from dreambooth.errors import DiskError


def cache_folder() -> Path:
    """$DREAMBOOTH_CACHE, $XDG_CACHE_HOME/dreambooth or ~/.cache/dreambooth; it may not be there yet.

    Raises DiskError where nothing says which.
    """
    own, shared = os.environ.get("DREAMBOOTH_CACHE"), os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        return Path(own or Path(shared) / "dreambooth").expanduser()
    except RuntimeError as error:  # no HOME, and a user without an entry
        raise DiskError(
            "there is no home folder to keep class images in: set the environment variable DREAMBOOTH_CACHE to a "
            "folder that you may write to."
        ) from error


def default_library() -> Path:
    """Where class images are kept between runs; raises DiskError as `cache_folder` does."""
    return cache_folder() / "class-images"
