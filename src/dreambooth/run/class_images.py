"""The schema of prior.json: which class images a run has, and what they depend on."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class ClassImage:
    """A class image: its name in the library's folder, and the seed it was drawn from."""

    name: str
    seed: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class DrawnWith:
    """All that class images depend on; they are kept by its hash. fingerprint: of the model's weights.  size: pixels.

    batch_size: how many were drawn at a time.  first_seed: that of image 0.
    """

    fingerprint: str
    prompt: str
    sampler: str
    num_inference_steps: int
    guidance_scale: float
    batch_size: int
    size: int
    first_seed: int


@dataclass(frozen=True, kw_only=True)
class ClassImages(DrawnWith):
    """The class images of a run: where they are, see places.py, and which. key: the name of their folder there."""

    key: str
    model: str
    count: int
    folder: Path
    files: tuple[ClassImage, ...]
