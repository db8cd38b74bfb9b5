"""Pictures that say inside themselves what they were drawn from, as PNG text."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from dreambooth.data.pictures import as_shown
from dreambooth.support.files import atomic_write


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One picture and what it was asked for; `prompt` is the template with its slot filled.

    weights: the fingerprint of the model that drew it, empty where nobody wrote it down.
    """

    path: Path
    prompt: str
    template: str
    kind: str
    seed: int
    weights: str = ""


def save_sample(image: Image.Image, path: Path, text: dict[str, str]) -> None:
    """Write a PNG with `text` inside, whole or not at all; raises DiskError where it cannot be written."""
    info = PngInfo()
    for key, value in text.items():
        info.add_text(key, value)
    with atomic_write(path) as aside:
        image.save(aside, format="PNG", pnginfo=info)


def text_of(path: Path) -> dict[str, str]:
    """What is written inside a picture; nothing where it is missing, damaged or not ours."""
    try:
        with Image.open(path, formats=["PNG"]) as image:
            image.load()
            return {str(key): value for key, value in image.info.items() if isinstance(value, str)}
    except (OSError, SyntaxError, ValueError):  # Pillow raises all three for damaged files
        return {}


def sample(path: Path, text: dict[str, str]) -> Sample:
    """The record of the picture at `path` that holds `text`."""
    asked = {name: text[name] for name in ("prompt", "template", "kind")}
    return Sample(path=path, **asked, seed=int(text["seed"]), weights=text.get("weights", ""))


def read_samples(folder: Path) -> list[Sample]:
    """The pictures that were saved to `folder`, in the order of their prompts; none where there is no folder."""
    found = [(path, text_of(path)) for path in sorted(folder.glob("*.png"))]
    return [sample(path, text) for path, text in found if {"prompt", "template", "kind", "seed"} <= text.keys()]


def drawn_by(model: Collection[Sample], samples: Sequence[Sample]) -> list[Sample]:
    """Those of `samples` that have the weights of the pictures of `model`; all of them where none says its weights."""
    weights = {sample.weights for sample in model} - {""}
    return [sample for sample in samples if not weights or sample.weights in weights]


def opened(sample: Sample) -> Image.Image:
    """The picture itself, as a photo is opened: upright, in sRGB, transparency on white."""
    with Image.open(sample.path) as image:
        return as_shown(image)
