"""The class noun that photos suggest, by the embedded CLIP and by one that knows nothing."""

from pathlib import Path

import pytest

from dreambooth import __version__, cli
from dreambooth.class_noun import CERTAIN, Reading, classified, doubt, read_class_noun, suggested
from dreambooth.errors import PromptError
from dreambooth.evaluation.clip import Clip
from dreambooth.evaluation.scores import open_squares
from dreambooth.generation.photographs import NOUNS, PHOTOGRAPHS
from dreambooth.toybox.home import TOYBOX
from dreambooth.toybox.photos import photos
from dreambooth.toybox.world import CLASSES
from small_judges import clip_parts, pictures


@pytest.mark.parametrize("class_noun", CLASSES)
def test_four_photos_of_a_toy_say_what_it_is(class_noun: str, tmp_path: Path) -> None:
    reading = read_class_noun(photos(class_noun, 902, 4, tmp_path / "photos", 128), TOYBOX)
    assert reading.noun == class_noun
    assert sum(reading.shares.values()) == pytest.approx(1, abs=1e-5) and set(reading.shares) == set(CLASSES)


def test_a_clip_that_knows_nothing_cannot_tell(tmp_path: Path) -> None:
    taken = open_squares(photos("dog", 902, 4, tmp_path / "photos", 128))
    shares = classified(Clip(*clip_parts(), name="random"), taken, NOUNS)
    assert len(shares) == len(NOUNS) and max(shares.values()) < 0.1 < CERTAIN
    assert Reading(shares=shares).noun is None


def test_photos_of_nothing_in_the_world_suggest_no_noun() -> None:
    assert Reading(shares={"dog": 1.0}, foreign="these photos do not look like toys").noun is None


def test_a_noun_that_the_model_does_not_know_and_one_that_the_photos_contradict_are_told() -> None:
    reading = Reading(shares={"cat": 0.97, "dog": 0.01})
    assert 'does not know "corgi"' in doubt("corgi", reading, TOYBOX)
    assert "look like a cat (97%" in doubt("dog", reading, PHOTOGRAPHS)
    assert doubt("cat", reading, TOYBOX) == doubt("Toy Cat", reading, TOYBOX) == ""
    assert doubt("corgi", reading, PHOTOGRAPHS) == ""  # not in the vocabulary, which says nothing of it
    assert doubt("teddy bear", Reading(shares={"teddy bear": 0.98, "bear": 0.01}), PHOTOGRAPHS) == ""
    assert doubt("dog", Reading(shares={"cat": 0.9, "dog": 0.1}), PHOTOGRAPHS) == ""  # not surely another
    assert doubt("dog", Reading(shares={"cat": 0.3, "dog": 0.01}), PHOTOGRAPHS) == ""  # CLIP cannot tell


def test_without_a_noun_the_run_takes_the_one_the_photos_show_or_says_that_it_cannot_tell(tmp_path: Path) -> None:
    assert suggested(photos("teapot", 902, 4, tmp_path / "teapot", 128), TOYBOX) == "teapot"
    noise = [tmp_path / f"{at}.png" for at in range(3)]
    for picture, path in zip(pictures(3, 128), noise, strict=True):
        picture.save(path)
    with pytest.raises(PromptError, match=r"(?s)do not look like toys.*--class-noun dog"):
        suggested(noise, TOYBOX)


def test_the_command_prints_the_likeliest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos("car", 902, 4, tmp_path / "car", 128)
    assert cli.main(["class-noun", str(tmp_path / "car")], __version__) == 0
    first, *others = capsys.readouterr().out.splitlines()
    assert first.split()[0] == "car" and first.endswith("%") and len(others) == 2
