"""Masks on patch features that are known, and with the embedded judge on toys whose true masks are known."""

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from benchmarks.masks import measure
from dreambooth.config.worlds import EMBEDDED
from dreambooth.evaluation.dino import Dino
from dreambooth.evaluation.masks import GREY, alone, look_of
from dreambooth.evaluation.weights import find

SIDE, WIDTH = 6, 32


def scenes(count: int, seed: int, places: Tensor) -> Tensor:
    """Patches (N, 6, 6, 32): pictures with backgrounds of their own, and one subject where `places` (N, 6, 6) says."""
    generator = torch.Generator().manual_seed(seed)
    subject = torch.randn(WIDTH, generator=torch.Generator().manual_seed(99))
    background = torch.randn(count, 1, 1, WIDTH, generator=generator)
    clean = torch.where(places[..., None], subject, background)
    return F.normalize(clean + 0.3 * torch.randn(count, SIDE, SIDE, WIDTH, generator=generator), dim=-1)


def somewhere(*corners: tuple[int, int]) -> Tensor:
    """Masks of a 3 x 3 subject with its upper left patch at each corner."""
    places = torch.zeros(len(corners), SIDE, SIDE, dtype=torch.bool)
    for place, (row, column) in zip(places, corners, strict=True):
        place[row : row + 3, column : column + 3] = True
    return places


PLACES = somewhere((1, 1), (2, 2), (1, 2), (2, 1))


@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_subject_is_found_in_its_photos(count: int) -> None:
    photos = scenes(count, 0, PLACES[:count])
    assert torch.equal(look_of(photos).evidence(photos) > 0, PLACES[:count])


def test_the_subject_is_found_in_scenes_never_seen() -> None:
    look = look_of(scenes(4, 0, PLACES))
    there = somewhere((1, 1), (2, 1))
    assert torch.equal(look.evidence(scenes(2, 7, there)) > 0, there)


def test_nothing_is_found_where_there_is_no_subject() -> None:
    look = look_of(scenes(4, 0, PLACES))
    assert (look.evidence(scenes(3, 8, torch.zeros(3, SIDE, SIDE, dtype=torch.bool))) < 0).all()


def test_alone_keeps_the_subject_and_greys_the_rest() -> None:
    picture = Image.new("RGB", (60, 60), (250, 10, 10))
    (left,) = alone([picture], somewhere((0, 0)).float() - 0.5)
    assert left.getpixel((10, 10)) == (250, 10, 10)
    assert left.getpixel((50, 50)) == GREY
    assert picture.getpixel((50, 50)) == (250, 10, 10)


def test_toys_are_found_better_than_by_pointing_at_the_middle() -> None:
    figures = measure(Dino.open(find(EMBEDDED, None, "dino")), "robot")
    assert figures["IoU photos"] > figures["IoU middle"] + 0.1
    assert figures["IoU new"] > figures["IoU middle"] + 0.1
    assert figures["AUC masked"] > 0.7
