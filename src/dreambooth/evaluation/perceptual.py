"""How different two pictures look: LPIPS, and the same construction on a judge that is there anyway."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Self, final

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from dreambooth.errors import ModelError
from dreambooth.evaluation.base import PatchEmbedder, PerceptualDistance, Pictures
from dreambooth.evaluation.weights import Found
from dreambooth.support.device import device
from dreambooth.support.tensor_files import require_finite


@final
class PatchDistance(PerceptualDistance):
    """LPIPS' construction on another backbone: features of every block, of unit length, compared part by part.

    The mean over blocks and patches of |a - b|^2, in [0, 4], with no weights learned on top: the form that Zhang et al.
    2018 (https://arxiv.org/abs/1801.03924) start from. Its figures do not compare with those of LPIPS itself.
    """

    def __init__(self, backbone: PatchEmbedder) -> None:
        self.backbone = backbone
        self.name = f"patch distance on {backbone.name} (not LPIPS)"

    def among(self, pictures: Pictures) -> Tensor:
        seen = [self.backbone.patches([picture])[0] for picture in pictures]  # (h, w, L * D) each
        return _stacked([(a - b).square().sum(-1).mean() for a, b in combinations(seen, 2)])


_BLOCKS = (
    # name, stride, padding, whether pooling comes first: AlexNet's five, each compared after its rectifier
    ("net.slice1.0", 4, 2, False),
    ("net.slice2.3", 1, 2, True),
    ("net.slice3.6", 1, 1, True),
    ("net.slice4.8", 1, 1, False),
    ("net.slice5.10", 1, 1, False),
)
_KEYS = (
    *(f"{block}.{kind}" for block, *_ in _BLOCKS for kind in ("weight", "bias")),
    *(f"lin{number}.model.1.weight" for number in range(len(_BLOCKS))),
)
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of pictures in [-1, 1], as LPIPS has them


@final
class Lpips(PerceptualDistance):
    """LPIPS 0.1 with AlexNet (https://arxiv.org/abs/1801.03924), on pictures at their own size.

    weights: the state of `lpips.LPIPS(net="alex")` by its own names. Where lpips and torchvision are installed, with
    `from safetensors.torch import save_file`, this writes them to a folder:

        save_file({k: v.clone() for k, v in lpips.LPIPS(net="alex").state_dict().items()}, "lpips/model.safetensors")
    """

    def __init__(self, weights: Mapping[str, Tensor], name: str) -> None:
        missing = [key for key in _KEYS if key not in weights]
        if missing:
            raise ModelError(
                f"{name} is no LPIPS with AlexNet: it has no {missing[0]}. How to write such a folder is described in "
                "the docstring of dreambooth.evaluation.perceptual.Lpips."
            )
        self.name = f"LPIPS {name}"
        self.device = device()
        self.weights = {key: weights[key].float().to(self.device) for key in _KEYS}

    @classmethod
    def open(cls, found: Found) -> Self:
        """Raises ModelError where the weights are damaged or are no LPIPS."""
        paths = sorted(found.folder.glob("*.safetensors"))
        require_finite(f"the judge {found.name}", paths)
        try:
            files = [load_file(file) for file in paths]
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{found.name} could not be opened: {error}. Copy or download it again.") from error
        return cls({key: tensor for file in files for key, tensor in file.items()}, found.name)

    @torch.no_grad()
    def among(self, pictures: Pictures) -> Tensor:
        """Raises ValueError for pictures of more than one size."""
        if len(sizes := sorted({picture.size for picture in pictures})) > 1:
            raise ValueError(f"LPIPS compares pictures of one size, got {sizes[0]} and {sizes[-1]}")
        seen = [self._features(picture) for picture in pictures]
        return _stacked([self._distance(a, b) for a, b in combinations(seen, 2)])

    def _features(self, picture: Image.Image) -> list[Tensor]:
        """What each block sees, of unit length, (D, h, w) each."""
        shift, scale = (torch.tensor(values, device=self.device).view(3, 1, 1) for values in (_SHIFT, _SCALE))
        x, found = (_to_tensor(picture).to(self.device) - shift) / scale, []
        for block, stride, padding, pooled in _BLOCKS:
            x = F.max_pool2d(x, 3, 2) if pooled else x
            weight, bias = self.weights[f"{block}.weight"], self.weights[f"{block}.bias"]
            x = F.conv2d(x, weight, bias, stride, padding).relu()
            found.append(F.normalize(x, dim=0, eps=1e-10))
        return found

    def _distance(self, first: Sequence[Tensor], second: Sequence[Tensor]) -> Tensor:
        total = torch.zeros((), device=self.device)
        for number, (a, b) in enumerate(zip(first, second, strict=True)):
            total += (self.weights[f"lin{number}.model.1.weight"][0] * (a - b).square()).sum(0).mean()
        return total.cpu()


def _stacked(distances: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(distances)) if distances else torch.zeros(0)


def _to_tensor(picture: Image.Image) -> Tensor:
    """(3, H, W) in [-1, 1]."""
    return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1).float() / 127.5 - 1
