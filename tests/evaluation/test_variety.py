"""Effective scenes in closed form; scenes read off true renders."""

import math
import random

import pytest
import torch

from dreambooth.config import Evaluation
from dreambooth.evaluation import Judges, SceneReader, load_judges, metrics, variety
from dreambooth.evaluation.variety import effective, effective_error
from dreambooth.generation.photographs import PHOTOGRAPHS
from dreambooth.run.records import Variety
from dreambooth.toybox.home import TOYBOX
from dreambooth.toybox.world import CLASSES, SCENES, Shot, Toy
from rendered import drawn
from small_judges import pictures


def test_k_scenes_seen_equally_often_are_k_effective_ones() -> None:
    for k in range(1, 9):
        assert effective([3] * k + [0] * 4) == pytest.approx(k)


def test_a_scene_that_is_hardly_seen_hardly_counts() -> None:
    assert effective([8, 0]) == 1
    assert effective([7, 1]) == pytest.approx(8 / 7 ** (7 / 8))  # exp(-7/8 ln 7/8 - 1/8 ln 1/8)
    assert 1 < effective([7, 1]) < effective([6, 2]) < effective([4, 4]) == pytest.approx(2)


def test_no_pictures_have_no_scenes() -> None:
    with pytest.raises(ValueError, match="no pictures"):
        effective([0, 0])


def test_the_errors_are_those_of_drawing_again() -> None:
    """Many pictures drawn again and again scatter by as much as one draw says of itself."""
    seen = torch.Generator().manual_seed(0)
    often = torch.tensor([0.4, 0.3, 0.2, 0.1])
    draws = torch.multinomial(often, 2000 * 64, replacement=True, generator=seen).view(2000, 64)
    counts = [draw.bincount(minlength=4).tolist() for draw in draws]
    scattered = torch.tensor([effective(its) for its in counts]).log().std().item()
    assert sum(map(effective_error, counts)) / len(counts) == pytest.approx(scattered, rel=0.05)

    points = torch.randn(2000, 24, 3, generator=seen)
    pairs = [torch.pdist(point) for point in points]
    scattered = torch.stack([its.mean() for its in pairs]).std().item()
    errors = [metrics.div_error(its, 24) for its in pairs]
    assert sum(errors) / len(errors) == pytest.approx(scattered, rel=0.1)


def test_no_error_is_known_of_equal_counts_or_of_two_pictures() -> None:
    assert effective_error([3, 3, 0, 3]) == pytest.approx(0)
    assert metrics.div_error(torch.tensor([0.5]), 2) == math.inf


def test_variety_is_none_of_fewer_than_two_and_nothing_among_equal_ones(judges: Judges) -> None:
    assert variety(judges, pictures(1)) is None
    assert variety(judges, pictures(1) * 3) == Variety(div=0.0, scenes=None, pictures=3)
    found, distances = variety(judges, pictures(4)), judges.perceptual.among(pictures(4))
    assert found and found.div == pytest.approx(distances.mean().item())
    assert found.errors == {"div": pytest.approx(metrics.div_error(distances, 4) / found.div)}


def test_what_is_kept_is_a_share_of_the_untuned_models_number() -> None:
    before = Variety(div=0.8, scenes=5.0, pictures=8)
    assert Variety(div=0.2, scenes=6.0, pictures=8).kept(before) == {"div": 0.25, "scenes": 1.2}
    assert Variety(div=0.2, pictures=8).kept(before) == {"div": 0.25}
    assert Variety(div=0.2, scenes=6.0, pictures=4).kept(before) == {}
    assert Variety(div=0.2, pictures=8).kept(Variety(div=0.0, pictures=8)) == {}


def test_a_world_whose_scenes_nobody_wrote_down_has_no_reader(judges: Judges) -> None:
    assert SceneReader.of(judges, PHOTOGRAPHS, "a dog") is None


@pytest.mark.parametrize("class_noun", CLASSES)
def test_the_embedded_judge_reads_the_scenes_of_true_renders(class_noun: str) -> None:
    judges, rng = load_judges(Evaluation(), TOYBOX), random.Random(f"scenes/{class_noun}")
    reader = SceneReader.of(judges, TOYBOX, f"a {class_noun}")
    assert reader
    right = 0
    for at, scene in enumerate(SCENES):
        toys = [Toy.sample(class_noun, rng) for _ in range(3)]
        right += reader.counts(drawn(toys, [Shot.sample(class_noun, rng, plain=True) for _ in toys], scene))[at]
    assert right >= 0.95 * 3 * len(SCENES)


def test_one_toy_in_every_scene_has_them_all_and_on_one_floor_one() -> None:
    judges, rng = load_judges(Evaluation(), TOYBOX), random.Random("one toy")
    toy, reader = Toy.from_seed("dog", 7), SceneReader.of(judges, TOYBOX, "a dog")
    shots = [Shot.sample("dog", rng, plain=True) for _ in SCENES]
    everywhere = [picture for shot, scene in zip(shots, SCENES, strict=True) for picture in drawn([toy], [shot], scene)]
    there, here = variety(judges, everywhere, reader), variety(judges, drawn([toy] * 8, shots[:8], SCENES[0]), reader)
    assert there and there.scenes and there.scenes > 0.9 * len(SCENES)
    assert reader and there.errors["scenes"] == effective_error(reader.counts(everywhere))
    assert here and here.scenes == 1 and here.div < there.div
