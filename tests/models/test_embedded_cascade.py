"""The cascade that comes with the package: it opens by its name, is small, and draws the scenes it is asked for."""

from pathlib import Path

import pytest

from benchmarks.pictures import draw, tensor
from dreambooth import Config, models
from dreambooth.config.worlds import embedded_folder
from dreambooth.generation.requests import sampling_of
from dreambooth.toybox import world
from pretraining import classifier


@pytest.fixture(scope="module")
def config() -> Config:
    return Config.build({"model": "toybox-cascade"})


def test_it_is_a_deepfloyd_if_of_the_toybox(config: Config) -> None:
    assert (config.world.name, config.base.family) == ("toybox", "deepfloyd-if")
    model = models.load(config.base, config.data.resolution)
    assert [stage.name for stage in model.stages] == ["base", "super_resolution"]
    assert model.resolution == 64


def test_it_is_small() -> None:
    folder = embedded_folder("toybox-cascade")
    assert isinstance(folder, Path)
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < 14e6


def test_it_draws_the_scenes_of_its_prompts(config: Config) -> None:
    model = models.load(config.base, config.data.resolution)
    drawn = draw(model, [f"a car {scene}" for scene in world.SCENES], sampling_of(config.generation), 12)
    read = classifier.load().read(tensor([picture.resize((128, 128)) for picture in drawn]))
    right = sum(found["scene"] == scene for found, scene in zip(read, world.SCENES, strict=True))
    assert right >= len(world.SCENES) - 2
