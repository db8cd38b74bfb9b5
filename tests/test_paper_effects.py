"""The paper's effects themselves, on the embedded model: binding, language drift without the prior, its cure with it.

Short runs and few pictures, and bounds to match; benchmarks/quality.py measures what full runs reach, and
benchmarks/diagnosis.py the failures that are not asked here.
"""

from importlib.resources import files

import numpy as np
import pytest
import torch

from dreambooth import recipe
from dreambooth.config import Config
from dreambooth.data.photos import photos_in
from dreambooth.models.base import DiffusionModel, Sampling
from dreambooth.personal import personal_model
from dreambooth.run import Run
from dreambooth.run.records import DIAGNOSIS
from dreambooth.subject import Subject
from dreambooth.toybox.photos import photos
from dreambooth.toybox.world import Toy
from pretraining import classifier

SHORT = {
    "max_train_steps": 300,
    "num_class_images": 40,
    "validation_steps": 300,
    "checkpointing_steps": 1000,
    "use_ema": False,  # in so short a run the preset's average lags behind what has just been learned
}
WITHOUT = {"with_prior_preservation": False}

pytestmark = pytest.mark.skipif(
    not (files("dreambooth.toybox") / "weights" / "model_index.json").is_file(), reason="the weights are not made yet"
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """A short run with the prior, and one without, whose steps have half the rows."""
    folder = tmp_path_factory.mktemp("effects")
    subject = Subject(photos=tuple(photos("cat", 11, 4, folder / "photos")), class_noun="cat")
    assert photos_in(folder / "photos") == subject.photos
    made = []
    for name, its in (("with", {}), ("without", WITHOUT)):
        run = Run.create(folder / name, subject, Config.build({**SHORT, **its}))
        recipe.name_subject(run)
        recipe.personalise(run)
        made.append(run)
    return made[0], made[1]


def drawn(model: DiffusionModel, prompt: str, count: int = 8) -> torch.Tensor:
    """(N, 3, H, W) in [0, 1]."""
    images = model.generate(
        [prompt] * count, list(range(count)), Sampling(sampler="ddim", num_inference_steps=15, guidance_scale=3.0)
    )
    return torch.from_numpy(np.asarray(images)).permute(0, 3, 1, 2).float() / 255


def test_the_prior_keeps_the_class(runs: tuple[Run, Run]) -> None:
    judge, truth = classifier.load(), classifier.colours_of(Toy.from_seed("cat", 11))
    base = recipe.base_model(runs[0])
    tuned, drifted = map(personal_model, runs)
    subject = runs[0].subject

    before = judge.colour_distance(drawn(base, subject.prompt), truth)
    bound = judge.colour_distance(drawn(tuned, subject.prompt), truth)
    assert bound < 0.7 * before  # section 3.2: the identifier now means this one

    with_prior, without = (drawn(model, subject.class_prompt, 32) for model in (tuned, drifted))
    assert judge.colour_distance(without, truth) < 0.8 * judge.colour_distance(with_prior, truth)  # section 3.3: drift
    kept, lost = (judge.scenes(pictures) for pictures in (with_prior, without))
    assert kept > 1.2 * lost  # and the loss of diversity: of places,
    assert judge.spread(with_prior) > judge.spread(without)  # and of colours


def test_the_diagnosis_names_the_run_without_the_prior_and_does_not_flag_the_one_with_it(
    runs: tuple[Run, Run],
) -> None:
    good, drifted = (DIAGNOSIS.read(run.root).findings for run in runs)
    assert good == ()
    assert "variety lost" in {finding.failure for finding in drifted}
