"""Rows, their encoding, and the order in which steps see them."""

import logging
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from dreambooth.config import Data
from dreambooth.data.dataset import LatentDataset, encode_once, examples
from dreambooth.data.pictures import open_image
from dreambooth.errors import PhotoError
from dreambooth.subject import Subject
from tiny import tiny_model


def noise(path: Path, width: int, height: int, seed: int = 0) -> Path:
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)
    return path


def subject_of(*photos: Path) -> Subject:
    return Subject(photos=photos, class_noun="dog", identifier="zwx")


def plain(images: Tensor) -> tuple[Tensor, Tensor]:
    """A stand-in for an encoder that keeps the pixels."""
    return images, torch.zeros_like(images)


def encoded_of(photos: int, class_images: int, crops: int = 1) -> LatentDataset:
    names = [f"photo {n}" for n in range(photos) for _ in range(crops)] + [f"class {n}" for n in range(class_images)]
    total = len(names)
    return LatentDataset(
        mean=torch.arange(total).float().reshape(total, 1, 1, 1),
        std=torch.zeros(total, 1, 1, 1),
        prompts=tuple("a dog" if name.startswith("class") else "a zwx dog" for name in names),
        is_prior=torch.tensor([name.startswith("class") for name in names]),
        names=tuple(names),
    )


def test_rows_carry_their_caption_and_the_mask(tmp_path: Path) -> None:
    photos = [noise(tmp_path / f"{n}.png", 32, 32, n) for n in range(2)]
    prior = [noise(tmp_path / f"class{n}.png", 32, 32, 9 + n) for n in range(3)]
    dataset = encode_once(examples(subject_of(*photos), prior, Data(), 32, seed=0), plain)
    assert dataset.prompts == ("a zwx dog",) * 2 + ("a dog",) * 3
    assert dataset.is_prior.tolist() == [False, False, True, True, True]
    assert dataset.names == tuple(map(str, [*photos, *prior]))
    for row, path in enumerate([*photos, *prior]):
        pixels = torch.from_numpy(np.array(Image.open(path)).copy()).permute(2, 0, 1)
        assert torch.equal(((dataset.mean[row] + 1) * 127.5).round().to(torch.uint8), pixels)
    assert dataset.mean.dtype == torch.float32 and dataset.mean.min() >= -1 and dataset.mean.max() <= 1


def test_a_real_encoder_gets_every_row_once_in_small_batches(tmp_path: Path) -> None:
    photos = [noise(tmp_path / f"{n}.png", 40, 32, n) for n in range(9)]
    model, sizes = tiny_model(), []

    def posterior(images: Tensor) -> tuple[Tensor, Tensor]:
        sizes.append(len(images))
        return model.stages[0].posterior(images)

    rows = examples(subject_of(*photos), [], Data(), model.resolution, seed=0)
    dataset = encode_once(rows, posterior)
    assert sum(sizes) == 9 and max(sizes) <= 4
    assert dataset.mean.shape == dataset.std.shape == (9, 4, 16, 16)
    assert not dataset.mean.requires_grad and (dataset.std > 0).all()
    mean, std = model.stages[0].posterior(rows.image(5)[None])
    torch.testing.assert_close(dataset.mean[5], mean[0].detach(), rtol=0, atol=1e-5)
    torch.testing.assert_close(dataset.std[5], std[0].detach(), rtol=0, atol=1e-5)


def test_crops_are_where_they_are_asked_for(tmp_path: Path) -> None:
    scene = Image.new("RGB", (640, 200), "grey")
    detail = np.random.default_rng(0).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    scene.paste(Image.fromarray(detail).resize((150, 150), Image.Resampling.NEAREST), (470, 25))
    scene.save(tmp_path / "wide.jpg", quality=95)
    square = noise(tmp_path / "square.png", 64, 64)
    subject = subject_of(tmp_path / "wide.jpg", square)

    def offsets(crop: str, seed: int = 0) -> list[list[float]]:
        rows = examples(subject, [], Data.model_validate({"crop": crop}), 64, seed).rows
        return [[row.offset for row in rows if row.path == photo] for photo in subject.photos]

    assert offsets("center") == [[0.5], [0.5]]
    ((found,), still) = offsets("subject")
    assert 420 / 440 <= found <= 1 and still == [0.5]
    bank, still = offsets("random")
    assert 1 < len(bank) <= 8 and len(set(bank)) == len(bank) and still == [0.5]
    assert min(bank) >= 0.8  # nearly all of the subject is in each
    assert offsets("random") == [bank, still]
    banks = {tuple(offsets("random", seed)[0]) for seed in range(5)}
    rows = examples(subject, [], Data(crop="random"), 64, 0)
    assert all(rows.image(row).shape == (3, 64, 64) for row in range(len(rows.rows)))
    assert len(banks) > 1 or len(bank) < 8


def test_the_sides_asked_for_go_before_the_models(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    photo = noise(tmp_path / "a.png", 100, 80)
    with caplog.at_level(logging.WARNING, "dreambooth"):
        assert examples(subject_of(photo), [], Data(), 64, 0).resolution == 64
        assert not caplog.records
        assert examples(subject_of(photo), [], Data(resolution=96), 64, 0).image(0).shape == (3, 96, 96)
    assert "short side is 80 pixels, training needs 96" in caplog.text


def test_a_photo_that_went_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match=r"gone.png does not exist"):
        examples(subject_of(tmp_path / "gone.png"), [], Data(), 64, 0)


@pytest.mark.parametrize("rows", [1, 3])
def test_every_photo_is_seen_once_an_epoch(rows: int) -> None:
    dataset = encoded_of(photos=5, class_images=7)
    seen = [row for number in range(35) for row in dataset.batch(1, number, rows, rows).rows]
    for is_prior, photos in ((False, 5), (True, 7)):
        order = [row for row in seen if dataset.is_prior[row] == is_prior]
        epochs = [order[at : at + photos] for at in range(0, len(order) - photos + 1, photos)]
        assert all(len(set(epoch)) == photos for epoch in epochs)
        assert len({tuple(epoch) for epoch in epochs}) > 1  # a new order every epoch


def test_photos_meet_all_class_images() -> None:
    dataset = encoded_of(photos=4, class_images=8)
    pairs = {dataset.batch(0, number, 1, 1).rows for number in range(400)}
    assert len(pairs) == 32  # index residues would pair each photo with two of them for ever


def test_a_photo_with_many_crops_counts_once_an_epoch() -> None:
    dataset = encoded_of(photos=3, class_images=1, crops=4)
    seen = [dataset.batch(0, number, 1, 0).rows[0] for number in range(300)]
    assert Counter(dataset.names[row] for row in seen) == {f"photo {n}": 100 for n in range(3)}
    assert set(seen) == set(range(12))


def test_a_batch_is_a_function_of_its_arguments() -> None:
    dataset, other = encoded_of(4, 9), encoded_of(4, 9)
    for number in (0, 7, 3):
        batch = dataset.batch(5, number, 2, 3)
        assert batch.rows == other.batch(5, number, 2, 3).rows
        assert batch.mean.flatten().tolist() == list(batch.rows)
        assert batch.is_prior.tolist() == [False] * 2 + [True] * 3
        assert batch.prompts == ("a zwx dog",) * 2 + ("a dog",) * 3
    orders = {tuple(dataset.batch(seed, 0, 4, 0).rows) for seed in range(8)}
    assert len(orders) > 1
    with pytest.raises(ValueError, match="there are none"):
        encoded_of(4, 0).batch(0, 0, 1, 1)


@pytest.mark.parametrize(("width", "height", "orientation"), [(240, 120, 1), (120, 240, 1), (240, 120, 6), (64, 64, 1)])
def test_the_framing_says_where_the_square_was_cut(tmp_path: Path, width: int, height: int, orientation: int) -> None:
    """A ramp along each side: the corner's own value is where it says that it lies, in the resized picture."""
    across, down = np.meshgrid(np.arange(width), np.arange(height))
    ramp = np.stack([across, down, np.zeros_like(across)], axis=-1).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(ramp).save(tmp_path / "a.png", exif=exif)
    upright = np.asarray(open_image(tmp_path / "a.png")).astype(float)
    class_image = noise(tmp_path / "class.png", 32, 32)
    rows = examples(subject_of(tmp_path / "a.png"), [class_image], Data(), 32, seed=0)
    dataset = encode_once(rows, plain)
    assert dataset.framing is not None and dataset.framing[1].tolist() == [32, 32, 0, 0, 32, 32]
    tall, wide, top, left, *square = dataset.framing[0].tolist()
    assert (tall, wide) == upright.shape[:2] and square == [32, 32]
    scale = 32 / min(tall, wide)
    corner = (rows.image(0)[:2, 0, 0].numpy() + 1) * 127.5
    expected = upright[min(round((top + 0.5) / scale), tall - 1), min(round((left + 0.5) / scale), wide - 1), :2]
    assert np.abs(corner - expected).max() <= 2 / scale
    assert torch.equal(dataset.batch(0, 0, 1, 1).framing, dataset.framing)  # type: ignore[arg-type]


def test_crops_of_one_photo_have_their_own_framing(tmp_path: Path) -> None:
    photo = noise(tmp_path / "a.png", 400, 100)
    rows = examples(subject_of(photo), [], Data(crop="random"), 50, seed=0)
    framing = [rows.framing(row) for row in range(len(rows.rows))]
    assert len(framing) > 1 and len(set(framing)) == len(framing)
    for row, (tall, wide, top, left, *_) in zip(rows.rows, framing, strict=True):
        assert (tall, wide, top, left) == (100, 400, 0, round(row.offset * 150))
