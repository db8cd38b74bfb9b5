"""The device's memory by family and settings, by arithmetic on torch's "meta" device: nothing is computed or loaded.

Each family as it is published, at its own side, rows 1 + 1. What torch allocates; a GPU's context (about 0.5 GiB), the
pieces between allocations and a kernel's own work space come on top. `--check` compares the arithmetic with what a GPU
allocated in a real step of random weights, where there is one.

    python -m benchmarks.memory [--out docs/memory.md] [--check]
"""

import argparse
import gc
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import machine
from dreambooth.config import Config
from dreambooth.config.cards import CARDS
from dreambooth.models.families import family
from dreambooth.models.loading import hold
from dreambooth.plan.costs import Costs
from dreambooth.plan.plan import USABLE
from dreambooth.support.files import write_text

GIB = 2**30
PUBLISHED = {"Stable Diffusion 1.5": "StableDiffusionPipeline", "SDXL": "StableDiffusionXLPipeline"}

BF16: dict[str, Any] = {"mixed_precision": "bf16"}
AGAIN: dict[str, Any] = {"gradient_checkpointing": True}
EIGHT: dict[str, Any] = {"use_8bit_adam": True}
FROZEN: dict[str, Any] = {"train_text_encoder": False}
HALF: dict[str, Any] = {"dtype": "bfloat16"}
WORD: dict[str, Any] = {"method": "textual_inversion", "train_batch_size": 2}
ROWS: dict[str, dict[str, Any]] = {
    "all weights, float32": {},
    "all weights, bf16 arithmetic": BF16,
    "all weights, bf16, checkpointing": BF16 | AGAIN,
    "all weights, bf16, checkpointing, 8-bit AdamW": BF16 | AGAIN | EIGHT,
    "denoiser alone, bf16, checkpointing": BF16 | AGAIN | FROZEN,
    "denoiser alone, bf16, checkpointing, 8-bit AdamW": BF16 | AGAIN | EIGHT | FROZEN,
    "LoRA, float32": {"method": "lora"},
    "LoRA, bf16 arithmetic and weights": {"method": "lora"} | BF16 | HALF,
    "LoRA, bf16, weights too, checkpointing": {"method": "lora"} | BF16 | HALF | AGAIN,
    "the same, 8-bit base": {"method": "lora", "base_bits": "8"} | BF16 | HALF | AGAIN,
    "the same, 4-bit base": {"method": "lora", "base_bits": "4"} | BF16 | HALF | AGAIN,
    "Textual Inversion, bf16, weights too, checkpointing": WORD | BF16 | HALF | AGAIN,
}
"""What is asked for, by what it is called; rows without the running average, as the paper's."""

CLAIMS = (
    ("Stable Diffusion 1.5", "all weights, bf16, checkpointing, 8-bit AdamW", 12),
    ("Stable Diffusion 1.5", "LoRA, bf16, weights too, checkpointing", 5),
)
"""What was to fit into so many GiB."""


def costs_of(pipeline: str, settings: dict[str, Any]) -> Costs:
    """Of a published family with some settings."""
    config = Config.build({"model": "published/shape", **settings})
    model = family(pipeline).without_values("published", getattr(torch, config.base.dtype))
    return Costs.of(model, config)


def table() -> str:
    """The page: a table for each family, then the claims."""
    found = {(name, row): costs_of(pipeline, its) for name, pipeline in PUBLISHED.items() for row, its in ROWS.items()}
    lines = []
    for name in PUBLISHED:
        lines += [
            f"\n## {name}\n",
            "| GiB | weights | optimizer | batch and gradients | **training** | a probe's picture | 4 at a time |",
            "|---|---|---|---|---|---|---|",
        ]
        for row in ROWS:
            its = found[name, row]
            columns = (its.weights, its.state, its.step_peak, its.training, its.drawing(1, True), its.drawing(4, True))
            cells = [f"{size / GIB:.1f}" for size in columns]
            cells[3] = f"**{cells[3]}**"
            lines.append(f"| {row} | {' | '.join(cells)} |")
    lines += cards()
    lines.append("\n## Targets\n")
    for name, row, limit in CLAIMS:
        its = found[name, row]
        size, drawn = its.training / GIB, its.drawing(1, True) / GIB
        fits = "fits" if size <= limit else "does not fit"
        lines.append(f"- {name}, {row}: {size:.1f} GiB {fits} into {limit} (probes {drawn:.1f}).")
    return "\n".join(lines) + "\n"


def cards() -> list[str]:
    """What each row of --memory makes of the families: GiB at most, and whether its card holds that."""
    lines = [
        "\n## By --memory\n",
        f"GiB at most, training or drawing; usable is {USABLE:.0%} of a card.\n",
        f"| --memory | {' | '.join(PUBLISHED)} |",
        "|---|---|---|",
    ]
    for card in CARDS:
        cells = []
        for pipeline in PUBLISHED.values():
            config = Config.build({"model": "published/shape", "memory": card})
            its = costs_of(pipeline, {"memory": card})
            size = max(its.training, its.drawing(config.prior.sample_batch_size, True))
            cells.append(f"{size / GIB:.1f}{'' if size <= USABLE * int(card) * 1e9 else ', does not fit'}")
        lines.append(f"| {card} | {' | '.join(cells)} |")
    return lines


def check(pipeline: str, settings: dict[str, Any]) -> tuple[float, float]:
    """GiB of one step by arithmetic, and as a GPU allocated them for a model with random weights."""
    from dreambooth import adapters
    from dreambooth.finetuning import training_step
    from dreambooth.plan.costs import STAND_IN, zeros
    from dreambooth.support.optimizer import Optimizer

    config = Config.build({"model": "published/shape", **settings})
    planned = costs_of(pipeline, settings).training
    model = family(pipeline).without_values("published", getattr(torch, config.base.dtype))
    for part in model.weights.parts.values():
        part.to_empty(device="cuda")
        for tensor in part.parameters():
            torch.nn.init.normal_(tensor, std=0.01)
    hold(model, config.base)
    gc.collect()
    torch.cuda.reset_peak_memory_stats()
    stage = model.stages[0]
    adapter = adapters.attach(model, stage, STAND_IN, config)
    if config.training.gradient_checkpointing:
        model.pipeline.unet.enable_gradient_checkpointing()
    optimizer = Optimizer(
        adapter.parameter_groups(),
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0.01,
        max_grad_norm=1.0,
        eight_bit=config.training.use_8bit_adam,
    )
    side = stage.resolution
    latent = torch.zeros(1, 4, side // 8, side // 8)
    batch = zeros(latent, 1, 1, side)
    for _ in range(2):
        with torch.autocast("cuda", torch.bfloat16, enabled=config.training.mixed_precision == "bf16"):
            loss, _ = training_step(stage, stage.process, batch, stage.condition(batch.prompts), 1.0, 0, 0)
        loss.backward()
        optimizer.step(1.0, loss, optimizer.norm())
    return planned / GIB, torch.cuda.max_memory_allocated() / GIB


def main() -> None:
    """Print the page, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="Markdown file")
    parser.add_argument("--check", action="store_true", help="compare with a GPU")
    options = parser.parse_args()
    if options.check:
        for row, settings in ROWS.items():
            if "textual" not in row.lower():
                planned, real = check(PUBLISHED["Stable Diffusion 1.5"], settings)
                print(f"{row}: {planned:.2f} GiB by arithmetic, {real:.2f} allocated", flush=True)
        return
    on = machine()
    page = (
        "# Memory\n\nBy `python -m benchmarks.memory --out docs/memory.md`: arithmetic, not measured on a GPU; "
        f"{on['date']}, torch {on['torch']}, diffusers {on['diffusers']}. A batch of one photo and one class image "
        "(Textual Inversion: two photos), without the running average of the weights. A GPU's context and the "
        "allocator's gaps come on top. Probe samples are drawn with the optimizer's state still in memory.\n" + table()
    )
    print(page)
    if options.out:
        write_text(options.out, page)


if __name__ == "__main__":
    main()
