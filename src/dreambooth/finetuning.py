"""Section 3: fine-tuning on the subject's photos with the class prior, from the step to the stop button.

`training_step` is the method; the rest accumulates, clips, averages, saves and resumes around it. Everything random is
a function of (seed, batch number, row): a resumed run equals an uninterrupted one, bit for bit.
"""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast, final

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]
from accelerate.state import AcceleratorState  # type: ignore[import-untyped]
from torch import Tensor

from dreambooth.adapters import Adapter
from dreambooth.config import Config, Training
from dreambooth.config.machine import check_machine
from dreambooth.data.batch import Batch
from dreambooth.data.dataset import LatentDataset
from dreambooth.diffusion import ForwardProcess, row_errors
from dreambooth.errors import Interrupted, TrainingError
from dreambooth.loss import prior_preservation_loss
from dreambooth.models.base import DENOISER, Conditioning, DiffusionModel, Stage
from dreambooth.run import Run, checkpoint
from dreambooth.run.checkpoint import Checkpoint
from dreambooth.run.records import LOSSES, Loss
from dreambooth.support.device import device
from dreambooth.support.files import key_of, require_space
from dreambooth.support.progress import log, track
from dreambooth.support.rng import generator, normal
from dreambooth.support.signals import stop_signal

Observer = Callable[[int, DiffusionModel], bool | None]
"""Called with the step and the model as it would be saved then; True: stop training here.

After a resume it may see the same step again, and must answer the same.
"""


def training_step(
    stage: Stage,
    process: ForwardProcess,
    batch: Batch,
    words: Conditioning,
    prior_loss_weight: float,
    *place: int,
) -> tuple[Tensor, Tensor]:
    """The loss (scalar, Eq. 2) of a batch of B rows and the error (B,) of each; `place` is where its noise is drawn."""
    shape, device = batch.mean.shape, stage.device
    x0 = (batch.mean + batch.std * normal(shape, "latent", *place)).to(device)  # (B, C, h, w)
    noise = normal(shape, "noise", *place).to(device)  # (B, C, h, w), own noise for every row: eps and eps' of Eq. 2
    t = process.sample_t(*(generator("t", *place, row) for row in range(len(x0))))  # (B,), own time: t and t'
    x_t = process.add_noise(x0, noise, t)  # (B, C, h, w)
    cond = stage.with_row_conditioning(words, batch, *place)  # the words, and what this family asks of the photo itself
    pred = stage.predict(x_t, t, cond)  # (B, C, h, w)
    error = row_errors(process, pred, x0, noise, t, batch.weight)  # (B,), every weighting reaches every row
    return prior_preservation_loss(error, batch.is_prior.to(device), prior_loss_weight), error


def finetune(
    model: DiffusionModel,
    stage: Stage,
    adapter: Adapter,
    dataset: LatentDataset,
    config: Config,
    run: Run,
    observers: Sequence[Observer] = (),
) -> None:
    """Train what `adapter` chose of a stage of the base `model`, resuming from the run's latest good checkpoint.

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
    with stop_signal() as stopped:
        for step in track(range(done, done if enough else training.max_train_steps), "fine-tuning", done):
            try:
                loop.advance(step)
            except TrainingError:
                if step > done and checkpoint.newest_step(run.checkpoints) != step:
                    loop.save(step)  # the state before it was good
                raise
            saved = _due(step + 1, training.checkpointing_steps, training)
            if saved:
                loop.save(step + 1)
            if not stopped and _due(step + 1, training.validation_steps, training):
                enough = loop.show(step + 1, observers)
            if (stopped or enough) and not saved:
                loop.save(step + 1)
            if stopped:
                raise Interrupted(
                    f"stopped by {stopped[0]} after step {step + 1} of {training.max_train_steps}, which is saved. "
                    "Run the same command again to resume."
                )
            if enough:
                break
    loop.finish()


def lr_factor(step: int, training: Training) -> float:
    """What to multiply the learning rate of `step` (from 0) by: a linear warm-up, then the chosen decay towards 0."""
    warmup, total = training.lr_warmup_steps, training.max_train_steps
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, total - warmup)
    decays = {"constant": 1.0, "linear": 1.0 - progress, "cosine": 0.5 * (1.0 + math.cos(math.pi * progress))}
    return decays[training.lr_scheduler]


@final
class _Loop:
    """What changes from step to step: weights, optimizer and average."""

    def __init__(
        self, model: DiffusionModel, stage: Stage, adapter: Adapter, dataset: LatentDataset, config: Config, run: Run
    ) -> None:
        self.model, self.stage, self.adapter, self.dataset = model, stage, adapter, dataset
        self.config, self.run = config, run
        self.settings = _settings(model, dataset, config)
        training = config.training
        AcceleratorState._reset_state(reset_partial_state=True)  # a second run in this process may choose otherwise
        self.accelerator = Accelerator(mixed_precision=training.mixed_precision, cpu=device().type == "cpu")
        model.to(self.accelerator.device)
        self.process = stage.process.with_snr_gamma(training.snr_gamma)
        groups = adapter.parameter_groups()
        self.rates = [group["lr"] for group in groups]
        self.parameters = [parameter for group in groups for parameter in group["params"]]
        adamw = torch.optim.AdamW(
            groups,
            betas=(training.adam_beta1, training.adam_beta2),
            weight_decay=training.adam_weight_decay,
            eps=training.adam_epsilon,
        )
        self.optimizer = self.accelerator.prepare_optimizer(adamw)
        self.ema = {name: tensor.clone() for name, tensor in adapter.state().items()} if training.use_ema else {}
        for module in adapter.modules().values():
            module.eval()  # no dropout: it would draw from a stream that depends on the steps before
        if training.gradient_checkpointing:
            cast(Any, stage.parts[DENOISER]).enable_gradient_checkpointing()
        self.encoded: dict[str, Conditioning] = {}

    @torch.no_grad()
    def encode_prompts_once(self) -> None:
        """Keep the conditioning of every prompt of the dataset, which no step changes."""
        self.encoded = {prompt: self.stage.condition([prompt]) for prompt in dict.fromkeys(self.dataset.prompts)}

    def advance(self, step: int) -> None:
        """One optimizer step over all micro-batches, and its line in losses.jsonl."""
        began = time.monotonic()
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * lr_factor(step, self.config.training)
        scaler = self.accelerator.scaler
        while True:
            losses, rows = self._accumulate(step)
            norm = self.accelerator.clip_grad_norm_(self.parameters, self.config.training.max_grad_norm)
            if norm.isfinite():
                break
            if scaler is None or scaler.get_scale() <= 1:
                raise self._not_finite(f"the gradient's norm is {norm.item()}", step, rows)
            self.optimizer.step()  # fp16 overflow: the scaler skips this step and halves its scale; the same step again
        self.optimizer.step()
        for name, tensor in self.adapter.state().items() if self.ema else ():
            self.ema[name].lerp_(tensor, 1 - self.config.training.ema_decay)
        lr, seconds = self.optimizer.param_groups[0]["lr"], round(time.monotonic() - began, 4)
        LOSSES.append(self.run.root, Loss(step=step + 1, **losses, lr=lr, grad_norm=norm.item(), seconds=seconds))

    def _accumulate(self, step: int) -> tuple[dict[str, float], list[int]]:
        """Gradients of the mean over the micro-batches; the mean losses, and the rows that were seen."""
        training, prior = self.config.training, self.config.prior
        prior_rows = training.train_batch_size if prior.with_prior_preservation else 0
        terms: list[dict[str, float]] = []
        seen: list[int] = []
        self.optimizer.zero_grad()
        for micro in range(training.gradient_accumulation_steps):
            place = self.config.seed, step * training.gradient_accumulation_steps + micro
            batch = self.dataset.batch(*place, training.train_batch_size, prior_rows)
            with self.accelerator.autocast():
                words = self._condition(batch.prompts)
                loss, error = training_step(self.stage, self.process, batch, words, prior.prior_loss_weight, *place)
            seen += batch.rows
            if not loss.isfinite():
                raise self._not_finite(f"the loss is {loss.item()}", step, batch.rows)
            self.accelerator.backward(loss / training.gradient_accumulation_steps)
            terms.append({"loss": loss.item(), **_terms(error.detach().cpu(), batch.is_prior.cpu())})
        return {name: sum(term[name] for term in terms) / len(terms) for name in terms[0]}, seen

    def _condition(self, prompts: Sequence[str]) -> Conditioning:
        if self.adapter.trains_text:
            return self.stage.condition(prompts)
        return self.stage.stack([self.encoded[prompt] for prompt in prompts])

    def _not_finite(self, what: str, step: int, rows: Sequence[int]) -> TrainingError:
        photos = ", ".join(dict.fromkeys(self.dataset.names[row] for row in rows))
        kept = ", and the step before is saved" if step else ""
        return TrainingError(
            f"{what} at step {step + 1}, on {photos}. The weights were not changed by it{kept}. "
            f"Look at these photos, or start over with a lower learning rate (it was {self.rates[0]:g})"
            + ("." if self.accelerator.scaler is None else " or --mixed-precision bf16.")
        )

    def resume(self) -> int:
        """Put back the latest good checkpoint, drop the losses after it, and return the number of steps done."""
        found = checkpoint.latest(self.run.checkpoints, self.settings)
        size = sum(parameter.nbytes for parameter in self.parameters) * (
            4 if self.ema else 3
        )  # AdamW keeps two moments
        done, training = found.step if found else 0, self.config.training
        there = len(list(self.run.checkpoints.glob("checkpoint-*")))
        room = training.checkpoints_total_limit + 1 - there  # a new one is written before the oldest goes
        to_come = -(-(training.max_train_steps - done) // training.checkpointing_steps)
        require_space(self.run.checkpoints, min(room, to_come) * size, "the checkpoints of this run")
        if found:
            self.adapter.load(found.tensors["weights"])
            moments = {**self.optimizer.state_dict(), "state": checkpoint.nested(found.tensors["optimizer"])}
            self.optimizer.load_state_dict(moments)
            for name in self.ema:
                self.ema[name].copy_(found.tensors["ema"][name])
            if self.accelerator.scaler is not None:
                self.accelerator.scaler.load_state_dict(dict(found.scaler))
            log.info("resuming after step %d", done)
        self.run.forget_after(done)
        return done

    def save(self, step: int) -> None:
        """Write the checkpoint of `step`."""
        checkpoint.write(self.run.checkpoints, self._state(step), self.config.training.checkpoints_total_limit)

    def _state(self, step: int) -> Checkpoint:
        tensors = {"weights": self.adapter.state(), "optimizer": checkpoint.flat(self.optimizer.state_dict()["state"])}
        scaler = self.accelerator.scaler
        return Checkpoint(
            step=step,
            settings=self.settings,
            tensors={**tensors, "ema": self.ema} if self.ema else tensors,
            scaler=scaler.state_dict() if scaler is not None else {},
        )

    def show(self, step: int, observers: Sequence[Observer]) -> bool:
        """Call the observers with the weights that would be saved now, then go back to those that train.

        Returns whether one of them wants to stop here.
        """
        trained = {name: tensor.clone() for name, tensor in self.adapter.state().items()} if self.ema else {}
        if self.ema:
            self.adapter.load(self.ema)
        try:
            answers = [observer(step, self.model) for observer in observers]
            return any(answers)
        finally:
            if trained:
                self.adapter.load(trained)

    def finish(self) -> None:
        """Leave the weights to use in the model, all of it on one device, and no gradients."""
        if self.ema:
            self.adapter.load(self.ema)
        self.optimizer.zero_grad()
        self.model.to(self.accelerator.device)


def _terms(error: Tensor, is_prior: Tensor) -> dict[str, float]:
    terms = {"subject": error[~is_prior].mean().item()}
    return {**terms, "prior": error[is_prior].mean().item()} if is_prior.any() else terms


def _due(step: int, every: int, training: Training) -> bool:
    return step % every == 0 or step == training.max_train_steps


def _settings(model: DiffusionModel, dataset: LatentDataset, config: Config) -> str:
    """A hash of what must be equal to resume, beside config.toml; not how often a run saves and shows, nor how long."""
    mine = config.model_dump(mode="json", include={"seed", "method", "data", "prior", "training"})
    for name in ("max_train_steps", "checkpointing_steps", "checkpoints_total_limit", "validation_steps"):
        del mine["training"][name]
    payload = [mine, model.fingerprint(), [Path(name).name for name in dataset.names], list(dataset.prompts)]
    return key_of(payload, 16)
