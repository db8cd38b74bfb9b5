"""The numbers of a set of pictures: from photos on disk to Scores."""

from dataclasses import asdict, fields, replace
from pathlib import Path
from statistics import fmean

import pytest
import torch
from PIL import Image
from torch import Tensor

from dreambooth.data.photos import photos_in
from dreambooth.errors import PhotoError
from dreambooth.evaluation import Judges, Photos, measure_photos, score, score_each, scored_prompt
from dreambooth.evaluation.masks import Look
from dreambooth.evaluation.scores import Seen
from dreambooth.run.records import Scores
from dreambooth.subject import Subject
from small_judges import pictures

PROMPTS = ["a dog in the snow", "a dog in the snow", "a red dog", "a dog"]
PER_PICTURE = ("dino", "median_dino", "clip_i", "clip_t", "masked_dino", "nearest_photo")


class Blind(Look):
    """Finds the subject nowhere."""

    def evidence(self, patches: Tensor) -> Tensor:
        """Below 0 throughout."""
        return -torch.ones(patches.shape[:3])


@pytest.fixture(scope="module")
def photos(judges: Judges, photos_dir: Path) -> Photos:
    return measure_photos(judges, photos_in(photos_dir))


def test_photos_are_measured_as_squares(photos: Photos, judges: Judges, photos_dir: Path) -> None:
    assert (
        photos.seen.dino.shape == (4, 32) and photos.seen.clip.shape == (4, 24) and photos.seen.masked.shape == (4, 32)
    )
    squashed = judges.dino.images([Image.open(photo).convert("RGB") for photo in photos_in(photos_dir)])
    assert not torch.allclose(photos.seen.dino, squashed, atol=1e-3)


def test_the_means_of_single_pictures_are_those_of_all(photos: Photos, judges: Judges) -> None:
    few = pictures(4)
    together, single = score(judges, photos, few, PROMPTS), score_each(judges, photos, few, PROMPTS)
    for name in PER_PICTURE:
        values = [value for one in single if (value := getattr(one, name)) is not None]  # masked: where it is found
        assert getattr(together, name) == pytest.approx(fmean(values), abs=1e-6), name
    assert all(one.pres is None and one.div is None for one in single)
    assert len({one.dino for one in single}) == 4


def test_a_picture_without_the_subject_has_no_masked_score(photos: Photos, judges: Judges) -> None:
    few = pictures(4)
    blind = replace(photos, look=Blind(subject=photos.look.subject))
    assert score(judges, blind, few, PROMPTS).masked_dino is None
    assert {one.masked_dino for one in score_each(judges, blind, few, PROMPTS)} == {None}
    assert score(judges, blind, few, PROMPTS).dino == score(judges, photos, few, PROMPTS).dino


def test_diversity_is_measured_within_a_prompt(photos: Photos, judges: Judges) -> None:
    few = pictures(4)
    pair = judges.perceptual.among(few[:2]).item()
    assert score(judges, photos, few, PROMPTS).div == pytest.approx(pair)
    assert score(judges, photos, [few[0], few[0]], PROMPTS[:2]).div == 0
    assert score(judges, photos, few[1:], PROMPTS[1:]).div is None


def test_pres_needs_pictures_of_the_class(photos: Photos, judges: Judges) -> None:
    few = pictures(4)
    assert score(judges, photos, few, PROMPTS).pres is None
    with_class = score(judges, photos, few[:2], PROMPTS[:2], class_pictures=few)
    assert with_class.pres == pytest.approx(score(judges, photos, few, PROMPTS).dino)


def test_copies_show_by_the_nearest_photo(photos: Photos, judges: Judges, photos_dir: Path, tmp_path: Path) -> None:
    square = Image.open(photos_in(photos_dir)[0]).convert("RGB").crop((0, 0, 40, 40))
    square.save(tmp_path / "square.png")
    own = measure_photos(judges, [tmp_path / "square.png"])
    copied = score(judges, own, [square], ["a dog"])
    assert copied.nearest_photo == pytest.approx(1) and copied.dino == pytest.approx(1)
    assert copied.masked_dino == pytest.approx(1)
    assert own.real_row == Scores()


def test_the_real_row_has_what_photos_can_tell(photos: Photos) -> None:
    row = asdict(photos.real_row)
    told = {"dino", "median_dino", "clip_i", "masked_dino", "nearest_photo"}
    assert {name for name, value in row.items() if value is not None} == told
    cosines = photos.seen.dino @ photos.seen.dino.T
    assert row["dino"] == pytest.approx(((cosines.sum() - 4) / 12).item(), abs=1e-6)


def test_one_odd_photo_changes_no_ceiling_that_pictures_meet_by_the_median_photo() -> None:
    usual, odd = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    of_all = torch.stack([usual, usual, usual, odd])
    seen = Seen(dino=of_all, clip=of_all, masked=of_all, found=torch.ones(4, dtype=torch.bool))
    real = Photos(seen=seen, look=Look(subject=usual)).real_row
    assert (real.masked_dino, real.median_dino, real.nearest_photo) == (1, 1, 1)
    assert real.dino == real.clip_i == 0.5


def test_every_picture_needs_its_prompt(photos: Photos, judges: Judges) -> None:
    for measure in (score, score_each):
        with pytest.raises(ValueError, match="every picture needs its prompt"):
            measure(judges, photos, pictures(3), PROMPTS)
        with pytest.raises(ValueError, match="every picture needs its prompt"):
            measure(judges, photos, [], [])


def test_a_photo_that_cannot_be_opened(judges: Judges, tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match="does not exist"):
        measure_photos(judges, [tmp_path / "gone.jpg"])


def test_the_scored_prompt_has_the_class_noun_only() -> None:
    subject = Subject(photos=(), class_noun="dog", identifier="sks")
    assert scored_prompt("a {} in the snow", subject) == "a dog in the snow"
    assert scored_prompt("a sks dog in the snow", subject) == "a dog in the snow"
    assert scored_prompt("a {}", Subject(photos=(), class_noun="dog")) == "a dog"


def test_scores_are_empty_until_measured() -> None:
    assert all(getattr(Scores(), field.name) is None for field in fields(Scores))
