"""What the judges see among photos: another subject, a subject cut off, another class; nothing where nothing is."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from dreambooth.config import Evaluation
from dreambooth.data.pictures import open_image
from dreambooth.doctor.faults import ALL
from dreambooth.doctor.seen import examine_seen, others_subject
from dreambooth.evaluation import Judges, load_judges
from dreambooth.subject import Subject
from dreambooth.toybox.home import TOYBOX
from dreambooth.toybox.photos import photos
from dreambooth.toybox.world import CLASSES


@pytest.fixture(scope="module")
def judges() -> Judges:
    return load_judges(Evaluation(), TOYBOX)


@pytest.mark.parametrize("class_noun", CLASSES)
def test_photos_of_one_toy_have_no_fault(class_noun: str, judges: Judges, tmp_path: Path) -> None:
    for seed in (7, 450):
        mine = photos(class_noun, seed, 4, tmp_path / str(seed), 128)
        assert examine_seen(Subject(photos=tuple(mine), class_noun=class_noun), TOYBOX, judges) == []


@pytest.mark.parametrize("other", ["dog", "teapot"])
def test_another_subject_among_them_is_told(other: str, judges: Judges, tmp_path: Path) -> None:
    mine = photos("dog", 7, 3, tmp_path / "mine", 128)
    theirs = photos(other, 21, 1, tmp_path / "theirs", 128)[0].rename(tmp_path / "other.png")
    (fault,) = examine_seen(Subject(photos=(*mine, theirs), class_noun="dog"), TOYBOX, judges)
    assert fault.where == "other.png" and fault.says.startswith("seems to show another subject") and not fault.fatal


def test_another_subject_is_told_by_how_like_each_other_the_rest_are() -> None:
    def photos(*cosines: float) -> torch.Tensor:
        """The last has these cosines with the others, which are all the same."""
        same = torch.tensor([1.0, 0.0]).repeat(len(cosines), 1)
        return torch.cat([same, torch.tensor([[cosines[0], (1 - cosines[0] ** 2) ** 0.5]])])

    assert others_subject(photos(0.4, 0.4, 0.4)) == [3]
    assert others_subject(photos(0.4, 0.4)) == [2]
    assert others_subject(photos(0.6, 0.6, 0.6)) == []
    assert others_subject(photos(0.4)) == []  # of two, nobody knows which
    assert others_subject(torch.eye(4)) == []  # none is like another


def test_a_subject_that_the_training_square_cuts_is_told(judges: Judges, tmp_path: Path) -> None:
    mine = photos("car", 7, 4, tmp_path / "mine", 128)
    wide = open_image(mine[0]).crop((0, 50, 128, 94))  # as wide as the car and half as high
    wide.resize((384, 132), Image.Resampling.LANCZOS).save(tmp_path / "wide.png")
    faults = examine_seen(Subject(photos=(*mine, tmp_path / "wide.png"), class_noun="car"), TOYBOX, judges)
    assert [fault.where for fault in faults] == ["wide.png"]
    assert "of its subject outside the square that training sees" in faults[0].says


def test_another_class_is_told_with_the_judges_and_without(judges: Judges, tmp_path: Path) -> None:
    mine = tuple(photos("teapot", 7, 4, tmp_path / "mine", 128))
    for asked in (judges, None):
        (fault,) = examine_seen(Subject(photos=mine, class_noun="dog"), TOYBOX, asked)
        assert fault.where == ALL and "look like a teapot" in fault.says and "--class-noun" in fault.remedy
    assert examine_seen(Subject(photos=mine, class_noun=""), TOYBOX, judges) == []
