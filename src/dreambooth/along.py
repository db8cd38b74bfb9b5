"""How the fine-tuning of a stage begins, in every process of a run; and what each process does but the first."""

from collections.abc import Sequence
from pathlib import Path

from dreambooth import adapters, models
from dreambooth.adapters import Adapter
from dreambooth.data.dataset import LatentDataset, encode_once, examples
from dreambooth.finetuning import finetune
from dreambooth.models.base import DiffusionModel, Stage
from dreambooth.prior import class_images_of
from dreambooth.run import Run
from dreambooth.support.device import device
from dreambooth.support.distributed import world


def begin_stage(
    run: Run, model: DiffusionModel, stage: Stage, class_images: Sequence[Path]
) -> tuple[Adapter, LatentDataset]:
    """Photos and class images as rows, encoded; and what of the stage trains from here on."""
    config, subject = run.config, run.subject
    rows = examples(subject, class_images, config.data, stage.resolution, config.seed)
    dataset = encode_once(rows, stage.posterior, stage.low_res)
    return adapters.attach(model, stage, subject, run.stage(stage.name).config), dataset


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
            adapter, dataset = begin_stage(run, model, stage, class_images_of(run))
            if adapter.parameter_groups():
                finetune(model, stage, adapter, dataset, its.config, its)
            adapter.merge()
