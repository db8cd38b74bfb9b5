"""Section 3.3: class images are drawn once by the frozen model, kept, and never taken for what they are not."""

import logging
import os
import pwd
import shutil
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dreambooth.config import Config, Prior
from dreambooth.data import latents
from dreambooth.data.dataset import encode_once, examples
from dreambooth.errors import DiskError, ModelError
from dreambooth.models.base import Sampling
from dreambooth.models.stable_diffusion import StableDiffusion
from dreambooth.prior import class_prior, lacking, seen_in
from dreambooth.run import Run
from dreambooth.run.places import found
from dreambooth.run.records import CLASS_IMAGES
from dreambooth.subject import Subject
from dreambooth.support.cache import default_library
from dreambooth.support.files import sha256
from tiny import tiny_model

DOG = Subject(photos=(Path("a.png"),), class_noun="dog", identifier="zwx")


def settings(count: int = 3, **changed: object) -> Prior:
    quick = {"num_class_images": count, "class_num_inference_steps": 2, "sample_batch_size": 2}
    return Config.build({"model": "tiny", **quick, **changed}).prior


@pytest.fixture
def run(tmp_path: Path) -> Run:
    (tmp_path / "run").mkdir()
    return Run(tmp_path / "run")


@pytest.fixture(scope="module")
def model() -> StableDiffusion:
    torch.set_num_threads(1)
    return tiny_model()


class Counting:
    """Lets every call through to the real model and notes what was asked."""

    def __init__(self, model: StableDiffusion, monkeypatch: pytest.MonkeyPatch, stop_after: int | None = None) -> None:
        self.seeds: list[int] = []
        self.prompts: set[str] = set()
        self.samplings: list[Sampling] = []
        self.real, self.stop_after = model.generate_with_x0, stop_after
        monkeypatch.setattr(model, "generate_with_x0", self)

    def __call__(self, prompts: Sequence[str], seeds: Sequence[int], sampling: Sampling) -> Any:
        if self.stop_after is not None and len(self.seeds) >= self.stop_after:
            raise KeyboardInterrupt
        self.seeds += seeds
        self.prompts |= set(prompts)
        self.samplings.append(sampling)
        return self.real(prompts, seeds, sampling)


def test_class_images_are_the_frozen_models(
    model: StableDiffusion, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Counting(model, monkeypatch)
    paths = class_prior(model, DOG, settings(), run, tmp_path / "library")
    assert asked.prompts == {"a dog"}
    assert set(asked.samplings) == {Sampling(sampler="ddpm", num_inference_steps=2, guidance_scale=7.5)}
    assert len(set(asked.seeds)) == 4 and len(paths) == 3  # whole batches of two
    for path, seed in zip(paths, asked.seeds[:3], strict=True):
        ((drawn,), _) = asked.real(["a dog"], [seed], asked.samplings[0])
        with Image.open(path) as image:
            assert np.abs(np.asarray(image).astype(int) - drawn).max() <= 1  # lossless, and alone as in a batch
            assert image.info == {"prompt": "a dog", "seed": str(seed)}


def test_the_run_says_what_its_class_images_are(model: StableDiffusion, run: Run, tmp_path: Path) -> None:
    paths = class_prior(model, DOG, settings(), run, tmp_path / "library")
    prior = CLASS_IMAGES.read(run.root)
    assert prior.prompt == "a dog" and prior.model == "tiny" and prior.count == 3
    assert prior.fingerprint == model.fingerprint()
    assert (prior.sampler, prior.num_inference_steps, prior.guidance_scale) == ("ddpm", 2, 7.5)
    assert tuple(found(prior.folder, run.root) / file.name for file in prior.files) == paths
    assert [file.sha256 for file in prior.files] == [sha256(path) for path in paths]
    assert paths[0].parent.name == prior.key
    assert (paths[0].parent / "manifest.json").is_file()


def test_a_second_subject_and_more_images_draw_only_what_is_missing(
    model: StableDiffusion, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Counting(model, monkeypatch)
    first = class_prior(model, DOG, settings(3), run, tmp_path)
    other = Subject(photos=(Path("b.png"),), class_noun="dog", identifier="grb")
    assert class_prior(model, other, settings(3, seed=7), run, tmp_path) == first
    assert len(asked.seeds) == 4  # whole batches of two
    more = class_prior(model, DOG, settings(5), run, tmp_path)
    assert more[:3] == first and len(asked.seeds) == len(set(asked.seeds)) == 6
    assert class_prior(model, DOG, settings(2), run, tmp_path) == first[:2]


def test_whatever_the_images_depend_on_has_its_own_folder(model: StableDiffusion, run: Run, tmp_path: Path) -> None:
    cat = Subject(photos=(Path("a.png"),), class_noun="cat", identifier="zwx")
    folders = {
        class_prior(chosen, subject, config, run, tmp_path)[0].parent
        for chosen, subject, config in [
            (model, DOG, settings(1)),
            (model, cat, settings(1)),
            (model, DOG, settings(1, class_sampler="ddim")),
            (model, DOG, settings(1, class_num_inference_steps=3)),
            (model, DOG, settings(1, class_guidance_scale=2.0)),
            (tiny_model(seed=1), DOG, settings(1)),
        ]
    }
    assert len(folders) == 6


def test_after_a_stop_it_goes_on_without_repeats(
    model: StableDiffusion, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = class_prior(model, DOG, settings(6), run, tmp_path / "whole")
    with monkeypatch.context() as patch:
        asked = Counting(model, patch, stop_after=4)
        with pytest.raises(KeyboardInterrupt):
            class_prior(model, DOG, settings(6), run, tmp_path / "stopped")
        asked.stop_after = None
        resumed = class_prior(model, DOG, settings(6), run, tmp_path / "stopped")
    assert len(asked.seeds) == len(set(asked.seeds)) == 6
    assert [path.read_bytes() for path in resumed] == [path.read_bytes() for path in whole]


def test_stray_and_damaged_files_are_not_taken_for_images(
    model: StableDiffusion, run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = class_prior(model, DOG, settings(3), run, tmp_path)
    content = [path.read_bytes() for path in first]
    folder = first[0].parent
    (folder / "000003.png").write_bytes(content[0])
    (folder / "holiday.png").write_bytes(content[0])
    (folder / ".000003-0123456789abcdef.png.1234.part").write_bytes(content[0][:50])
    first[0].write_bytes(content[0][:100])  # cut
    first[1].write_bytes(content[2])  # another picture
    with caplog.at_level(logging.WARNING, "dreambooth"):
        again = class_prior(model, DOG, settings(4), run, tmp_path)
    assert sum("is not as it was drawn" in message for message in caplog.messages) == 2
    assert again[:3] == first and [path.read_bytes() for path in again[:3]] == content
    assert again[3].name not in ("000003.png", "holiday.png")


def test_what_a_killed_process_left_half_written_is_removed_and_what_another_writes_just_now_is_not(
    model: StableDiffusion, run: Run, tmp_path: Path
) -> None:
    (first, *_) = class_prior(model, DOG, settings(), run, tmp_path / "library")
    left, written_now = first.with_name(".000001-x.png.01234567.part"), first.with_name(".000002-x.png.89abcdef.part")
    for part in (left, written_now):
        part.write_bytes(b"half")
    os.utime(left, (0, 0))
    first.unlink()
    class_prior(model, DOG, settings(), run, tmp_path / "library")
    assert not left.exists() and written_now.exists()


def test_two_at_once_fill_one_library(tmp_path: Path) -> None:
    found: list[tuple[Path, ...]] = []

    def work(mine: StableDiffusion, run: Run) -> None:
        found.append(class_prior(mine, DOG, settings(4), run, tmp_path / "library"))

    workers = [threading.Thread(target=work, args=(tiny_model(), Run(tmp_path / name))) for name in ("one", "two")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 2 and found[0] == found[1]
    assert sorted(file.name for file in found[0][0].parent.iterdir()) == sorted(
        [*(name for file in found[0] for name in (file.name, latents.beside(file).name)), "manifest.json"]
    )


def fill(model: StableDiffusion, run: Run, library: Path, count: int) -> dict[str, bytes]:
    files = class_prior(model, DOG, settings(count, sample_batch_size=8), run, library)
    return {file.name: file.read_bytes() for file in files}


@pytest.mark.parametrize("kept", [{0}, {15}, set(range(5)), set(range(13)), {1, 2, 9}, set(range(0, 16, 2))])
def test_class_images_are_the_same_whichever_of_them_were_there_before(
    kept: set[int], model: StableDiffusion, run: Run, tmp_path: Path
) -> None:
    whole = fill(model, run, tmp_path, 16)
    folder = found(CLASS_IMAGES.read(run.root).folder, run.root)
    for index, name in enumerate(whole):
        if index not in kept:
            (folder / name).unlink()
    assert fill(model, run, tmp_path, 16) == whole


@pytest.mark.parametrize("count", [1, 5, 8, 10, 13])
def test_class_images_are_the_same_whoever_filled_the_library_before(
    count: int, model: StableDiffusion, run: Run, tmp_path: Path
) -> None:
    whole = fill(model, run, tmp_path / "own", 16)
    fill(model, run, tmp_path / "shared", count)
    assert fill(model, run, tmp_path / "shared", 16) == whole


def test_a_damaged_class_image_is_drawn_again_as_the_same_file(
    model: StableDiffusion, run: Run, tmp_path: Path
) -> None:
    whole = fill(model, run, tmp_path, 8)
    for name in whole:
        damaged = found(CLASS_IMAGES.read(run.root).folder, run.root) / name
        damaged.write_bytes(damaged.read_bytes()[:-1])
        assert fill(model, run, tmp_path, 8) == whole


@pytest.mark.parametrize("weights", ["not finite", "of one colour"])
def test_a_model_that_draws_nothing_stops_at_the_first_class_image_and_none_is_kept(
    weights: str, run: Run, tmp_path: Path
) -> None:
    broken = tiny_model()
    with torch.no_grad():
        out = broken.pipeline.vae.decoder.conv_out
        out.weight.fill_(float("nan") if weights == "not finite" else 0.0)
        out.bias.zero_()
    with pytest.raises(ModelError, match="prediction_type"):
        class_prior(broken, DOG, settings(), run, tmp_path / "library")
    assert not list((tmp_path / "library").rglob("*.png")) and not (run.root / "prior.json").exists()


def test_without_the_prior_nothing_is_drawn(model: StableDiffusion, run: Run, tmp_path: Path) -> None:
    assert class_prior(model, DOG, settings(with_prior_preservation=False), run, tmp_path / "library") == ()
    assert not (tmp_path / "library").exists() and not (run.root / "prior.json").exists()


def test_no_room_is_known_before_the_first_image(
    model: StableDiffusion, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Counting(model, monkeypatch)
    usage = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DiskError, match="DREAMBOOTH_CACHE"):
        class_prior(model, DOG, settings(), run, tmp_path / "library")
    monkeypatch.undo()
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError, match="DREAMBOOTH_CACHE"):
        class_prior(model, DOG, settings(), run, tmp_path / "file" / "library")
    assert not asked.seeds


def test_the_library_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DREAMBOOTH_CACHE", str(tmp_path))
    assert default_library() == tmp_path / "class-images"
    monkeypatch.delenv("DREAMBOOTH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_library() == tmp_path / "xdg" / "dreambooth" / "class-images"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert default_library() == tmp_path / "home" / ".cache" / "dreambooth" / "class-images"


def test_without_a_home_the_library_asks_for_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DREAMBOOTH_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)  # a user without an entry, as in a container
    with pytest.raises(DiskError, match="set the environment variable DREAMBOOTH_CACHE"):
        default_library()


def test_training_sees_the_latents_that_the_sampler_ended_on(
    model: StableDiffusion, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decoded they are the pictures; nothing is drawn around them, and the image encoder sees the photos alone."""
    asked = Counting(model, monkeypatch)
    paths = class_prior(model, DOG, settings(3), run, tmp_path / "library")
    (stage,) = model.stages
    photo = tmp_path / "a.png"
    shutil.copy(paths[0], photo)
    encoded = []

    def posterior(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        encoded.append(len(images))
        return stage.posterior(images)

    rows = examples(replace(DOG, photos=(photo,)), paths, Config().data, stage.resolution, seed=0)
    dataset = encode_once(rows, posterior)
    assert encoded == [1] and dataset.is_prior.tolist() == [False, True, True, True]
    _, ended = asked.real(["a dog"] * 2, asked.seeds[:2], asked.samplings[0])
    torch.testing.assert_close(dataset.mean[1:3], ended, rtol=0, atol=1e-4)
    assert (dataset.std[1:] == 0).all() and (dataset.std[0] > 0).all()
    vae = model.pipeline.vae
    with torch.no_grad():
        decoded = vae.decode(dataset.mean[1:] / vae.config.scaling_factor).sample
    for path, image in zip(paths, decoded, strict=True):
        shown = ((image / 2 + 0.5).clamp(0, 1) * 255).permute(1, 2, 0).round().numpy()
        assert np.abs(np.asarray(Image.open(path)).astype(int) - shown).max() <= 1


def test_pictures_without_their_latents_or_of_another_side_are_encoded(
    model: StableDiffusion, run: Run, tmp_path: Path
) -> None:
    paths = class_prior(model, DOG, settings(2), run, tmp_path / "library")
    latents.beside(paths[0]).unlink()
    (stage,) = model.stages
    subject, data = replace(DOG, photos=(paths[0],)), Config().data
    dataset = encode_once(examples(subject, paths, data, stage.resolution, seed=0), stage.posterior)
    assert [bool((std > 0).all()) for std in dataset.std] == [True, True, False]
    smaller = Config.build({"model": "tiny", "resolution": stage.resolution // 2}).data
    dataset = encode_once(examples(subject, paths, smaller, stage.resolution, seed=0), stage.posterior)
    assert (dataset.std > 0).all()


def test_a_damaged_latent_is_drawn_again_with_its_picture(
    model: StableDiffusion, run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths = class_prior(model, DOG, settings(2), run, tmp_path)
    before = [latents.beside(path).read_bytes() for path in paths]
    latents.beside(paths[1]).write_bytes(before[1][:-1] + b"x")
    assert latents.read(paths[1]) is None
    assert class_prior(model, DOG, settings(2), run, tmp_path) == paths
    assert [latents.beside(path).read_bytes() for path in paths] == before
    assert "is not as it was drawn" in caplog.text


def test_no_image_is_drawn_that_the_training_never_sees(
    model: StableDiffusion, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = Config.build(
        {"model": "tiny", "max_train_steps": 2, "train_batch_size": 2, "gradient_accumulation_steps": 1}
    ).training
    many = settings(100)
    assert seen_in(training) == 4 and lacking(model, DOG, many, 4, tmp_path) == 4
    asked = Counting(model, monkeypatch)
    few = class_prior(model, DOG, many, run, tmp_path, seen=4)
    assert len(few) == len(asked.seeds) == 4 and CLASS_IMAGES.read(run.root).count == 4
    assert class_prior(model, DOG, many, run, tmp_path, seen=6)[:4] == few and len(asked.seeds) == 6
    assert lacking(model, DOG, many, 6, tmp_path) == 0
    assert len(class_prior(model, DOG, settings(3), run, tmp_path, seen=1000)) == 3


def test_the_second_subject_of_a_class_draws_none_and_a_third_of_another_class_its_own(
    model: StableDiffusion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each in a run folder of its own, as three commands make them; the library is what they share."""
    monkeypatch.setenv("DREAMBOOTH_CACHE", str(tmp_path / "cache"))
    asked, drawn = Counting(model, monkeypatch), []
    for name, noun in (("rex", "dog"), ("fido", "dog"), ("tom", "cat")):
        (tmp_path / name).mkdir()
        subject = Subject(photos=(Path(f"{name}.png"),), class_noun=noun, identifier="zwx")
        paths = class_prior(model, subject, settings(4), Run(tmp_path / name))
        drawn.append((len(asked.seeds), paths, [latents.read(path) is not None for path in paths]))
    (first, one, _), (second, two, kept), (third, other, _) = drawn
    assert (first, second, third) == (4, 4, 8) and one == two and set(one).isdisjoint(other) and all(kept)
