"""Photos of toys are of the embedded world, others are not."""

from pathlib import Path

import pytest

from dreambooth.data.photos import photos_in
from dreambooth.evaluation import fit_of
from dreambooth.evaluation.foreign import LIMIT, Fit
from dreambooth.evaluation.weights import EMBEDDED
from dreambooth.toybox.photos import photos
from dreambooth.toybox.world import CLASSES
from small_judges import pictures


@pytest.mark.parametrize("class_noun", CLASSES)
def test_photos_of_toys_are_of_the_embedded_world(class_noun: str, tmp_path: Path) -> None:
    for seed in (7, 450):
        fit = fit_of(photos(class_noun, seed, 4, tmp_path / str(seed), size=256), EMBEDDED)
        assert fit and fit.likeness > LIMIT and not fit.foreign
        assert fit.record["says"] == ""


def test_other_pictures_are_not(photos_dir: Path, tmp_path: Path) -> None:
    for at, picture in enumerate(pictures(4, side=128)):
        picture.save(tmp_path / f"{at}.png")
    for folder in (tmp_path, photos_dir):
        fit = fit_of(photos_in(folder), EMBEDDED)
        assert fit and fit.foreign
        assert "use a real base model with --model" in fit.says and f"{fit.likeness:.2f}" in fit.says
        assert fit.record["foreign"] is True


def test_the_limit_itself_is_of_the_world() -> None:
    assert not Fit(likeness=LIMIT, limit=LIMIT, judge="x").foreign
    assert Fit(likeness=LIMIT - 1e-6, limit=LIMIT, judge="x").foreign


def test_of_other_base_models_nobody_wrote_down_what_they_can_draw(photos_dir: Path) -> None:
    assert fit_of(photos_in(photos_dir), "owner/name") is None
