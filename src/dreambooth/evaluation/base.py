"""The contract of a judge: what the metrics need to know of it, and nothing else.

Shapes: N pictures or texts, D width, L blocks of a transformer, h w patches of a picture.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image
from torch import Tensor

Pictures = Sequence[Image.Image]
"""RGB pictures of any size; each judge brings them to its own."""


class ImageEmbedder(ABC):
    """Pictures -> points on a sphere: the closer two of them, the more similar to this judge."""

    name: str
    """Which weights judge, so that figures can be compared: "facebook/dino-vits16@<commit>"."""

    @abstractmethod
    def images(self, pictures: Pictures) -> Tensor:
        """(N, D) float32 of unit length, on the CPU."""


class TextImageEmbedder(ImageEmbedder):
    """A judge that also places sentences on its sphere, near the pictures that show them.

    scale: what its training multiplied cosines by before the softmax over sentences.
    """

    scale: float

    @abstractmethod
    def texts(self, texts: Sequence[str]) -> Tensor:
        """(N, D) float32 of unit length, on the CPU; what is longer than the judge can read is cut off."""


class PatchEmbedder(ImageEmbedder):
    """A judge that also says what is where: a vision transformer."""

    @abstractmethod
    def patches(self, pictures: Pictures) -> Tensor:
        """(N, h, w, L * D) float32 of unit length, on the CPU: each patch's features after every one of L blocks.

        Every block weighs the same: a cosine of two patches is the mean of the cosines after each block. It takes
        memory, 4 MB a picture with ViT-S/16: ask for few pictures at a time.
        """


class PerceptualDistance(ABC):
    """How different two pictures look, part by part: 0 for equal ones."""

    name: str

    @abstractmethod
    def among(self, pictures: Pictures) -> Tensor:
        """(N * (N - 1) / 2,) float32 on the CPU: the distance, >= 0, of every pair, as itertools.combinations has them.

        Memory grows with N: 4 MB a picture on the patches of ViT-S/16.
        """


@dataclass(frozen=True, kw_only=True)
class Judges:
    """Who measures: section 4.2's DINO and CLIP, and the perceptual distance of its DIV."""

    dino: PatchEmbedder
    clip: TextImageEmbedder
    perceptual: PerceptualDistance

    @property
    def names(self) -> dict[str, str]:
        """Each judge's name, to be printed with what it measured."""
        return {"dino": self.dino.name, "clip": self.clip.name, "perceptual": self.perceptual.name}
