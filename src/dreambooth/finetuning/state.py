"""What a fine-tuning is resumed from: written at every checkpoint, and put back by the next process."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from torch import Tensor

from dreambooth.adapters import Adapter
from dreambooth.config import Config
from dreambooth.data.turns import Dataset
from dreambooth.errors import TrainingError
from dreambooth.models.base import DiffusionModel
from dreambooth.run import Run, checkpoint
from dreambooth.run.checkpoint import Checkpoint
from dreambooth.run.companions import each
from dreambooth.run.kept import of_step, steps
from dreambooth.support.distributed import world
from dreambooth.support.files import key_of, require_space
from dreambooth.support.optimizer import Optimizer
from dreambooth.support.progress import log
from dreambooth.support.tensor_files import is_finite


@final
class State:
    """The weights that train, their average and their optimizer, and the checkpoints of a run that hold them.

    ema: empty where no average is kept.  done: optimizer steps of the checkpoint that was resumed from.
    """

    def __init__(
        self, adapter: Adapter, optimizer: Optimizer, ema: Mapping[str, Tensor], config: Config, settings: str, run: Run
    ) -> None:
        self.adapter, self.optimizer, self.ema = adapter, optimizer, ema
        self.training, self.settings, self.run = config.training, settings, run
        self.trained = adapter.state()
        self.done = 0
        self.writes = world().rank == 0

    def resume(self) -> int:
        """Put back the latest good checkpoint, drop the losses after it, and return the number of steps done.

        Raises DiskError where the checkpoints to come would find no room.
        """
        found = checkpoint.latest(self.run.checkpoints, self.settings)
        weights = sum(parameter.nbytes for parameter in self.optimizer.parameters)
        size = self.optimizer.size + (2 if self.ema else 1) * weights
        done, training = found.step if found else 0, self.training
        there = len(steps(self.run.checkpoints))
        room = training.checkpoints_total_limit + 1 - there  # a new one is written before the oldest goes
        to_come = -(-(training.max_train_steps - done) // training.checkpointing_steps)
        require_space(self.run.checkpoints, min(room, to_come) * size, "the checkpoints of this run")
        if found:
            self._put_back(found)
            log.info("resuming after step %d", done)
        for its in each(self.run):
            its.forget_after(done)
        return done

    def follow(self, done: int) -> None:
        """Put back the checkpoint of the step that process 0 resumed from, in another process."""
        if done:
            self._put_back(checkpoint.read(of_step(self.run.checkpoints, done)))

    def _put_back(self, found: Checkpoint) -> None:
        self.adapter.load(found.tensors["weights"])
        self.optimizer.load(checkpoint.nested(found.tensors["optimizer"]), found.scaler)
        for name in self.ema:
            self.ema[name].copy_(found.tensors["ema"][name])
        self.done = found.step

    def write(self, step: int) -> None:
        """Write the checkpoint of `step`; of several processes the first one does.

        Raises TrainingError, and writes nothing, where a weight is not finite: a finite loss and gradient can still
        take one there, and no later loss tells of the last step.
        """
        if not self.writes:
            return
        tensors = {"weights": self.trained, "optimizer": checkpoint.flat(self.optimizer.moments)}
        tensors |= {"ema": dict(self.ema)} if self.ema else {}
        for part, named in tensors.items():
            if bad := next((name for name, tensor in named.items() if not is_finite(tensor)), None):
                raise self._broken(step, "the optimizer's" if part == "optimizer" else "the weight", bad)
        state = Checkpoint(step=step, settings=self.settings, tensors=tensors, scaler=self.optimizer.scale)
        checkpoint.write(self.run.checkpoints, state, self.training.checkpoints_total_limit)

    def write_before(self, step: int) -> None:
        """Write the checkpoint of the steps before `step`, the first that was not finite, unless it is there."""
        if step > self.done and checkpoint.newest_step(self.run.checkpoints) != step:
            self.write(step)

    def _broken(self, step: int, whose: str, name: str) -> TrainingError:
        newest = checkpoint.newest_step(self.run.checkpoints)
        kept = f"step {newest} is the last that is saved" if newest else "nothing is saved"
        return TrainingError(
            f"{whose} {name} is not finite after step {step}: {kept}. Start over with a lower learning rate (it was "
            f"{self.optimizer.rates[0]:g}), and AdamW settings nearer to the usual ones."
        )


FREE = {
    *("max_train_steps", "checkpointing_steps", "checkpoints_total_limit", "validation_steps"),
    *("stages", "super_resolution_steps", "super_resolution_lr"),  # a stage has its own as the other settings
}
"""Settings of the training that may change before it is resumed."""


def settings_of(model: DiffusionModel, dataset: Dataset, config: Config) -> str:
    """A hash of what must be equal to resume, beside config.toml; not how often a run saves and shows, nor how long."""
    mine: dict[str, Any] = config.model_dump(mode="json", include={"seed", "method", "data", "prior", "training"})
    mine["training"] = {name: value for name, value in mine["training"].items() if name not in FREE}
    # class images follow from the model and the settings, and a longer training has more of them
    photos = [at for at, is_prior in enumerate(dataset.is_prior.tolist()) if not is_prior]
    names = [Path(dataset.names[at]).name for at in photos]
    payload: list[Any] = [mine, model.fingerprint(), names, [dataset.prompts[at] for at in photos]]
    if dataset.weight is not None:
        payload.append(dataset.weight[photos].flatten().tolist())
    return key_of(payload, 16)
