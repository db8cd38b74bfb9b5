"""Photos of toys are of the embedded world, others are not."""

from pathlib import Path

import pytest

from dreambooth.data.photos import photos_in
from dreambooth.evaluation import fit_of, unknown_class
from dreambooth.generation.photographs import PHOTOGRAPHS
from dreambooth.toybox.home import TOYBOX
from dreambooth.toybox.photos import photos
from dreambooth.toybox.world import CLASSES
from small_judges import pictures


@pytest.mark.parametrize("class_noun", CLASSES)
def test_photos_of_toys_are_of_the_embedded_world(class_noun: str, tmp_path: Path) -> None:
    for seed in (7, 450):
        fit = fit_of(photos(class_noun, seed, 4, tmp_path / str(seed), size=256), TOYBOX)
        assert fit and fit.likeness > fit.limit and not fit.foreign
        assert fit.says == ""


def test_other_pictures_are_not(photos_dir: Path, tmp_path: Path) -> None:
    for at, picture in enumerate(pictures(4, side=128)):
        picture.save(tmp_path / f"{at}.png")
    for folder in (tmp_path, photos_dir):
        fit = fit_of(photos_in(folder), TOYBOX)
        assert fit and fit.foreign
        assert "use a real base model with --model" in fit.says and f"{fit.likeness:.2f}" in fit.says


def test_of_other_base_models_nobody_wrote_down_what_they_can_draw(photos_dir: Path) -> None:
    assert fit_of(photos_in(photos_dir), PHOTOGRAPHS) is None


def test_a_class_noun_that_the_embedded_world_lacks_is_answered_with_those_it_has() -> None:
    said = unknown_class("red handbag", TOYBOX)
    assert '"red handbag"' in said and ", ".join(CLASSES) in said
    known = [*CLASSES, f"Toy {CLASSES[0].title()}"]
    assert not any(unknown_class(noun, TOYBOX) for noun in known) and not unknown_class("handbag", PHOTOGRAPHS)
