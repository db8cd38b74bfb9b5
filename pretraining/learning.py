"""How the embedded judges are trained: flags, rates and the loop, for `judge_dino`, `judge_patterns`, `judge_clip`."""

import argparse
import math
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from pretraining import judge_renders
from pretraining.state import Trained, arguments, autocast, log

Example = TypeVar("Example")


def learning_arguments(description: str | None, steps: int, batch: int = 64) -> argparse.ArgumentParser:
    """The flags of such a training."""
    parser = arguments(description)
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--minutes", type=float, default=math.inf, help="decay to the end in so long, if that is less")
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--learning-rate", type=float, default=1.5e-3)
    parser.add_argument("--muon-rate", type=float, default=5e-3)
    return parser


def begun(options: argparse.Namespace, modules: Mapping[str, nn.Module], path: Path, decay: float = 0.98) -> Trained:
    """The training of these modules, taken up where a state of it was kept. decay: of the running average, a step."""
    muon_dtype = torch.bfloat16 if options.bf16 else torch.float32
    trained = Trained(modules, options.learning_rate, decay, 0.05, options.muon_rate, muon_dtype)
    if path.exists():
        trained.load(path)
    return trained


def learn(
    options: argparse.Namespace,
    trained: Trained,
    path: Path,
    examples: Iterable[Example],
    loss_of: Callable[[Example, float], Tensor],
) -> None:
    """Train to the end of the steps or of the minutes, with falling rates; leave averaged weights, ready to be used.

    examples: what each step from `trained.step` on sees.  loss_of: from an example and the share of the training that
    is gone, in [0, 1].
    """
    started = time.time()
    for module in trained.modules.values():
        module.train()
    for example in examples:
        gone = max(trained.step / options.steps, (time.time() - started) / 60 / options.minutes)
        if gone >= 1:
            break
        with autocast(options):
            loss = loss_of(example, gone)
        trained.update(loss, judge_renders.share_at(trained.step, gone))
        if trained.step % 10 == 0:
            log(options.state, f"{path.stem}: step {trained.step} loss {loss.item():.3f}")
        if trained.step % 50 == 0:
            trained.save(path)
    trained.save(path)
    trained.use_average()
    for module in trained.modules.values():
        module.eval()
