"""The loop around the step: accumulate, clip, average, save, show, stop and resume."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from typing import Any, cast, final

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]
from accelerate.state import AcceleratorState  # type: ignore[import-untyped]
from torch import Tensor

from dreambooth.adapters import Adapter
from dreambooth.config import Config, Training
from dreambooth.config.machine import check_machine
from dreambooth.data.batch import Batch
from dreambooth.data.turns import Dataset
from dreambooth.errors import Interrupted, TrainingError
from dreambooth.finetuning.base_prediction import BasePrediction
from dreambooth.finetuning.graphs import recorded
from dreambooth.finetuning.state import State, settings_of
from dreambooth.finetuning.step import training_step
from dreambooth.finetuning.tracking import Reporter
from dreambooth.models.base import DENOISER, Conditioning, DiffusionModel, Stage
from dreambooth.run import Run
from dreambooth.run.records import LOSSES
from dreambooth.run.status import samples_asked
from dreambooth.run.taken import Taken
from dreambooth.support.device import device, keep_freed_memory
from dreambooth.support.distributed import world
from dreambooth.support.optimizer import Optimizer, lr_factor
from dreambooth.support.progress import track
from dreambooth.support.signals import stop_signal

Observer = Callable[[int, DiffusionModel], bool | None]
"""Called with the step and the model as it would be saved then; True: stop training here.

After a resume it may see the same step again, and must answer the same.
"""

UNREAD = {"cpu": 1, "cuda": 25}
"""Steps that a device may take before their losses are read: to read a GPU is to wait for it, the CPU costs nothing."""


def finetune(
    model: DiffusionModel,
    stage: Stage,
    adapter: Adapter,
    dataset: Dataset,
    config: Config,
    run: Run,
    observers: Sequence[Observer] = (),
    on_request: Observer | None = None,
) -> None:
    """Train what `adapter` chose of a stage of the base `model`, resuming from the run's latest good checkpoint.

    on_request: called after a step where the file "sample" asks for it.

    Afterwards the model holds the trained weights (their running average with use_ema), and a checkpoint of the last
    step, or of the one where an observer stopped it, makes a second call return at once. Raises ConfigError for a
    machine that cannot do what is asked, TrainingError before a loss that is not finite reaches the weights, DiskError
    where a checkpoint finds no room, and Interrupted on Ctrl-C or SIGTERM, after saving.
    """
    check_machine(config)
    training = config.training
    loop = _Loop(model, stage, adapter, dataset, config, run)
    if not adapter.trains_text:
        loop.encode_prompts_once()
        model.offload(stage.text_parts)  # nothing reads a prompt again: the frozen text encoders make room
    done = loop.resume()
    # the observers may have been cut short by what ended the run before
    enough = done > 0 and _due(done, training.validation_steps, training) and loop.show(done, observers)
    with closing(loop.reporter), stop_signal() as stopped, loop.recorded():
        for step in track(range(done, done if enough else training.max_train_steps), "fine-tuning", done):
            loop.advance(step)
            if saved := _due(step + 1, training.checkpointing_steps, training):
                loop.save(step + 1)
            if not loop.world.agree(bool(stopped)) and _due(step + 1, training.validation_steps, training):
                enough = loop.show(step + 1, observers)
            elif loop.world.agree(on_request is not None and samples_asked((run.whole or run).root)):
                loop.show(step + 1, [on_request] if on_request else [])  # process 0 alone is given one
            stop = loop.world.agree(bool(stopped))
            if (stop or enough) and not saved:
                loop.save(step + 1)
            if stop:
                by = stopped[0] if stopped else "a signal to another process"
                raise Interrupted(
                    f"stopped by {by} after step {step + 1} of {training.max_train_steps}, which is saved. "
                    "Run the same command again to resume."
                )
            if enough:
                break
    loop.finish()


@final
class _Loop:
    """What changes from step to step: weights, optimizer and average."""

    def __init__(
        self, model: DiffusionModel, stage: Stage, adapter: Adapter, dataset: Dataset, config: Config, run: Run
    ) -> None:
        self.model, self.stage, self.adapter, self.dataset = model, stage, adapter, dataset
        self.config, self.run, self.world = config, run, world()
        settings = settings_of(model, dataset, config)
        self.world.require_same("settings, photos or weights", settings)
        training = config.training
        AcceleratorState._reset_state(reset_partial_state=True)  # a second run in this process may choose otherwise
        self.accelerator = Accelerator(mixed_precision=training.mixed_precision, cpu=device().type == "cpu")
        model.to(self.accelerator.device)
        keep_freed_memory()
        self.process = stage.process.with_snr_gamma(training.snr_gamma).with_noise_levels(training.noise_levels)
        self.optimizer = Optimizer(
            adapter.parameter_groups(),
            betas=(training.adam_beta1, training.adam_beta2),
            eps=training.adam_epsilon,
            weight_decay=training.adam_weight_decay,
            max_grad_norm=training.max_grad_norm,
            scaler=self.accelerator.scaler,
            eight_bit=training.use_8bit_adam,
            l2_to_start=training.l2_to_base,
        )
        self.trained = adapter.state()
        self.world.share(list(self.trained.values()))
        self.ema = {name: tensor.clone() for name, tensor in self.trained.items()} if training.use_ema else {}
        self.state = State(adapter, self.optimizer, self.ema, config, settings, run)
        for module in adapter.modules().values():
            module.eval()  # no dropout: it would draw from a stream that depends on the steps before
        if training.gradient_checkpointing:
            cast(Any, stage.parts[DENOISER]).enable_gradient_checkpointing()
        self.reporter = Reporter(run, config)
        self.encoded: dict[str, Conditioning] = {}
        prior = config.prior
        self.base = BasePrediction(stage, adapter, self.encoded, prior.dco_beta) if prior.needs_base else None
        self.unread: list[Taken] = []
        self.block = UNREAD.get(self.accelerator.device.type, 1)
        self.began = 0.0
        self.has_gradient: list[bool] | None = None

    def recorded(self) -> AbstractContextManager[None]:
        """With --cuda-graphs, a context in which the passes that gradients go through are replayed."""
        parts = (DENOISER, *(self.stage.text_parts if self.adapter.trains_text else ()))
        graphs = self.config.training.cuda_graphs
        return recorded(self.stage.parts[part] for part in parts) if graphs else nullcontext()

    def resume(self) -> int:
        """Put back the state of the latest good checkpoint, in every process; the number of steps done."""
        done = self.world.first(self.state.resume)
        if not self.state.writes:
            self.state.follow(done)
        return done

    @torch.no_grad()
    def encode_prompts_once(self) -> None:
        """Keep the conditioning of every prompt of the dataset, which no step changes."""
        self.encoded.update((prompt, self.stage.condition([prompt])) for prompt in self.dataset.captions)

    def advance(self, step: int) -> None:
        """One optimizer step over all micro-batches; on a GPU it may still be computing."""
        if not self.unread:
            self.began = time.monotonic()
        while True:
            batches, loss, errors = self._accumulate(step)
            norm = self.optimizer.norm()
            if not self.optimizer.overflowed(loss.sum(), norm):
                break
        training = self.config.training
        factor = lr_factor(step, training.lr_scheduler, training.lr_warmup_steps, training.max_train_steps)
        lr = self.optimizer.step(factor, loss.sum(), norm)
        self.optimizer.average(self.ema, self.trained, training.ema_decay)
        rows, is_prior = [batch.rows for batch in batches], torch.cat([batch.is_prior for batch in batches])
        numbers = torch.cat([norm[None], loss, errors])
        self.unread.append(Taken(step=step, lr=lr, rows=rows, is_prior=is_prior, numbers=numbers))
        if len(self.unread) == self.block:
            self.settle()

    def _accumulate(self, step: int) -> tuple[list[Batch], Tensor, Tensor]:
        """Gradients of the mean over M micro-batches; these, the loss (M,) of each, and the error of every row."""
        training, prior = self.config.training, self.config.prior
        prior_rows = training.train_batch_size if prior.with_prior_preservation else 0
        batches, losses, errors = [], [], []
        for micro in range(training.gradient_accumulation_steps):
            place = self.config.seed, step * training.gradient_accumulation_steps + micro
            batch = self.dataset.batch(*place, training.train_batch_size, prior_rows)
            batches.append(batch)
            mine = batch.take(self.world.rows(len(batch.rows), micro * len(batch.rows)))
            if not mine.rows:  # other processes have all of it
                losses.append(torch.zeros((), device=self.stage.device))
                errors.append(torch.zeros(len(batch.rows), device=self.stage.device))
                continue
            with self.accelerator.autocast():
                words = self._condition(mine.prompts)
                asked = (self.stage, self.process, mine, words, prior.prior_loss_weight, *place)
                loss, error = training_step(*asked, base=self.base)
            self.accelerator.backward(loss / training.gradient_accumulation_steps)
            losses.append(loss.detach())
            errors.append(error.detach())
            del words, asked, loss, error  # the next micro-batch may be recorded: see `Recorded`
        if self.world.size > 1:
            self._add_up(losses, errors)
        return batches, torch.stack(losses), torch.cat(errors)

    def _add_up(self, losses: Sequence[Tensor], errors: Sequence[Tensor]) -> None:
        """Sum gradients, losses and errors over all processes; each has those of its own rows, and 0 of the others."""
        if self.has_gradient is None:  # what no row asks for has none in any step, and AdamW passes it by
            mine = torch.tensor([parameter.grad is not None for parameter in self.optimizer.parameters]).float()
            self.world.add([mine])
            self.has_gradient = (mine > 0).tolist()
        named = zip(self.optimizer.parameters, self.has_gradient, strict=True)
        trained = [parameter for parameter, has_gradient in named if has_gradient]
        for parameter in trained:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self.world.add([*(parameter.grad for parameter in trained), *losses, *errors])  # type: ignore[list-item]

    def settle(self) -> None:
        """Read what the steps since the last call left on the device, and write their lines in losses.jsonl.

        Raises TrainingError for the first that was not finite, once the state before it is saved.
        """
        if not self.unread:
            return
        unread, self.unread = self.unread, []
        read = torch.stack([taken.numbers for taken in unread]).cpu()
        seconds = round((time.monotonic() - self.began) / len(unread), 4)
        lines = []
        for taken, numbers in zip(unread, read, strict=True):
            if problem := taken.problem(numbers):
                self.state.write_before(taken.step)
                what, rows = problem
                raise self._not_finite(what, taken.step, rows)
            lines.append(taken.line(numbers, seconds))
            if self.state.writes:
                LOSSES.append(self.run.root, lines[-1])
        self.reporter.losses(lines)

    def _condition(self, prompts: Sequence[str]) -> Conditioning:
        """The conditioning of the rows; each prompt is encoded once, however many rows it has."""
        if not self.adapter.trains_text:
            return self.stage.stack([self.encoded[prompt] for prompt in prompts])
        different = list(dict.fromkeys(prompts))
        words = self.stage.condition(different)
        if len(different) == len(prompts):
            return words
        return self.stage.stack([words.row(different.index(prompt)) for prompt in prompts])

    def _not_finite(self, what: str, step: int, rows: Sequence[int]) -> TrainingError:
        photos = ", ".join(dict.fromkeys(self.dataset.names[row] for row in rows))
        kept = ", and the step before is saved" if step else ""
        return TrainingError(
            f"{what} at step {step + 1}, on {photos}. The weights were not changed by it{kept}. "
            f"Look at these photos, or start over with a lower learning rate (it was {self.optimizer.rates[0]:g})"
            + ("." if self.accelerator.scaler is None else " or --mixed-precision bf16.")
        )

    def save(self, step: int) -> None:
        """Write the checkpoint of `step`, all steps until then being finite."""
        self.settle()
        self.state.write(step)

    def show(self, step: int, observers: Sequence[Observer]) -> bool:
        """Call the observers with the weights that would be saved now, then go back to those that train.

        Returns whether one of them wants to stop here. Of several processes the first one has observers.
        """
        self.settle()
        return self.world.first(lambda: self._show(step, observers))

    def _show(self, step: int, observers: Sequence[Observer]) -> bool:
        trained = {name: tensor.clone() for name, tensor in self.trained.items()} if self.ema else {}
        if self.ema:
            self.adapter.load(self.ema)
        try:
            answers = [observer(step, self.model) for observer in observers]
            self.reporter.probed(step)
            return any(answers)
        finally:
            if trained:
                self.adapter.load(trained)

    def finish(self) -> None:
        """Leave the weights to use in the model, all its parts back on the device, and no gradients."""
        if self.ema:
            self.adapter.load(self.ema)
        self.model.to(self.accelerator.device)


def _due(step: int, every: int, training: Training) -> bool:
    return step % every == 0 or step == training.max_train_steps
