"""Masks of the subject: where they are looked for, what cannot be one, and the weight that they make of each place."""

import logging
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from dreambooth.config import Data
from dreambooth.data.dataset import encode_once, examples
from dreambooth.data.masks import check_masks, mask_of, open_mask
from dreambooth.data.photos import photos_in
from dreambooth.data.pictures import open_image, upright_size
from dreambooth.errors import PhotoError
from dreambooth.finetuning.step import training_step
from dreambooth.subject import Subject
from tiny import tiny_model

SIDE = 32
DISC = (260, 40, 420, 200)


def disc(path: Path, mode: str = "L", size: tuple[int, int] = (480, 240)) -> Path:
    """White on black: a photo whose subject is where it is bright, or the mask of it."""
    page = Image.new(mode, size)
    ImageDraw.Draw(page).ellipse(DISC, fill="white")
    page.save(path)
    return path


def plain(images: Tensor) -> tuple[Tensor, Tensor]:
    """A stand-in for an encoder: pixels, of which each 2 x 2 are one place of the latent."""
    small = torch.nn.functional.avg_pool2d(images, 2)
    return small, torch.zeros_like(small)


def subject_of(*photos: Path) -> Subject:
    return Subject(photos=photos, class_noun="dog", identifier="zwx")


@pytest.mark.parametrize(
    "name", ["rex.mask.png", "rex.jpg.mask.png", "rex-masklabel.png", "rex.mask.jpg", "REX.MASK.PNG"]
)
def test_a_mask_lies_beside_its_photo_and_is_no_photo(name: str, tmp_path: Path) -> None:
    photo = disc(tmp_path / "rex.jpg", "RGB")
    assert mask_of(photo) is None
    mask = disc(tmp_path / name)
    assert photos_in(tmp_path) == (photo,) and mask_of(photo) == mask


def test_a_mask_that_is_called_as_no_photo_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    photo = disc(tmp_path / "rex2.jpg", "RGB")
    disc(tmp_path / "rex2.mask.png")
    disc(tmp_path / "rex-3.mask.png")
    assert photos_in(tmp_path) == (photo,)
    (said,) = caplog.messages
    assert said.endswith(
        "masks of no photo here are not used, they are called as theirs: rex.mask.png of rex.jpg: rex-3.mask.png"
    )


def test_transparency_is_a_mask_and_one_beside_the_photo_goes_before_it(tmp_path: Path) -> None:
    page = Image.new("RGBA", (48, 40), "red")
    page.save(tmp_path / "opaque.png")
    assert mask_of(tmp_path / "opaque.png") is None
    page.putalpha(Image.linear_gradient("L").resize((48, 40)))
    page.save(photo := tmp_path / "rex.png")
    assert mask_of(photo) == photo
    assert np.array_equal(np.asarray(open_mask(photo)), np.asarray(page.getchannel("A")))
    assert mask_of(photo) == photo
    beside = disc(tmp_path / "rex.mask.png")
    assert mask_of(photo) == beside


def test_a_mask_lies_on_its_photo_as_that_is_shown(tmp_path: Path) -> None:
    lying = Image.Exif()
    lying[0x0112] = 6
    Image.new("RGB", (64, 48)).save(photo := tmp_path / "rex.jpg", exif=lying)
    Image.new("L", (48, 64), 255).save(tmp_path / "rex.mask.png")
    check_masks([photo], used=True)
    assert open_mask(tmp_path / "rex.mask.png").size == (48, 64)


def test_a_tiff_that_lay_down_is_upright_once(tmp_path: Path) -> None:
    lying = Image.new("RGB", (90, 60), "red").getexif()
    lying[0x0112] = 6
    Image.new("RGB", (90, 60), "red").save(photo := tmp_path / "rex.tif", exif=lying)
    assert open_image(photo).size == upright_size(photo) == (60, 90)
    Image.new("L", (60, 90), 255).save(tmp_path / "rex.mask.png")
    check_masks([photo], used=True)


def test_what_cannot_be_a_mask_is_told_all_at_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    photos = [disc(tmp_path / f"{name}.jpg", "RGB") for name in ("small", "dark", "broken", "good")]
    disc(tmp_path / "small.mask.png", size=(440, 240))
    Image.new("L", (480, 240), 1).save(tmp_path / "dark.mask.png")  # a map of numbered labels
    (tmp_path / "broken.mask.png").write_bytes(b"none")
    disc(tmp_path / "good.mask.png")
    with pytest.raises(PhotoError) as error:
        check_masks(photos, used=True)
    told = ("small.mask.png is 440 x 240 pixels, and its photo", "dark.mask.png is dark all over", "broken.mask.png is")
    assert len(error.value.problems) == 3 and all(
        words in said for words, said in zip(told, error.value.problems, strict=True)
    )
    with caplog.at_level(logging.WARNING):
        check_masks(photos, used=False)
    assert "not used without --masked-loss: small.mask.png, dark" in caplog.text


def test_transparency_that_cannot_be_a_mask_is_not_called_one(tmp_path: Path) -> None:
    for name in ("rex.png", "mia.mask.png"):
        Image.new("RGBA", (480, 240), (200, 30, 30, 100)).save(tmp_path / name)
    photos = [tmp_path / "rex.png", disc(tmp_path / "mia.jpg", "RGB")]
    with pytest.raises(PhotoError) as error:
        check_masks(photos, used=True)
    of_photo, of_mask = error.value.problems
    assert of_photo.startswith(f"{photos[0]} is transparent all over, and --masked-loss takes the opaque part")
    assert of_photo.endswith("put a mask beside it, rex.mask.png") and "white" not in of_photo
    assert "mia.mask.png is transparent all over: make it opaque where the subject is" in of_mask
    check_masks(photos, used=False)


@pytest.mark.parametrize("crop", ["subject", "random"])
def test_the_weight_is_cut_where_the_photo_is(crop: Literal["subject", "random"], tmp_path: Path) -> None:
    photo, mask = disc(tmp_path / "rex.png", "RGB"), disc(tmp_path / "rex.mask.png")
    class_image = disc(tmp_path / "class.png", "RGB", (SIDE, SIDE))
    data = Data(crop=crop, unmasked_weight=0.25)
    rows = examples(subject_of(photo), [class_image], data, SIDE, 0, {photo: mask})
    dataset = encode_once(rows, plain)
    assert dataset.weight is not None and dataset.weight.shape == (len(rows.rows), 1, SIDE // 2, SIDE // 2)
    shown = (dataset.mean[:-1, :1] + 1) / 2
    assert all(rows.rows[at].mask == mask for at in range(len(rows.rows) - 1))
    torch.testing.assert_close(dataset.weight[:-1], 0.25 + 0.75 * shown, rtol=0, atol=0.02)
    assert torch.equal(dataset.weight[-1], torch.ones(1, SIDE // 2, SIDE // 2)), "a class image counts everywhere"
    assert shown[0].mean() > 0.25, "the square keeps the disc, which is a third of it"
    batch = dataset.batch(0, 3, 1, 1)
    assert batch.weight is not None and torch.equal(batch.weight, dataset.weight[list(batch.rows)])


def test_a_subject_of_a_few_pixels_is_one(tmp_path: Path) -> None:
    photo, mask = disc(tmp_path / "pen.png", "RGB", (640, 640)), Image.new("L", (640, 640))
    ImageDraw.Draw(mask).rectangle((318, 100, 323, 500), fill="white")  # dark, where 32 pixels show all of it
    mask.save(beside := tmp_path / "pen.mask.png")
    check_masks([photo], used=True)
    for crop in ("subject", "center"):
        (row,) = examples(subject_of(photo), [], Data(crop=crop), SIDE, 0, {photo: beside}).rows
        assert row.mask == beside


def test_a_centre_that_its_mask_leaves_out_is_told(tmp_path: Path) -> None:
    photo = disc(tmp_path / "rex.png", "RGB")
    side = Image.new("L", (480, 240))
    side.paste(255, (0, 0, 60, 240))
    side.save(mask := tmp_path / "rex.mask.png")
    with pytest.raises(PhotoError, match="centre holds nothing of its mask"):
        examples(subject_of(photo), [], Data(crop="center"), SIDE, 0, {photo: mask})
    cut_out = open_image(photo)
    cut_out.putalpha(side)
    cut_out.save(alone := tmp_path / "alone.png")
    with pytest.raises(PhotoError, match="its centre is transparent: give --crop subject"):
        examples(subject_of(alone), [], Data(crop="center"), SIDE, 0, {alone: alone})


def test_the_loss_of_a_step_is_that_of_the_places_that_count(tmp_path: Path) -> None:
    photo, mask = disc(tmp_path / "rex.png", "RGB"), disc(tmp_path / "rex.mask.png")
    model = tiny_model()
    stage = model.stages[0]

    def error(masks: dict[Path, Path], **data: float) -> Tensor:
        rows = examples(subject_of(photo), [], Data.model_validate(data), SIDE, 0, masks)
        dataset = encode_once(rows, stage.posterior)
        words = stage.condition(["a zwx dog"])
        return training_step(stage, stage.process, dataset.batch(0, 0, 1, 0), words, 1.0, 0, 0)[1].detach()

    where = {photo: mask}
    everywhere = error({}, unmasked_weight=0)
    torch.testing.assert_close(error(where, unmasked_weight=1), everywhere, rtol=1e-5, atol=0)
    inside, half = error(where, unmasked_weight=0), error(where, unmasked_weight=0.5)
    assert min(inside, everywhere) < half < max(inside, everywhere), "between the two: a mean with other weights"
