"""How the fine-tuning of a stage begins, in every process of a run; and what each process does but the first."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dreambooth import adapters, models
from dreambooth.adapters import Adapter
from dreambooth.data.dataset import encode_once, examples
from dreambooth.data.turns import Dataset, in_turns
from dreambooth.evaluation.subject_masks import subject_masks
from dreambooth.finetuning import finetune
from dreambooth.models.base import DiffusionModel, Stage
from dreambooth.prior import class_images_of
from dreambooth.run import Run
from dreambooth.run.companions import each
from dreambooth.support.device import device
from dreambooth.support.distributed import world


def begin_stage(
    run: Run, model: DiffusionModel, stage: Stage, class_images: Sequence[Sequence[Path]]
) -> tuple[Adapter, Dataset]:
    """Each subject's photos and class images as rows, encoded; and what of the stage trains from here on."""
    config = run.config
    rows = [
        examples(its.subject, images, config.data, stage.resolution, config.seed, subject_masks(its))
        for its, images in zip(each(run), class_images, strict=True)
    ]
    encoded = [encode_once(of_one, stage.posterior, stage.low_res) for of_one in rows]
    if config.prior.needs_twins:
        encoded = [replace(its, twin=one.subject.class_prompt) for its, one in zip(encoded, each(run), strict=True)]
    dataset = in_turns(encoded)
    return adapters.attach(model, stage, run.subject, run.stage(stage.name).config), dataset


def train_along() -> None:
    """Wait for the first process, and take this one's rows of every step of whatever it trains, until it ends.

    Nothing is written. The stages of a model are trained apart: what one ends with is of no interest to the next.
    """
    while (place := world().called()) is not None:
        run = Run.open(Path(place))
        model = models.load(run.config.base, run.config.data.resolution)
        model.to(device())
        for stage in adapters.tuned(model, run.config):
            its = run.stage(stage.name)
            adapter, dataset = begin_stage(run, model, stage, list(map(class_images_of, each(run))))
            if adapter.parameter_groups():
                finetune(model, stage, adapter, dataset, its.config, its)
            adapter.merge()
