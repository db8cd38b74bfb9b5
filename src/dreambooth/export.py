"""A model for other programs: one file, as ComfyUI and A1111 open it, a diffusers folder in another precision, or a
repository on the hub.
"""

from pathlib import Path
from typing import Literal

import torch

from dreambooth import models
from dreambooth.config import Base
from dreambooth.errors import DiskError, ModelError
from dreambooth.models.base import DiffusionModel
from dreambooth.personal import personal_folder
from dreambooth.run import Run
from dreambooth.run.contents import CONFIG
from dreambooth.support.files import at_home, require_space

Precision = Literal["float32", "float16", "bfloat16"]
Prediction = Literal["epsilon", "v_prediction"]


def export_single_file(
    source: Path | str, file: Path | str, precision: Precision, predicts: Prediction | None = None
) -> None:
    """Write a run's model, or a base model, to one .safetensors file of the original layout.

    source: a run folder, or what --model takes.  predicts: as the setting prediction_type.  Raises ModelError where
    that layout has no place for the model, DiskError where the file exists or cannot be written, RunError where the run
    has no model yet or is damaged, ConfigError where only its weights say what it predicts.
    """
    model, title = _opened(source, file, precision, predicts)
    model.save_single_file(file, title)


def export_folder(
    source: Path | str, folder: Path | str, precision: Precision, predicts: Prediction | None = None
) -> None:
    """Write the same to a diffusers folder; raises as `export_single_file` does."""
    model, _ = _opened(source, folder, precision, predicts)
    model.save(folder)


def push_to_hub(source: Path | str, repo: str, public: bool = False, endpoint: str | None = None) -> str:
    """Upload what a run has made, with its card, to a model repository of the hub; returns its address.

    The adapter where the method made one, else the model; of a cascade the model, as each of its stages has an adapter
    of its own; never photos or checkpoints.  repo: owner/name, or name alone; made where it is not there, private
    unless `public`.  endpoint: another hub's address. Raises RunError where the run has no model yet, ModelError where
    the hub refuses or cannot be reached, or has it for all to see without `public`.
    """
    from huggingface_hub import HfApi

    if not (at_home(source) / CONFIG).is_file():
        raise ModelError(f"{source} is no run: --push-to-hub takes the folder that `dreambooth run` made.")
    run = Run.open(Path(source))
    model = personal_folder(run)
    folder = run.adapter if run.adapter.is_dir() and not run.later_stages else model
    api = HfApi(endpoint=endpoint, library_name="dreambooth")
    try:
        made = api.create_repo(repo, private=not public, exist_ok=True)
        if not public and api.model_info(made.repo_id).private is False:  # it was there before
            raise ModelError(f"{made.repo_id} is public, and nothing was uploaded: add --public, or give another name.")
        api.upload_folder(repo_id=made.repo_id, folder_path=folder, commit_message=f"{run.subject.name}, by DreamBooth")
    except ModelError:
        raise
    except Exception as error:  # the hub's client raises its own kinds for a token, a name, a network
        said = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"{folder} could not be uploaded to {repo}: log in with `hf auth login`, with a token that may write, and "
            f"check the name. (The hub: {said})"
        ) from error
    return str(made)


def _opened(
    source: Path | str, target: Path | str, precision: Precision, predicts: Prediction | None
) -> tuple[DiffusionModel, str]:
    """The model in one precision, and what it is called."""
    source, target = str(source), at_home(target)
    if target.exists():
        raise DiskError(f"{target} exists, and nothing is written over it: choose another name.")
    run = Run.open(source) if (at_home(source) / CONFIG).is_file() else None
    model = models.load(Base(model=str(personal_folder(run)) if run else source, prediction_type=predicts))
    if not model.weights.round_to(getattr(torch, precision)):
        raise ModelError(f"{source} has weights too large for {precision}: give --dtype bfloat16 or float32.")
    require_space(target.parent, model.weights.written, "the export", "choose another place for it")
    return model, run.subject.name if run else model.name
