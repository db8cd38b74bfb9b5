"""What this machine can do of what is asked, as far as it can be known before anything is opened."""

from importlib.util import find_spec

from dreambooth.config.savings import BNB
from dreambooth.config.settings import Config
from dreambooth.config.worlds import EMBEDDED_MODELS
from dreambooth.errors import ConfigError, ModelError
from dreambooth.support.device import device
from dreambooth.support.distributed import asked_for, world
from dreambooth.support.files import at_home
from dreambooth.support.hub import is_hub_id, require_cached
from dreambooth.support.model_index import MODEL_INDEX


def check_reach(config: Config) -> None:
    """Raise ModelError for a base model that is not here: a folder or file, or one of the hub where no network may be
    asked. Without torch."""
    model = config.base.model
    if model not in EMBEDDED_MODELS and not is_hub_id(model) and not at_home(model).exists():
        raise ModelError(f"there is no folder or file {model}: give one that is there, a hub id owner/name, or toybox.")
    require_cached("the base model", model, MODEL_INDEX, config.base.revision)


def check_machine(config: Config) -> None:
    """Raise ConfigError where this machine cannot do what is asked of it; it costs nothing, so ask early.

    Raises DreamBoothError for a device that is not there.
    """
    problems, precision, kind = [], config.training.mixed_precision, device().type
    training, size = config.training, world().size
    rows = training.train_batch_size * training.gradient_accumulation_steps * (1 + config.prior.with_prior_preservation)
    if (asked := asked_for()) != size:
        problems.append(
            f"WORLD_SIZE is {asked}, and this process is alone: several share a run that they start by "
            "`torchrun ... -m dreambooth run`, `continue` or `finetune`."
        )
    if rows < size:
        problems.append(
            f"{size} processes share the {rows} rows of a step: start {rows}, or raise --train-batch-size or "
            "--gradient-accumulation-steps."
        )
    if precision != "no" and kind != "cuda":
        chosen = f"; --memory {config.memory} is for such GPUs: leave it out" if config.memory else ""
        problems.append(f"mixed_precision: {precision!r} needs a GPU with CUDA; on {kind} it must be 'no'{chosen}.")
    if training.cuda_graphs and kind != "cuda":
        problems.append(f"cuda_graphs: wants a GPU with CUDA, and this is {kind}; leave it out.")
    if config.base.group_offload and kind != "cuda":
        problems.append(f"group_offload: spares the memory of a GPU with CUDA, and this is {kind}; leave it out.")
    if config.base.dtype != "float32" and kind == "mps":
        problems.append(f"dtype: {config.base.dtype!r} is not for Apple's mps; there it must be 'float32'.")
    if (tracker := config.tracking.report_to) and find_spec(tracker) is None:
        problems.append(f"report_to: {tracker!r} is not installed: pip install {tracker}.")
    asking = {"use_8bit_adam": training.use_8bit_adam and training.max_train_steps, "base_bits": config.base.base_bits}
    chosen = f"; --memory {config.memory} may have chosen it" if config.memory else ""
    if find_spec("bitsandbytes") is None:
        problems += [f"{name}: bitsandbytes is not installed: {BNB}{chosen}." for name, asks in asking.items() if asks]
    if problems:
        raise ConfigError(problems)
