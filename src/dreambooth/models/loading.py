"""A base model by what the user calls it: the embedded one, a folder, a file, or a name on the hub."""

from pathlib import Path

import torch

from dreambooth.config import Base, Config
from dreambooth.config.families import BY_PIPELINE, pipeline_of_file
from dreambooth.config.settings import OF_A_CASCADE
from dreambooth.config.worlds import RECORD, embedded_folder, named
from dreambooth.diffusion import RectifiedFlow
from dreambooth.errors import ConfigError, ModelError
from dreambooth.models import hub, prediction
from dreambooth.models.base import DiffusionModel, Stage
from dreambooth.models.families import family, require_blocks, require_known, require_settings
from dreambooth.models.pickles import refuse_pickle
from dreambooth.models.single_file import names_in
from dreambooth.support.files import at_home
from dreambooth.support.hub import is_hub_id
from dreambooth.support.libraries import hushed
from dreambooth.support.model_index import MODEL_INDEX, SIDE, no_model, read_model_index
from dreambooth.support.rng import generator


@hushed()
def load(base: Base, resolution: int | None = None) -> DiffusionModel:
    """Open a base model on the CPU: the embedded one, a diffusers folder, a .safetensors file or a hub id "owner/name".

    resolution: the side in pixels at which it shall train and draw where it can at any; None: as its folder says.
    Only safetensors are read and no code of the model's is run. Raises ModelError where there is no such model, or it
    is none of FAMILIES, or a part of it is missing or damaged; ConfigError where only its download says that it is of
    another world than the settings, or only its weights say what it predicts; and where its denoiser cannot be
    offloaded as asked.
    """
    model = _opened(base, resolution)
    hold(model, base)
    return model


def _opened(base: Base, resolution: int | None) -> DiffusionModel:
    folder, dtype = _folder(base), getattr(torch, base.dtype)
    if folder.is_file():
        return _from_file(folder, base, dtype)
    try:
        index = read_model_index(folder / MODEL_INDEX)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{folder} is not a diffusers model folder: its model_index.json is missing or damaged. "
            "Give a folder that a pipeline's save_pretrained has written."
        ) from error
    class_name = require_known(index, base.model)
    require_settings(base, class_name)
    world = _world(base, index.get(RECORD))
    model: DiffusionModel = family(class_name).open(folder, _told(base, folder), base, dtype)
    model.world = world
    for stage in model.stages:
        if (side := resolution or index.get(SIDE)) and stage.sides is not None:
            stage.resolution = int(side)
    _try_out(model)
    return model


@hushed()
def to_come(base: Base) -> tuple[DiffusionModel | None, int]:
    """The bytes of a model of the hub, its second stage included, that are not on this disk; and the model.

    That is as it is published, without values; None where its bytes are all here, or its family is published in many
    shapes. The bytes are 0, too, where the hub does not say them: then whoever opens it says why.
    """
    folder = embedded_folder(base.model) or at_home(base.model)
    if not folder.exists() and not is_hub_id(base.model):
        return None, 0
    found = (_class_name(folder), 0) if folder.exists() else hub.to_come(base)
    if found is None or (larger := _second_to_come(base, found[0])) is None:
        return None, 0
    class_name, size = found[0], found[1] + larger
    if not size or (published := getattr(family(class_name), "without_values", None)) is None:
        return None, size
    model: DiffusionModel = published(base.model, getattr(torch, base.dtype))
    model.world = _world(base, None)
    hold(model, base)
    return model, size


def _class_name(folder: Path) -> str:
    """The pipeline that a folder names; empty for a file, or where whoever opens it says what is wrong."""
    try:
        return str(read_model_index(folder / MODEL_INDEX).get("_class_name"))
    except (OSError, ValueError):
        return ""


def _second_to_come(base: Base, class_name: str) -> int | None:
    """Of the second stage that is another model of the hub; None where the hub does not say."""
    kind = family(class_name).second if class_name in BY_PIPELINE else None
    if kind is None or base.super_resolution is None or at_home(base.super_resolution).exists():
        return 0
    found = hub.to_come(hub.second_of(base), kind) if is_hub_id(base.super_resolution) else None
    return None if found is None else found[1]


def hold(model: DiffusionModel, base: Base) -> None:
    """Hold what reads text and what denoises in as many bits, and where, as asked; the image decoder stays as it is."""
    parts = model.weights.parts.keys() - {"vae"}
    if base.base_bits is not None:
        model.weights.quantize(parts, base.base_bits)
    if base.group_offload:
        model.weights.offload_blocks(parts)


def _from_file(file: Path, base: Base, dtype: torch.dtype) -> DiffusionModel:
    refuse_pickle(file)
    names = set(names_in(file))
    kind = pipeline_of_file(names)
    if kind is None:
        raise ModelError(
            f"{file} is no checkpoint that this package can read from one file; it reads Stable Diffusion 1.x and SDXL "
            "with their text encoders and autoencoder inside. Give the model's diffusers folder."
        )
    require_blocks(base, kind)
    model: DiffusionModel = family(kind).open_file(file, base, dtype)
    model.world = _world(base, None)
    _try_out(model)
    if base.prediction_type is None and prediction.said_by(file, names) is None:
        stage = model.stages[0]
        prediction.ask(stage, model.name, _small(stage) if model.dtype is torch.float32 else None)
    return model


@torch.no_grad()
def _try_out(model: DiffusionModel) -> None:
    """Raise ModelError where a small picture and a word do not go through: parts that are whole need not fit together.

    Better now than at the first class image; it takes about as long as reading the weights once. A model in half
    precision is not tried: a CPU, where it is opened, takes minutes for that.
    """
    if model.dtype is not torch.float32:
        return
    stage = model.stages[0]
    side = _small(stage)
    try:
        latent, _ = stage.posterior(torch.zeros(1, 3, side, side))
        t = stage.process.sample_t(latent.shape, generator("try out"))
        stage.predict(latent, t, stage.condition(["a"]))
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever torch or a library says of sizes, settings and words that do not fit
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ModelError(
            f"{model.name} opens, but its parts do not fit together: {reason}. Its folder may be mixed from several "
            "models: copy or download it again, or choose another."
        ) from error


def _small(stage: Stage) -> int:
    """Side of a small picture that suits the stage, in pixels; `check` tells one that the user gave and does not."""
    grain = stage.sides or 1
    return min(64, stage.resolution) // grain * grain or grain


def check(model: DiffusionModel, config: Config) -> None:
    """Raise ConfigError for what the model's family cannot do; it costs nothing, so ask early."""
    asked = {"class_sampler": config.prior.class_sampler, "sampler": config.generation.sampler}
    problems = [
        f"{setting}: {sampler!r} is none of {model.name}'s: {', '.join(model.samplers)}"
        for setting, sampler in asked.items()
        if sampler not in model.samplers
    ]
    steps = {
        "class_num_inference_steps": config.prior.class_num_inference_steps,
        "probe_num_inference_steps": config.probe.probe_num_inference_steps,
        "num_inference_steps": config.generation.num_inference_steps,
    }
    problems += [
        f"{setting}: {model.name} draws in {model.least_steps} steps or more, not in {count}"
        for setting, count in steps.items()
        if count < model.least_steps
    ]
    names = [stage.name for stage in model.stages]
    problems += [
        f"stages: {name!r} is none of {model.name}'s: {', '.join(names)}"
        for name in config.training.stages
        if name not in names
    ]
    if len(names) == 1:
        usual = config.usual()
        problems += [
            f"{name}: {model.name} is no cascade and has no second stage: leave it out"
            for name, value in config.flat().items()
            if name in OF_A_CASCADE and value != usual[name]
        ]
    if len(names) > 1 and config.data.resolution is not None:
        problems.append(f"resolution: the stages of {model.name} have each their own: leave it out")
    for stage in model.stages:
        if stage.sides is not None and stage.resolution % stage.sides:
            problems.append(
                f"resolution: {stage.resolution} is no multiple of {stage.sides} pixels, which {model.name} needs"
            )
        if config.training.noise_levels is not None and not isinstance(stage.process, RectifiedFlow):
            problems.append(
                f"noise_levels: {model.name} is no rectified flow and draws its times uniformly: leave it out"
            )
    if problems:
        raise ConfigError(problems)


def _told(base: Base, folder: Path) -> str:
    """What the model is called in records: a hub id with the commit that was resolved, else as the user called it."""
    return f"{base.model}@{folder.name}" if folder.parent.name == "snapshots" else base.model


def _world(base: Base, recorded: str | None) -> str:
    """The name of the model's world; raises ConfigError where nobody knew it before the model was downloaded."""
    settled = named(base.model).name
    if base.world is None and recorded not in (None, settled) and not Path(base.model).exists():
        problem = f"world: {base.model} is of the world {recorded}, and its settings suit {settled}"
        raise ConfigError([f"{problem}: give --world {recorded}"])
    return named(base.world or recorded or base.model).name


def _folder(base: Base) -> Path:
    local, embedded = at_home(base.model), embedded_folder(base.model)
    if embedded or local.exists():
        if base.revision is not None:
            raise ModelError(
                f"{base.model} is on this disk and has no revisions: leave out --revision {base.revision}, "
                "or give a hub id owner/name."
            )
        if reason := "" if embedded else no_model(local):
            raise ModelError(f"{reason}.")
        return embedded or local
    if not is_hub_id(base.model):
        raise ModelError(
            f"there is no folder or file {base.model}, and it is no hub id either: give toybox, an existing diffusers "
            "folder or .safetensors file, or owner/name."
        )
    return hub.downloaded(base)
