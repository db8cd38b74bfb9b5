"""The loop that trains what draws: a learning rate held as long and as often as one likes, then decay.

--samples and --minutes say how long it is held; --cooldown, or --cooldown-minutes in the same call, then decays it to
nothing in a copy, whose averaged weights are the ones to ship.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from dreambooth.diffusion import DiscreteDiffusion
from pretraining.examples import Examples
from pretraining.recorded import Recorded
from pretraining.state import Trained, arguments, log

SNR_LIMIT = 10.0  # beyond it the loss counts less: what noise is left there is below what a picture shows
SAVED_EVERY = 120.0  # seconds
TOLD_EVERY = 100


def training_arguments(description: str | None, learning_rate: float, muon_rate: float) -> argparse.ArgumentParser:
    """The flags of a training by this loop, beside those of every module."""
    parser = arguments(description)
    parser.add_argument("--samples", type=int, default=1_000_000, help="samples at the constant learning rate")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="at the constant learning rate, at most")
    parser.add_argument("--cooldown", type=int, default=0, help="instead: further samples of decay, kept apart")
    parser.add_argument("--cooldown-minutes", type=float, default=0.0, help="afterwards: minutes of decay, kept apart")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=learning_rate)
    parser.add_argument("--muon-rate", type=float, default=muon_rate)
    parser.add_argument("--graph", action="store_true", help="a step as one CUDA graph: for small models on a GPU")
    parser.add_argument("--follow", action="store_true", help="take the examples that another process is making")
    return parser


def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The flags, checked before the first slow step."""
    options = parser.parse_args()
    if options.graph and not options.device.startswith("cuda"):
        parser.error(f"--graph records CUDA's kernels, and --device is {options.device}: leave it out")
    return options


def learn(
    options: argparse.Namespace,
    name: str,
    trained: Trained,
    examples: Examples,
    loss_of: Callable[..., Tensor],
) -> None:
    """Train as the flags say, going on from what was saved of `name`.

    loss_of: the loss of a batch of the examples.
    """

    def descend(*batch: Tensor) -> Tensor:
        loss = loss_of(*batch)
        trained.descend(loss)
        return loss.detach()

    training = _Training(
        options=options,
        name=name,
        trained=trained,
        examples=examples,
        descend=Recorded(descend) if options.graph else descend,
    )
    path = options.state / f"{name}.safetensors"
    if options.cooldown:
        stable = saved_step(path)
        cooled = options.state / f"{name}-cooled-{stable}.safetensors"
        trained.load(cooled if cooled.exists() else path)
        training.go_on(decayed(options, stable), cooled)
        return
    if path.exists():
        trained.load(path)
    training.go_on(held(options), path)
    if options.cooldown_minutes:
        cooled = options.state / f"{name}-cooled-{trained.step}.safetensors"
        training.go_on(decayed(options, trained.step), cooled)


def held(options: argparse.Namespace) -> Callable[[int], float | None]:
    """The share of the learning rates at a step while they are constant, after a warm-up; None when that is over."""
    started = time.time()

    def share(step: int) -> float | None:
        late = time.time() - started > 60 * options.minutes
        return None if late or step >= options.samples // options.batch else min(1.0, (step + 1) / 200)

    return share


def decayed(options: argparse.Namespace, stable: int) -> Callable[[int], float | None]:
    """A straight line down to a hundredth from the step `stable` on, over --cooldown samples or --cooldown-minutes."""
    started = time.time()

    def share(step: int) -> float | None:
        if options.cooldown_minutes:
            gone = (time.time() - started) / 60 / options.cooldown_minutes
        else:
            gone = (step - stable) * options.batch / options.cooldown
        return None if gone >= 1 else max(0.01, 1 - gone)

    return share


def stratified_times(count: int, device: torch.device) -> Tensor:
    """(B,) times uniform on [0, 1000), one from each of B equal parts: the loss of a batch varies less."""
    places = torch.arange(count, device=device) + torch.rand(count, device=device)
    return (places * 1000 / count).long().clamp(max=999)


def saved_step(path: Path) -> int:
    """The step that a saved state stands at."""
    with safe_open(path, "pt") as file:
        return int(json.loads(file.metadata()["step"]))


def loss_weights(process: DiscreteDiffusion, t: Tensor) -> Tensor:
    """(B,) 1 up to SNR_LIMIT, then falling as 1 / SNR: v's error there is finer than any pixel."""
    return ((SNR_LIMIT + 1) / (process.snr(t) + 1)).clamp(max=1).float()


@dataclass(frozen=True, kw_only=True)
class _Training:
    """A training; `go_on` runs it, once at held rates and once for the cooldown."""

    options: argparse.Namespace
    name: str
    trained: Trained
    examples: Examples
    descend: Callable[..., Tensor]
    """A step on a batch, at the rates that were set; its loss."""

    def go_on(self, share_at: Callable[[int], float | None], path: Path) -> None:
        """The loop, until there is no share of the learning rates for a step, saving every so often."""
        options, trained = self.options, self.trained
        started, first, losses = time.time(), trained.step, []
        saved = started
        log(options.state, f"{self.name}: from step {trained.step}")
        while (share := share_at(trained.step)) is not None:
            torch.manual_seed(trained.step)
            batch = self.examples.batch(trained.step, options.batch)
            trained.set_rates(share)
            losses.append(self.descend(*batch))
            if trained.step % TOLD_EVERY == 0:
                rate = (trained.step - first) * options.batch / (time.time() - started)
                mean = float(torch.stack(losses).mean())
                told = f"step {trained.step} loss {mean:.4f} {rate:.0f} samples/s, rates x {share:.2f}"
                log(options.state, f"{self.name}: {told}")
                losses = []
            if time.time() - saved > SAVED_EVERY:
                trained.save(path)
                saved = time.time()
            if options.follow and trained.step % TOLD_EVERY == 0:
                self.examples.grow()
        trained.save(path)
        log(options.state, f"{self.name}: stopped at step {trained.step}")
