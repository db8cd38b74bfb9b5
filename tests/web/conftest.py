"""What the tests of the page use."""

import io
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from studio import Served, serving

if find_spec("fastapi") is None:  # the extra [web]; `make test` has it
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A studio without a key, as on one's own machine."""
    with serving(tmp_path / "studio") as its:
        yield its


@pytest.fixture(scope="session")
def jpegs() -> list[bytes]:
    """Three sharp photos of 640 x 480 pixels, each other than the others."""
    import numpy as np
    from PIL import Image

    found = []
    for number in range(3):
        dice = np.random.default_rng(number)
        rough = Image.fromarray(dice.integers(0, 255, (12, 16, 3), dtype=np.uint8)).resize(
            (640, 480), Image.Resampling.NEAREST
        )
        buffer = io.BytesIO()
        rough.save(buffer, format="JPEG", quality=90)
        found.append(buffer.getvalue())
    return found
