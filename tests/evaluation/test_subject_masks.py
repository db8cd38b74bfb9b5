"""The masks of a run: found ones beside the true ones of toys, written once, and the owner's own before them."""

import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.masks import shots
from benchmarks.pictures import as_pictures
from dreambooth.config import Config
from dreambooth.data.masks import open_mask
from dreambooth.data.photos import photos_in
from dreambooth.data.pictures import size_of
from dreambooth.evaluation import subject_masks as module
from dreambooth.evaluation.subject_masks import subject_masks
from dreambooth.run import Run
from dreambooth.subject import Subject
from dreambooth.toybox.render import render, render_mask
from dreambooth.toybox.world import Toy


def test_the_mask_of_a_large_photo_lies_on_it_pixel_by_pixel(tmp_path: Path) -> None:
    toy = Toy.from_seed("robot", 951)
    (folder := tmp_path / "photos").mkdir()
    for number, picture in enumerate(as_pictures(render([toy] * 3, shots("robot", random.Random(0))[:3], 128))):
        picture.resize((2100, 2200)).save(folder / f"{number}.jpg")
    subject = Subject(photos=photos_in(folder), class_noun="robot")
    run = Run.create(tmp_path / "run", subject, Config.build(masked_loss=True))
    assert {size_of(mask) for mask in subject_masks(run).values()} == {(2100, 2200)}


def test_what_is_found_lies_on_the_toys_and_what_is_given_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy, taken = Toy.from_seed("robot", 951), shots("robot", random.Random(0))[:4]
    true = render_mask([toy] * 4, taken, 128)[:, 0] > 0.5
    (folder := tmp_path / "photos").mkdir()
    for number, picture in enumerate(as_pictures(render([toy] * 4, taken, 128))):
        picture.save(folder / f"{number}.png")
    given = folder / "3.mask.png"
    Image.fromarray(true[3].numpy()).save(given)
    subject = Subject(photos=photos_in(folder), class_noun="robot")
    run = Run.create(tmp_path / "run", subject, Config.build(masked_loss=True))
    masks = subject_masks(run)
    assert list(masks) == list(subject.photos) and masks[subject.photos[3]] == given
    assert sorted(file.name for file in run.masks.iterdir()) == [f"{number}.png.mask.png" for number in range(3)]
    for photo, where in zip(subject.photos[:3], true.numpy(), strict=False):
        found = np.asarray(open_mask(masks[photo])) > 128
        assert (found & where).sum() / (found | where).sum() > 0.45

    monkeypatch.setattr(module, "load_judges", lambda *_: pytest.fail("what is there is looked for again"))
    assert subject_masks(run) == masks
    assert subject_masks(Run.create(tmp_path / "plain", subject, Config.build())) == {}
