"""What every test may use: offline, one thread, own class images, and photos of something."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: tests run side by side


@pytest.fixture(scope="session", autouse=True)
def _own_class_images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Class images are kept in a folder of the tests, not in the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DREAMBOOTH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """No test cuts the power, so none waits for the disk; tests/support/test_files.py looks at the order of flushes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c() -> None:
    """Ctrl-C interrupts, also where a shell runs the tests in the background and has it ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def photos_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with four different pictures of 48 x 40 pixels and a text file; only to be read."""
    from PIL import Image, ImageDraw

    folder = tmp_path_factory.mktemp("photos")
    for number in range(4):
        picture = Image.new("RGB", (48, 40), (40 * number, 120, 200 - 40 * number))
        ImageDraw.Draw(picture).ellipse((8 + 4 * number, 6, 30 + 4 * number, 32), fill=(220, 60 + 20 * number, 30))
        picture.save(folder / f"{number}.png")
    (folder / "notes.txt").write_text("not a photo\n")
    return folder
