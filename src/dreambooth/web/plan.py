"""What a run will cost, told before it starts: by what earlier runs here took, and by arithmetic where none did."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from dreambooth.config import Config
from dreambooth.errors import DreamBoothError
from dreambooth.run import Run
from dreambooth.run.records import LOSSES, TIMINGS
from dreambooth.support.progress import duration
from dreambooth.web.bases import BaseCard
from dreambooth.web.machine import Gpu

ADAMW = 16
"""Bytes for each number that trains: itself, its gradient, and AdamW's two moments, in float32."""
FEW = 0.02
"""About the share of a model's numbers that a LoRA trains."""
SPREAD = (0.7, 1.6)
"""What a duration of the past is told as: the machine may do other work."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Each in words, "" where nothing is known. time_from: what the time was measured on.  cheaper: what would help."""

    time: str
    time_from: str
    memory: str
    disk: str
    download: str
    cheaper: tuple[str, ...]


def plan_of(card: BaseCard, config: Config, folders: Iterator[Path]) -> Plan:
    """The plan of a run. folders: of earlier runs."""
    method, steps = config.method.method, config.training.max_train_steps
    seconds, source = _seconds(config, folders)
    trained = card.trained * 1e6 * (1.0 if method == "dreambooth" else FEW)
    memory, whole = memory_of(card, method), 4e6 * (card.trained + card.frozen) / 1e9
    kept = trained * 12 / 1e9 * config.training.checkpoints_total_limit + trained * 4 / 1e9
    low, high = (duration(factor * seconds) for factor in SPREAD) if seconds else ("", "")
    return Plan(
        time=f"{low} to {high}" if seconds else "",
        time_from=source,
        memory=_amount(*memory) if card.trained else "",
        disk=_amount(whole + kept, 1.3 * (whole + kept)) if card.trained else "",
        download=_gb(card.download) if card.download else "nothing, it is here",
        cheaper=tuple(_cheaper(config, card, steps)),
    )


def memory_of(card: BaseCard, method: str) -> tuple[float, float]:
    """About the least and the most GB that a training takes: what trains, what does not, and room for activations."""
    weights, full = 4e6 * (card.trained + card.frozen), method == "dreambooth"
    least = (card.trained * 1e6 * ADAMW if full else weights + card.trained * 1e6 * FEW * ADAMW) / 1e9
    return least, 1.15 * least + 2.5 * (card.side / 512) ** 2


def fits(card: BaseCard, found: Sequence[Gpu]) -> str:
    """How a base model goes with the GPUs of this machine, in a sentence."""
    if card.is_demo or not card.trained:
        return ""
    if not found:
        return "There is no GPU here that was found: without one expect days."
    largest = max(found, key=lambda gpu: gpu.memory)
    for method, says in (("dreambooth", "all weights fit"), ("lora", "a LoRA fits")):
        if memory_of(card, method)[1] <= largest.memory:
            return f"On your {largest.name} ({largest.memory:.0f} GB) {says}."
    return f"It may not fit your {largest.name} ({largest.memory:.0f} GB)."


def _cheaper(config: Config, card: BaseCard, steps: int) -> Iterator[str]:
    if config.method.method == "dreambooth" and not card.is_demo:
        yield "Train a LoRA in place of all weights: a quarter of the memory, and a file of a few MB to share."
    if steps > 600 and not config.probe.early_stopping:
        yield "Let it stop early: it measures itself, and ends when it no longer gets better."
    if config.prior.with_prior_preservation and config.prior.num_class_images > 200:
        yield f"Draw 200 other ones in place of {config.prior.num_class_images}: they are drawn once per kind of thing."


def _seconds(config: Config, folders: Iterator[Path]) -> tuple[float, str]:
    """How long a run takes by the newest like it, and which that was; 0 where none is like it."""
    for folder in sorted(folders, key=_made, reverse=True):
        try:
            run = Run(folder)
            its, lines, timings = run.config, LOSSES.read(folder), TIMINGS.find(folder)
        except DreamBoothError:
            continue
        same = (its.base.model, its.method.method) == (config.base.model, config.method.method)
        if not (same and timings and lines and "samples after" in timings):
            continue
        step = median(line.seconds for line in lines)
        others = sum(seconds for stage, seconds in timings.items() if stage not in ("finetune", "probe"))
        probes = timings.get("probe", 0.0) / max(1, len(lines) // its.training.validation_steps)
        steps = config.training.max_train_steps
        count = steps // config.training.validation_steps + 1
        return others + step * steps + probes * count, f"measured here by the run {folder.name}"
    seconds = config.world.cell_seconds.get(config.method.method, 0.0) if config.world.embedded else 0.0
    return seconds, "on one core of a desktop" if seconds else ""


def _made(folder: Path) -> float:
    file = folder / LOSSES.name
    return file.stat().st_mtime if file.is_file() else 0.0


def _amount(low: float, high: float) -> str:
    return f"{_gb(low)} to {_gb(high)}" if _gb(low) != _gb(high) else _gb(low)


def _gb(amount: float) -> str:
    if amount < 1:
        return f"{max(1, 1000 * amount):.0f} MB"
    return f"{amount:.0f} GB" if amount >= 10 else f"{amount:.1f} GB"
