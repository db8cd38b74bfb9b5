"""Pictures are drawn alike before and after, kept while they are right, and say what they are."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dreambooth.config import Config
from dreambooth.errors import PromptError
from dreambooth.generation.drawing import warn_of_long
from dreambooth.generation.generate import contact_sheet, generate, read_samples
from dreambooth.generation.prompts import CLASS_PROMPT, Prompt, chosen_prompts
from dreambooth.generation.requests import requests, sampling_of, seeds, words
from dreambooth.generation.samples import Sample
from dreambooth.generation.sheet import Row, lay_out
from dreambooth.models.base import DiffusionModel
from dreambooth.models.stable_diffusion_3 import StableDiffusion3
from dreambooth.prior import FIRST_SEED
from dreambooth.subject import Subject
from tiny import tiny_model
from tiny_sd3 import sd3_pipeline

SUBJECT = Subject(photos=(), class_noun="dog", identifier="sks")


@pytest.fixture(scope="module")
def model() -> DiffusionModel:
    torch.set_num_threads(1)
    return tiny_model()


def config(**settings: object) -> Config:
    few = {"num_images_per_prompt": 2, "num_inference_steps": 2, "sample_batch_size": 3, "model": "tiny/tiny"}
    return Config.build({**few, "prompts": ("a {} in the snow",), **settings})


def drawn(
    model: DiffusionModel,
    subject: Subject,
    config: Config,
    folder: Path,
    prompts: Sequence[Prompt] | None = None,
    keep_others: bool = False,
) -> list[Sample]:
    """The samples of a run with these settings, of its own prompts or others."""
    own = config.generation
    asked = chosen_prompts(config.world, subject.class_noun, own.prompts) if prompts is None else prompts
    wanted = requests(asked, subject, seeds(config.seed, own.num_images_per_prompt))
    return generate(model, wanted, sampling_of(own), folder, config.prior.sample_batch_size, keep_others=keep_others)


def pixels(sample: Sample) -> np.ndarray:
    with Image.open(sample.path) as image:
        return np.asarray(image)


def times(samples: list[Sample]) -> list[int]:
    return [sample.path.stat().st_mtime_ns for sample in samples]


def test_every_prompt_is_drawn_at_every_seed_and_read_back(model: DiffusionModel, tmp_path: Path) -> None:
    samples = drawn(model, SUBJECT, config(), tmp_path / "before")
    assert [s.prompt for s in samples] == ["a sks dog in the snow"] * 2 + ["a dog"] * 2
    assert [s.kind for s in samples] == ["own", "own", "class", "class"]
    assert [s.seed for s in samples] == seeds(0, 2) * 2
    assert samples[0].path.name == f"00-a-sks-dog-in-the-snow-{samples[0].seed}.png"
    assert sorted(read_samples(tmp_path / "before"), key=str) == sorted(samples, key=str)
    with Image.open(samples[0].path) as image:
        assert image.size == (32, 32)
        assert image.info["stage"] == "before"
        assert image.info["template"] == "a {} in the snow"
        assert image.info["weights"] == model.fingerprint()


def test_a_name_in_brackets_and_its_class_have_pictures_of_their_own(model: DiffusionModel, tmp_path: Path) -> None:
    subject, asked = replace(SUBJECT, identifier="<dog>", with_class_noun=False), [Prompt("subject", "a {}")]
    mine = drawn(model, subject, config(), tmp_path, asked)
    of_class = drawn(model, subject, config(), tmp_path, [CLASS_PROMPT])
    assert [sample.prompt for sample in read_samples(tmp_path)] == ["a <dog>"] * 2 + ["a dog"] * 2
    assert not {sample.path for sample in mine} & {sample.path for sample in of_class}


def test_a_picture_is_that_of_its_prompt_and_seed(model: DiffusionModel, tmp_path: Path) -> None:
    """One at a time or three at a time, the pictures are close to equal; different seeds are far apart."""
    first, second = drawn(model, SUBJECT, config(), tmp_path / "a")[:2]
    alone = drawn(model, SUBJECT, config(sample_batch_size=1), tmp_path / "b")[:2]
    near = np.abs(pixels(second).astype(int) - pixels(alone[1])).max()
    assert near <= 1
    assert np.abs(pixels(first).astype(int) - pixels(second)).max() > 10


def test_what_is_there_and_right_is_kept(model: DiffusionModel, tmp_path: Path) -> None:
    samples = drawn(model, SUBJECT, config(), tmp_path)
    whole, began = pixels(samples[1]), times(samples)
    samples[1].path.write_bytes(samples[1].path.read_bytes()[:-200])
    samples[2].path.unlink()
    again = drawn(model, SUBJECT, config(), tmp_path)
    kept = [now == then for now, then in zip(times(again), began, strict=True)]
    assert kept == [True, False, False, True]
    assert np.array_equal(pixels(again[1]), whole)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("lost", [{0}, {7}, {1, 2, 9}, set(range(3, 16)), set(range(0, 16, 2))])
def test_samples_are_the_same_whichever_of_them_were_there_before(
    lost: set[int], model: DiffusionModel, tmp_path: Path
) -> None:
    many = config(num_images_per_prompt=8, sample_batch_size=8)
    whole = [sample.path.read_bytes() for sample in drawn(model, SUBJECT, many, tmp_path)]
    for index, sample in enumerate(read_samples(tmp_path)):
        if index in lost:
            sample.path.unlink()
    assert [sample.path.read_bytes() for sample in drawn(model, SUBJECT, many, tmp_path)] == whole


def test_more_pictures_never_take_the_place_of_older_ones(model: DiffusionModel, tmp_path: Path) -> None:
    asked = [Prompt("own", words) for words in ("a {} на луне", "a {} 在月球上", "a {} 在海滩上", "a {} x!", "a {} x?")]
    own = {}
    for prompt in asked:  # as one command after another
        for settings in (config(), config(num_inference_steps=3), config(sampler="ddpm")):
            for sample in drawn(model, SUBJECT, settings, tmp_path, [prompt], keep_others=True):
                own[sample.path] = sample.path.read_bytes()
    assert len(own) == len(asked) * 3 * 2
    assert {path: path.read_bytes() for path in own} == own
    again = drawn(model, SUBJECT, config(), tmp_path, asked[:1], keep_others=True)
    assert {sample.path for sample in again} <= own.keys()


def test_a_prompt_that_is_too_long_is_reported_with_the_words_that_are_cut_off(
    model: DiffusionModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fits, too_long = (
        "a {} in the snow with a big red mug and a car",
        "a {} in the snow with a big red mug and a blue toy",
    )
    for own in (fits, too_long):
        drawn(model, SUBJECT, config(prompts=(own,), num_images_per_prompt=1), tmp_path / own[-3:])
    warnings = [message for message in caplog.messages if "cut off" in message]
    assert len(warnings) == 1 and "a sks dog in the snow" in warnings[0] and "'toy' is cut off" in warnings[0]


def test_what_one_of_several_text_encoders_reads_is_not_cut_off(caplog: pytest.LogCaptureFixture) -> None:
    """T5 reads more than CLIP in Stable Diffusion 3 and FLUX.1."""
    model = StableDiffusion3(sd3_pipeline(), "tiny")
    clip, _, t5 = model.tokenizers.values()
    t5.model_max_length = 2 * clip.model_max_length
    warn_of_long(model, [" ".join(["toy"] * (clip.model_max_length + 4))])
    assert not caplog.messages
    warn_of_long(model, [" ".join(["toy"] * (t5.model_max_length + 4))])
    assert len(caplog.messages) == 1 and "is cut off" in caplog.messages[0]


def test_a_new_word_of_several_vectors_takes_their_room_in_a_prompt(caplog: pytest.LogCaptureFixture) -> None:
    taught = tiny_model()
    taught.add_tokens(["<toy>", "<toy>_1", "<toy>_2"])
    fits = "a <toy> in the snow with a big red mug and a"
    warn_of_long(taught, [fits, f"{fits} car"])
    assert len(caplog.messages) == 1 and "'car' is cut off" in caplog.messages[0]


@pytest.mark.parametrize("change", ["weights", "steps", "identifier"])
def test_what_was_drawn_from_something_else_is_drawn_again(change: str, model: DiffusionModel, tmp_path: Path) -> None:
    before = times(drawn(model, SUBJECT, config(), tmp_path))
    other = tiny_model(seed=1) if change == "weights" else model
    settings = config(num_inference_steps=3) if change == "steps" else config()
    subject = SUBJECT.named("olis") if change == "identifier" else SUBJECT
    own = [s for s in drawn(other, subject, settings, tmp_path) if s.kind == "own"]
    assert all(now not in before for now in times(own))


def test_seeds_are_distinct_grow_with_their_number_and_are_never_those_of_class_images() -> None:
    many = seeds(0, 1000)
    assert len(set(many)) == 1000
    assert many[:2] == seeds(0, 2)
    assert max(many) < FIRST_SEED
    assert seeds(1, 2) != seeds(0, 2)


def test_the_class_prompt_is_asked_without_the_identifier() -> None:
    assert words(CLASS_PROMPT, SUBJECT) == "a dog"
    assert words(Prompt("novel view", "a {} seen from behind"), SUBJECT) == "a sks dog seen from behind"


def test_a_bad_prompt_is_refused_before_anything_is_drawn(model: DiffusionModel, tmp_path: Path) -> None:
    with pytest.raises(PromptError, match="stray brace"):
        drawn(model, SUBJECT, config(prompts=("a {name}",)), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_pictures_of_others_are_not_taken_for_samples(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "stray.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    assert read_samples(tmp_path) == []
    assert read_samples(tmp_path / "missing") == []


def test_the_contact_sheet_holds_photos_then_before_beside_after(model: DiffusionModel, tmp_path: Path) -> None:
    Image.new("RGB", (300, 200), (200, 30, 30)).save(tmp_path / "photo.jpg")
    photos = [tmp_path / "photo.jpg", tmp_path / "moved-away.jpg"]
    before = drawn(model, SUBJECT, config(), tmp_path / "before")
    sheet = tmp_path / "sheet.png"
    contact_sheet(sheet, photos, before, before)
    with Image.open(sheet) as image:
        assert image.width > 4 * 96  # two and two pictures of 32 pixels, enlarged three times
        assert image.height > 3 * 96
        photos_row = np.asarray(image.crop((32, 32, 128, 200))).reshape(-1, 3)
    assert ((photos_row[:, 0] > 150) & (photos_row[:, 1] < 80)).any()


def test_a_contact_sheet_of_very_many_is_no_larger_than_a_jpeg_can_be(model: DiffusionModel, tmp_path: Path) -> None:
    Image.new("RGB", (300, 200), (200, 30, 30)).save(tmp_path / "photo.png")
    before = drawn(model, SUBJECT, config(), tmp_path / "before")
    many = [replace(sample, template=f"{sample.template} {number}") for sample in before for number in range(400)]
    contact_sheet(tmp_path / "sheet.jpg", [tmp_path / "photo.png"] * 900, many, before * 900)
    with Image.open(tmp_path / "sheet.jpg") as image:
        assert max(image.size) < 65_500


def test_no_contact_sheet_of_nothing(tmp_path: Path) -> None:
    contact_sheet(tmp_path / "sheet.png", [], [], [])
    assert not (tmp_path / "sheet.png").exists()


def test_a_long_label_is_wrapped_within_the_sheet() -> None:
    picture = Image.new("RGB", (64, 64), (10, 200, 10))
    short, long = (lay_out([Row(label, (("", (picture,)),))], 192) for label in ("a dog", "a very " * 20))
    assert long.width == short.width
    assert long.height > short.height + 60
