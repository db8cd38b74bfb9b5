"""A model that is tuned from the toybox is of the toybox: its prompts, judges, preset and samplers go with it."""

import json
import logging
import shutil
import warnings
from importlib.resources import files
from pathlib import Path

import pytest
from diffusers import DiffusionPipeline

from dreambooth import __version__, cli
from dreambooth.config import Config
from dreambooth.data.photos import photos_in
from dreambooth.generation.samples import read_samples, text_of
from dreambooth.recipe import personalise
from dreambooth.run import Run
from dreambooth.run.records import JUDGES, SCORES, WORLD_FIT
from dreambooth.subject import Subject
from dreambooth.toybox.home import TOYBOX
from dreambooth.toybox.photos import photos

pytestmark = pytest.mark.skipif(
    not (files("dreambooth.toybox") / "weights" / "model_index.json").is_file(), reason="the weights are not made yet"
)

FEW = {
    "max_train_steps": 1,
    "num_class_images": 1,
    "class_num_inference_steps": 1,
    "num_inference_steps": 1,
    "num_images_per_prompt": 1,
    "probe_images_per_prompt": 1,
    "probe_class_images": 2,
    "probe_num_inference_steps": 1,
    "identifier": "sks",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos of a toy in dog/."""
    folder = tmp_path_factory.mktemp("toy")
    photos("dog", 7, 2, folder / "dog", 64)
    return folder


@pytest.fixture(scope="module")
def tuned(place: Path) -> Run:
    """A run on the embedded model that has come as far as its model."""
    subject = Subject(photos=photos_in(place / "dog"), class_noun="dog")
    run = Run.create(place / "runs" / "dog", subject, Config.build({**FEW, "probe": False}))
    personalise(run)
    return run


@pytest.fixture(scope="module")
def again(place: Path, tuned: Run) -> Run:
    """A whole run on what that one saved, as the command line makes it; the saved model has then gone."""
    flags = [word for name, value in FEW.items() for word in (f"--{name}", str(value))]
    words = ["run", str(place / "dog"), "--class-noun", "dog", "--output-dir", str(place / "runs" / "again"), *flags]
    assert cli.main([*words, "--model", str(tuned.model)], __version__) == 0
    return Run(place / "runs" / "again")


def test_a_saved_model_does_not_say_where_on_this_machine_it_was_made(tuned: Run) -> None:
    here = str(files("dreambooth"))
    assert list(tuned.model.rglob("*.json"))
    for config in tuned.model.rglob("*.json"):
        said = config.read_text(encoding="utf-8")
        assert here not in said and str(tuned.root) not in said, config.name


def test_diffusers_opens_the_saved_model_without_a_word(tuned: Run, caplog: pytest.LogCaptureFixture) -> None:
    assert json.loads((tuned.model / "model_index.json").read_text())["_world"] == TOYBOX.name
    diffusers = logging.getLogger("diffusers")
    diffusers.addHandler(caplog.handler)
    try:
        with warnings.catch_warnings(record=True) as said:
            pipeline = DiffusionPipeline.from_pretrained(tuned.model)
    finally:
        diffusers.removeHandler(caplog.handler)
    assert type(pipeline).__name__ == "StableDiffusionPipeline"
    assert not [message for message in [*caplog.messages, *map(str, said)] if "world" in message]


def test_its_settings_are_those_of_the_embedded_model(tuned: Run, again: Run) -> None:
    mine, embedded = again.config.flat(), Config.build(FEW).flat()
    assert {name for name in mine if mine[name] != embedded[name]} == {"model", "world"}
    assert again.config.world is TOYBOX and again.config.base.model == str(tuned.model)
    assert again.config.generation.sampler == TOYBOX.preset["sampler"]


def test_it_is_asked_measured_and_saved_as_the_embedded_model_is(again: Run) -> None:
    drawn = [sample.template for sample in read_samples(again.samples / "after")]
    assert drawn == [prompt.template for prompt in TOYBOX.prompts("dog")]
    assert {sample.template for sample in read_samples(again.samples / "step-000001")} == {
        prompt.template for prompt in TOYBOX.probe_prompts
    }
    judges = JUDGES.read(again.root)
    assert judges.dino.startswith("toybox-dino#") and judges.clip.startswith("toybox-clip#")
    assert (SCORES.read(again.root)[-1].variety["class"].scenes or 0) >= 1  # its scenes are known
    assert not WORLD_FIT.read(again.root).foreign
    assert json.loads((again.model / "model_index.json").read_text())["_world"] == TOYBOX.name


def test_its_pictures_are_scored_by_the_toyboxs_judges_wherever_they_are(
    place: Path, again: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = shutil.copytree(again.samples / "after", tmp_path / "pictures")
    assert {text_of(path)["world"] for path in pictures.glob("*.png")} == {TOYBOX.name}
    assert cli.main(["evaluate", str(pictures), "--photos", str(place / "dog")], __version__) == 0
    assert "dino is toybox-dino#" in capsys.readouterr().out


def test_a_run_outlives_the_model_that_it_began_with(tuned: Run, again: Run, tmp_path: Path) -> None:
    moved = Run(shutil.copytree(again.root, again.root.with_name("moved")))
    hidden = tuned.model.rename(tmp_path / "hidden")
    try:
        assert cli.main(["evaluate", str(moved.root)], __version__) == 0
        assert json.loads((moved.root / "evaluation.json").read_text())["judges"]["dino"].startswith("toybox-dino#")
    finally:
        hidden.rename(tuned.model)
