"""LPIPS against the same network built of torch modules; the patch distance against its closed form."""

from itertools import combinations
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from dreambooth.config import Evaluation
from dreambooth.errors import ModelError
from dreambooth.evaluation import Judges, load_judges
from dreambooth.evaluation.perceptual import Lpips
from dreambooth.generation.photographs import PHOTOGRAPHS
from small_judges import pictures

WIDTHS = (64, 192, 384, 256, 256)


def alexnet() -> nn.Sequential:
    """AlexNet's five convolutions with random weights, cut where LPIPS compares."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Sequential(nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU()),
            nn.Sequential(nn.MaxPool2d(3, 2), nn.Conv2d(64, 192, 5, padding=2), nn.ReLU()),
            nn.Sequential(nn.MaxPool2d(3, 2), nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
            nn.Sequential(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
            nn.Sequential(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()),
        )


def published(net: nn.Sequential, heads: list[Tensor]) -> dict[str, Tensor]:
    """The weights by the names that `lpips.LPIPS(net="alex").state_dict()` gives them."""
    state = {}
    for block, index, number in zip(net, (0, 3, 6, 8, 10), range(5), strict=True):
        conv = next(layer for layer in block.children() if isinstance(layer, nn.Conv2d))
        state[f"net.slice{number + 1}.{index}.weight"] = conv.state_dict()["weight"]
        state[f"net.slice{number + 1}.{index}.bias"] = conv.state_dict()["bias"]
        state[f"lin{number}.model.1.weight"] = heads[number]
    return state


@torch.no_grad()
def direct(net: nn.Sequential, heads: list[Tensor], first: Image.Image, second: Image.Image) -> float:
    total = 0.0
    x = torch.stack([torch.tensor(list(image.get_flattened_data())) for image in (first, second)])
    x = x.view(2, first.height, first.width, 3).permute(0, 3, 1, 2) / 127.5 - 1
    x = (x - torch.tensor([-0.030, -0.088, -0.188])[:, None, None]) / torch.tensor([0.458, 0.448, 0.450])[:, None, None]
    for block, head in zip(net, heads, strict=True):
        x = block(x)
        unit = x / (x.norm(dim=1, keepdim=True) + 1e-10)
        total += nn.functional.conv2d((unit[:1] - unit[1:]) ** 2, head).mean().item()
    return total


@pytest.fixture(scope="module")
def heads() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(1, width, 1, 1, generator=generator) for width in WIDTHS]


def test_lpips_is_lpips(heads: list[Tensor], tmp_path: Path, judge_folders: Path) -> None:
    net = alexnet()
    (tmp_path / "lpips").mkdir()
    save_file(published(net, heads), tmp_path / "lpips" / "model.safetensors")
    folders = {name: str(judge_folders / name) for name in ("dino", "clip")}
    judges = load_judges(
        Evaluation(dino_model=folders["dino"], clip_model=folders["clip"], perceptual_model=str(tmp_path / "lpips")),
        PHOTOGRAPHS,
    )
    assert judges.perceptual.name.startswith("LPIPS lpips#")
    few = pictures(3, side=64)
    expected = [direct(net, heads, a, b) for a, b in combinations(few, 2)]
    assert judges.perceptual.among(few).tolist() == pytest.approx(expected, abs=1e-5)
    assert judges.perceptual.among(few[:1] * 3).tolist() == [0, 0, 0]
    assert judges.perceptual.among(few[:1]).shape == (0,)


def test_lpips_compares_pictures_of_one_size(heads: list[Tensor]) -> None:
    judge = Lpips(published(alexnet(), heads), "random")
    with pytest.raises(ValueError, match="one size"):
        judge.among([*pictures(1, side=64), *pictures(1, side=80)])


def test_weights_that_are_no_lpips(judge_folders: Path) -> None:
    folder = str(judge_folders / "dino")
    chosen = Evaluation(dino_model=folder, clip_model=str(judge_folders / "clip"), perceptual_model=folder)
    with pytest.raises(ModelError, match=r"is no LPIPS with AlexNet: it has no net\.slice1\.0\.weight"):
        load_judges(chosen, PHOTOGRAPHS)


def test_the_patch_distance_says_that_it_is_not_lpips_and_is_zero_for_equal_pictures(judges: Judges) -> None:
    assert "not LPIPS" in judges.perceptual.name and judges.dino.name in judges.perceptual.name
    few = pictures(3)
    assert judges.perceptual.among(few[:1] * 3).tolist() == [0, 0, 0]
    patches = judges.dino.patches(few)
    cosines = torch.stack([(patches[a] * patches[b]).sum(-1) for a, b in ((0, 1), (0, 2), (1, 2))])
    assert torch.allclose(judges.perceptual.among(few), (2 - 2 * cosines).mean((1, 2)), atol=1e-5)
