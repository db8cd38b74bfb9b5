"""Any adapter on any small family, fine-tuned on random latents; what that leaves, and what a resumed run leaves."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from dreambooth.adapters import Adapter
from dreambooth.config import Config
from dreambooth.data.dataset import LatentDataset
from dreambooth.finetuning import finetune
from dreambooth.models.base import DiffusionModel
from dreambooth.run import Run
from dreambooth.subject import Subject
from dreambooth.support.files import sha256
from dreambooth.support.rng import normal
from families import FAMILIES, Family
from tiny import attached
from tiny_if import low_res


def subject_of(config: Config) -> Subject:
    """The subject as `with_identifier` names it."""
    names = {"textual_inversion": "<dog>", "pivotal": "<dog>", "prompt_only": config.method.description}
    return Subject(
        photos=(),
        class_noun="dog",
        identifier=names.get(config.method.method, "sks"),
        with_class_noun=config.method.method not in ("textual_inversion", "prompt_only"),
    )


def train(family: Family, model: DiffusionModel, config: Config, root: Path) -> Adapter:
    """Fine-tune on random latents in `root`; the adapter, still attached."""
    subject = subject_of(config)
    adapter = attached(model, subject, config, family.stage)
    classes = 2 if config.prior.with_prior_preservation else 0
    dataset = LatentDataset(
        mean=normal((3 + classes, *family.latent), "photos"),
        std=torch.full((3 + classes, *family.latent), 0.1),
        prompts=(*[subject.prompt] * 3, *[subject.class_prompt] * classes),
        is_prior=torch.arange(3 + classes) >= 3,
        names=tuple(f"{number}.png" for number in range(3 + classes)),
        low_res=low_res(3 + classes),
    )
    root.mkdir(exist_ok=True)
    if adapter.parameter_groups():
        finetune(model, family.stage_of(model), adapter, dataset, config, Run(root))
    return adapter


def left(run: Run, step: int) -> dict[str, str]:
    """SHA-256 of weights, average and optimizer at a step, and the losses until then without their seconds."""
    found = {file.name: sha256(file) for file in (run.checkpoints / f"checkpoint-{step}").glob("*.safetensors")}
    lines = [{**json.loads(line), "seconds": None} for line in run.losses.read_text().splitlines()]
    return {**found, "losses": json.dumps(lines)}


def resumed_otherwise(family: str, settings: dict[str, Any], steps: int, root: Path, every: int = 1) -> list[str]:
    """A run of `steps` steps, and from every step of it one that resumes there; whatever is left otherwise."""
    its, whole, different = FAMILIES[family], Run(root / "whole"), []
    plain: dict[str, Any] = {"model": "tiny", "max_train_steps": steps, "learning_rate": 1e-3, "validation_steps": 100}
    plain |= {**its.settings, **settings}
    train(
        its,
        its.model(),
        Config.build({**plain, "checkpointing_steps": 1, "checkpoints_total_limit": 10**6}),
        root / "whole",
    )
    expected = left(whole, steps)
    for step in range(1, steps, every):
        run = Run(root / f"from-{step}")
        shutil.copytree(whole.checkpoints / f"checkpoint-{step}", run.checkpoints / f"checkpoint-{step}")
        shutil.copy(whole.losses, run.losses)  # as if it had been killed long after its last checkpoint
        train(its, its.model(), Config.build({**plain, "checkpointing_steps": steps}), run.root)
        mine = left(run, steps)
        different += [
            f"{name}, resumed after {step}" for name in expected | mine if mine.get(name) != expected.get(name)
        ]
        shutil.rmtree(run.root)
    return different
