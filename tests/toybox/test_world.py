"""The toybox: the same inputs give the same picture, the truth survives a round trip, words cover captions."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from dreambooth.toybox.captions import caption, description, words
from dreambooth.toybox.colours import COLOURS, distance, name_of
from dreambooth.toybox.famous import famous_toys
from dreambooth.toybox.photos import photos
from dreambooth.toybox.render import render, render_mask
from dreambooth.toybox.world import (
    ACCESSORIES,
    CLASSES,
    MARKINGS,
    PATTERNS,
    PROPORTIONS,
    SCENES,
    STYLES,
    VIEWS,
    WEARERS,
    Marking,
    Shot,
    Toy,
)


def sample(count: int, seed: int = 0) -> tuple[list[Toy], list[Shot]]:
    rng = random.Random(seed)
    nouns = [CLASSES[i % len(CLASSES)] for i in range(count)]
    return [Toy.sample(noun, rng) for noun in nouns], [Shot.sample(noun, rng) for noun in nouns]


def still(**changes: object) -> Shot:
    """One fixed shot, so that pictures differ by the toy alone."""
    shot = Shot.sample("dog", random.Random(5), plain=True)
    return Shot.from_dict(shot.as_dict() | {"yaw": 40.0, "offset": [0, 0], "scene": "on the grass"} | changes)


@pytest.mark.parametrize("size", [64, 128])
def test_pictures_have_shape_range_and_depend_on_their_inputs_alone(size: int) -> None:
    toys, shots = sample(12)
    pictures = render(toys, shots, size)
    assert pictures.shape == (12, 3, size, size) and pictures.dtype == torch.float32
    assert pictures.isfinite().all() and pictures.min() >= 0 and pictures.max() <= 1
    assert torch.equal(pictures, render(toys, shots, size))


def test_a_picture_does_not_depend_on_its_batch() -> None:
    toys, shots = sample(24)
    together = render(toys, shots, 64)
    alone = torch.cat([render([toy], [shot], 64) for toy, shot in zip(toys, shots, strict=True)])
    # Rounding may move an outline, never more than a few pixels.
    assert ((together - alone).abs().amax(1) > 1e-3).float().mean() < 1e-3


def test_larger_pictures_show_the_same_thing() -> None:
    toys, shots = sample(12, seed=1)
    photo = [replace(shot, style="") for shot in shots]
    small, large = render(toys, photo, 64), render(toys, photo, 128)
    assert (torch.nn.functional.avg_pool2d(large, 2) - small).abs().mean() < 0.01


def test_toys_and_shots_survive_json() -> None:
    for toy, shot in zip(*sample(60, seed=2), strict=True):
        assert Toy.from_dict(json.loads(json.dumps(toy.as_dict()))) == toy
        assert Shot.from_dict(json.loads(json.dumps(shot.as_dict()))) == shot


def test_a_seed_names_one_matte_subject() -> None:
    for noun in CLASSES:
        subjects = [Toy.from_seed(noun, seed) for seed in range(20)]
        assert subjects[3] == Toy.from_seed(noun, 3)
        assert len(set(subjects)) == 20
        assert {toy.material for toy in subjects} == {"matte"}
    pictures = render([Toy.from_seed("dog", seed) for seed in range(4)], [still()] * 4, 64)
    assert all((pictures[0] - pictures[i]).abs().mean() > 0.003 for i in range(1, 4))


def test_plain_shots_show_the_subject_and_nothing_else() -> None:
    rng = random.Random(3)
    shots = [Shot.sample("cat", rng, plain=True) for _ in range(200)]
    assert {(shot.accessory, shot.view, shot.style) for shot in shots} == {("", "", "")}
    assert {shot.scene for shot in shots} == set(SCENES)


def test_sampling_covers_the_world() -> None:
    toys, shots = sample(1800, seed=4)
    assert {toy.colour for toy in toys} == set(COLOURS)
    assert {toy.pattern for toy in toys} == set(PATTERNS)
    assert {shot.view for shot in shots} == set(VIEWS) and {shot.style for shot in shots} == set(STYLES)
    assert {shot.accessory for shot in shots} == set(ACCESSORIES)
    assert all(toy.class_noun in WEARERS for toy, shot in zip(toys, shots, strict=True) if shot.accessory)


def test_silhouettes_tell_the_classes_apart() -> None:
    toys = [replace(Toy.from_seed(noun, 0), proportions=(0.0,) * PROPORTIONS) for noun in CLASSES]
    masks = render_mask(toys, [still()] * len(toys), 64)[:, 0]
    assert all(0.12 < float(mask.mean()) < 0.7 for mask in masks)
    for i in range(len(toys)):
        for k in range(i):
            union, common = torch.maximum(masks[i], masks[k]).sum(), torch.minimum(masks[i], masks[k]).sum()
            assert common / union < 0.8, (CLASSES[i], CLASSES[k])


def test_the_toy_wears_its_colour_and_masks_leave_out_what_it_wears() -> None:
    toy = replace(Toy.from_seed("robot", 1), main=COLOURS["red"], pattern="plain", markings=())
    bare, hatted = still(), still(accessory="a black top hat")
    red, green, _ = (render([toy], [bare], 64) * render_mask([toy], [bare], 64)).sum((0, 2, 3))
    assert red > 1.5 * green
    assert render_mask([toy], [hatted], 64).sum() < render_mask([toy], [bare], 64).sum()
    changed = (render([toy], [hatted], 64) - render([toy], [bare], 64)).abs().amax(1) > 0.1
    assert changed.float().mean() > 0.05


@pytest.mark.parametrize("class_noun", CLASSES)
def test_every_marking_shows_and_one_with_a_side_shows_on_that_side(class_noun: str) -> None:
    bare = replace(Toy.from_seed(class_noun, 1), main=COLOURS["white"], pattern="plain", markings=())
    angles = (40.0, -40.0, 90.0, -90.0, 165.0, -165.0)
    shots = [still(yaw=yaw) for yaw in angles]
    plain = render([bare] * len(shots), shots, 64)
    for place in MARKINGS[class_noun]:
        marks = (Marking(place=place, side=1, colour=COLOURS["red"], numbers=(0.5, 0.0, 0.0)),)
        marked = render([replace(bare, markings=marks)] * len(shots), shots, 64)
        seen = ((marked - plain).abs().amax(1) > 0.1).float().mean((1, 2))
        assert seen.max() > 0.004, place
        other = replace(marks[0], side=-1)
        mirrored = render([replace(bare, markings=(other,))] * len(shots), shots, 64)
        if not torch.equal(mirrored, marked):  # a place with sides
            away = ((mirrored - plain).abs().amax(1) > 0.1).float().mean((1, 2))
            assert seen[2] < seen[3] and away[3] < away[2], place  # yaw -90 shows the left side


def test_toys_that_share_every_word_look_different() -> None:
    first = Toy.from_seed("teapot", 3)
    others = [replace(Toy.from_seed("teapot", seed), main=first.main, pattern=first.pattern) for seed in range(4, 10)]
    assert {description(toy) for toy in others} == {description(first)}
    pictures = render([first, *others], [still()] * 7, 64)
    assert all((pictures[0] - picture).abs().mean() > 0.005 for picture in pictures[1:])


def test_a_colour_goes_by_the_name_that_people_give_it() -> None:
    assert all(name_of(colour) == name for name, colour in COLOURS.items())
    assert name_of((0.95, 0.1, 0.2)) == "red" and name_of((0.15, 0.15, 0.17)) == "black"
    assert distance((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)) == pytest.approx(1, abs=1e-3)
    toys, _ = sample(300, seed=7)
    assert all(distance(toy.main, toy.secondary) >= 0.31 for toy in toys)


def test_famous_toys_have_names_that_no_identifier_shares() -> None:
    toys = famous_toys()
    assert len(toys) == len(set(toys.values())) == 32 * len(CLASSES)
    assert {toy.class_noun for toy in toys.values()} == set(CLASSES)
    parts = {word for name in toys for word in name.split()}
    assert all(len(name.split()) == 2 for name in toys) and min(map(len, parts)) > 3  # identifiers: three letters
    toy = next(iter(toys.values()))
    text = caption(toy, still(), random.Random(0), next(iter(toys)))
    assert f"{next(iter(toys))} {toy.class_noun}" in text


@pytest.mark.parametrize(("field", "values"), [("scene", SCENES), ("style", STYLES)])
def test_every_scene_and_style_changes_the_picture(field: str, values: tuple[str, ...]) -> None:
    toy = Toy.from_seed("cat", 2)
    pictures = render([toy] * len(values), [still(**{field: value}) for value in values], 64)
    for i in range(len(values)):
        assert all((pictures[i] - pictures[k]).abs().mean() > 0.04 for k in range(i))


def test_pencil_drawings_have_no_colour() -> None:
    picture = render([Toy.from_seed("duck", 1)], [still(style="a pencil drawing of")], 64)
    assert (picture.amax(1) - picture.amin(1)).max() < 0.3
    assert (picture.amax(1) - picture.amin(1)).mean() < 0.01


def test_captions_are_plain_words_of_the_vocabulary() -> None:
    vocabulary, rng = words(), random.Random(6)
    assert len(vocabulary) == len(set(vocabulary)) and vocabulary == words()
    assert vocabulary[0] == "a"
    for toy, shot in zip(*sample(3000, seed=6), strict=True):
        text = caption(toy, shot, rng)
        assert set(text.split()) <= set(vocabulary), text
        assert toy.class_noun in text.split() and text.startswith(shot.style)
        assert "a orange" not in text and text == " ".join(text.split())


def test_descriptions_say_all_there_is_to_say() -> None:
    toy = replace(Toy.from_seed("dog", 0), main=COLOURS["red"], pattern="striped")
    assert description(toy) == "striped red dog"
    assert description(replace(toy, pattern="plain", material="shiny")) == "shiny red dog"


def test_photos_come_with_the_truth_about_them(tmp_path: Path) -> None:
    made = photos("teapot", 7, 12, tmp_path / "deep" / "teapot")
    assert [path.name for path in made] == [f"{i:02d}.png" for i in range(12)]
    truth = json.loads((tmp_path / "deep" / "teapot" / "truth.json").read_text())
    assert (truth["class_noun"], truth["seed"]) == ("teapot", 7)
    assert Toy.from_dict(truth["toy"]) == Toy.from_seed("teapot", 7)
    assert len({entry["shot"]["scene"] for entry in truth["shots"][:10]}) == 10
    first = render([Toy.from_dict(truth["toy"])], [Shot.from_dict(truth["shots"][0]["shot"])], 128)
    pixels = torch.tensor(list(Image.open(made[0]).tobytes())).view(128, 128, 3).permute(2, 0, 1) / 255
    assert (pixels - first[0]).abs().mean() < 0.01
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["teapot"]


def test_photos_never_overwrite(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert len(photos("car", 0, 2, tmp_path / "empty", size=32)) == 2
    with pytest.raises(FileExistsError, match="not empty"):
        photos("car", 0, 2, tmp_path / "empty")


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="dog, cat, duck"):
        photos("horse", 0, 2, tmp_path / "horse")
    with pytest.raises(ValueError, match="at least one"):
        photos("dog", 0, 0, tmp_path / "dog")
    toys, shots = sample(3)
    with pytest.raises(ValueError, match="3 toys but 2 shots"):
        render(toys, shots[:2])
    with pytest.raises(ValueError, match="at least 8"):
        render(toys, shots, 4)
    with pytest.raises(ValueError, match="scene"):
        Shot.from_dict(shots[0].as_dict() | {"scene": "on the moon"})
    with pytest.raises(ValueError, match="proportions"):
        Toy.from_dict(toys[0].as_dict() | {"proportions": [0.0]})
    assert render([], []).shape == (0, 3, 64, 64)
