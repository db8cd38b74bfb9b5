"""The model that a run made, and more samples by it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dreambooth import adapters, models
from dreambooth.config import Base, Config
from dreambooth.errors import ConfigError, DreamBoothError, RunError
from dreambooth.generation.generate import generate as generate_into
from dreambooth.generation.in_run import prompts_of
from dreambooth.generation.prompts import own_prompts, warn_of_nameless
from dreambooth.generation.requests import requests, sampling_of, seeds
from dreambooth.generation.samples import Sample
from dreambooth.models.base import DiffusionModel
from dreambooth.run import Run, checkpoint
from dreambooth.run.choice import in_use, weights_of
from dreambooth.run.companions import each
from dreambooth.run.records import BASE
from dreambooth.support.device import device
from dreambooth.support.progress import log

DRAWING = ("sampler", "num_inference_steps", "guidance_scale")
"""The settings that samples on request may have of their own."""
LAST_SEED = 2**31 - 1


def personal_model(run: Run) -> DiffusionModel:
    """The model that the run made, on the GPU where there is one; raises RunError where it has not been made yet.

    Weights that trained as a whole are opened in the float32 that they were trained in: in bfloat16 a small change is
    rounded away. So is a LoRA by few bits (--base-bits): there it is put beside its base model, as it was trained.
    """
    folder, config = personal_folder(run), run.config
    if config.base.base_bits and (beside := _beside_its_base(run)):
        return beside
    dtype = "float32" if config.method.method == "dreambooth" else config.base.dtype
    model = models.load(Base(model=str(folder), dtype=dtype, group_offload=config.base.group_offload))
    model.to(device())
    model.name = BASE.read(run.root).model  # its samples say what it was tuned from
    return model


def personal_folder(run: Run) -> Path:
    """The folder of that model, as it was written; raises RunError where it has not been made yet."""
    if not run.is_personalised:
        there = "is incomplete or damaged" if run.model.exists() else "has not been made yet"
        raise RunError(f"{run.model} {there}: make it with `dreambooth continue {run.root}`.")
    return run.model


def _beside_its_base(run: Run) -> DiffusionModel | None:
    """The base model in few bits with what was trained beside it; None, with a warning, where either has gone."""
    whole, config = run.whole or run, run.config
    try:
        step = in_use(whole) or checkpoint.newest_step(whole.checkpoints)
        if step is None:
            raise RunError(f"{whole.root} keeps no weights of its training.")
        weights = weights_of(whole, step)
        model = models.load(config.base, config.data.resolution)
        model.to(device())
        if model.fingerprint() != BASE.read(whole.root).fingerprint:
            raise RunError(f"{model.name} has other weights than {whole.root} was begun with.")
    except DreamBoothError as error:
        log.warning("opening %s without --base-bits, which takes more memory: %s", run.model, error)
        return None
    for stage in adapters.tuned(model, config):
        adapters.attach(model, stage, whole.subject, config).load(weights)
    return model


def generate(
    run: Run | Path | str,
    prompts: Sequence[str] | str = (),
    *,
    count: int | None = None,
    seed: int | None = None,
    **settings: Any,
) -> list[Sample]:
    """Generate more samples with the personalised model, to samples/own; prompts hold {} where the subject's name goes.

    run: it, or its folder.  prompts: [default: the run's].  count: of each [default: as the run has it].  seed: of the
    first sample, the next ones count on from it [default: the run's seeds].  settings: sampler, num_inference_steps,
    guidance_scale where they are not the run's. Older samples stay. Each is drawn alone: it depends on its words, seed,
    settings and weights, and on nothing else. Raises RunError where the run has no model yet, PromptError or
    ConfigError for what cannot be done.
    """
    run, prompts = Run.at(run), (prompts,) if isinstance(prompts, str) else prompts
    own = own_prompts(prompts)[: len(prompts)]
    warn_of_nameless(own, [its.subject for its in each(run)])
    if others := settings.keys() - DRAWING:
        raise ConfigError([f"{name}: is no setting of a sampler: {', '.join(DRAWING)} are" for name in sorted(others)])
    asked = settings if count is None else {**settings, "num_images_per_prompt": count}
    config = Config.build({**run.config.flat(), **asked})
    count = config.generation.num_images_per_prompt
    if seed is not None and not 0 <= seed <= LAST_SEED - count + 1:
        raise ConfigError([f"seed: must be from 0 to {LAST_SEED - count + 1} for {count} samples, got {seed}"])
    numbers = seeds(config.seed, count) if seed is None else range(seed, seed + count)
    with run.lock():
        model = personal_model(run)
        models.check(model, config)
        wanted = requests(own or prompts_of(run), run.subject, numbers)
        sampling = sampling_of(config.generation)
        return generate_into(model, wanted, sampling, run.samples / "own", batch_size=1, keep_others=True)
