"""How are the toybox's samples best drawn, and from which step? The sweep's runs once more, nothing trained anew.

Each run of `benchmarks.quality --toys sweep --keep-models --out RUNS` is drawn and looked at as there, by the weights
of each step and at each guidance scale; the untuned model is drawn at the same guidance.

    python -m benchmarks.guidance RUNS [--guidance 1.5 2 3] [--steps 300 400] [--results FILE]
"""

import argparse
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import machine
from benchmarks.quality import Critic, once, summary
from dreambooth import Config, Run, adapters, recipe
from dreambooth.adapters.full import Full
from dreambooth.generation.requests import sampling_of
from dreambooth.models.base import DiffusionModel
from dreambooth.run.choice import weights_of
from dreambooth.support.files import write_json

TOLD = (
    *("DINO of real", "CLIP-T of untuned", "scene right", "class right", "scenes of the subject, of untuned"),
    *("scenes of the class, of untuned", "spread of the class, of untuned"),
)


def measure(ways: Sequence[tuple[int, float]], folder: Path) -> list[dict[str, Any]]:
    """The run in `folder`, by the weights of each step and at each guidance; read back where it was measured before."""
    torch.set_num_threads(1)
    run = Run.open(folder / "run")
    noun, name = run.subject.class_noun, run.subject.name
    critic = Critic(noun, run.subject.photos)
    real = critic.photos.real_row.dino

    def look(file: Path, model: DiffusionModel, subject: str, guidance: float) -> dict[str, float]:
        sampling = replace(sampling_of(run.config.generation), guidance_scale=guidance)
        batch = run.config.prior.sample_batch_size
        return once(file, lambda: asdict(critic.measure(model, sampling, subject, batch)))

    rows = []
    untuned, model, loaded = recipe.base_model(run), recipe.base_model(run), None
    for step, guidance in ways:
        if step != loaded:
            Full(next(iter(adapters.tuned(model, run.config))), run.config.training).load(weights_of(run, step))
            loaded = step
        tuned = look(folder / f"at-{step}-{guidance}.json", model, name, guidance)
        before = look(folder.parent / f"{noun}-untuned-{guidance}.json", untuned, noun, guidance)
        way = {"subject": folder.name, "step": step, "guidance": guidance}
        rows.append({**way, "real": real, "tuned": tuned, "untuned": before})
    return rows


def told(rows: Iterable[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """What `benchmarks.quality` says of such rows, as far as it changes here."""
    whole = [{**row, "described": row["untuned"], "seconds": 0.0} for row in rows]  # not told
    return {name: value for name, value in summary(whole).items() if name in TOLD}


def main() -> None:
    """Print mean and worst run of each way, and write all with --results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--guidance", type=float, nargs="+", default=[1.5, 2.0, 2.5, 3.0])
    parser.add_argument("--steps", type=int, nargs="+", default=[Config.build({}).training.max_train_steps])
    parser.add_argument("--seeds", type=int, nargs="+", default=[5, 6], help="of the runs that are looked at")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--results", type=Path, help="write the result to this JSON file")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that are started below
    folders = sorted(folder for seed in options.seeds for folder in options.runs.glob(f"*-seed{seed}"))
    if not folders:
        parser.error(f"{options.runs} has no runs of these seeds")
    ways = list(product(options.steps, options.guidance))
    with ProcessPoolExecutor(options.jobs, get_context("spawn")) as pool:
        runs = [row for rows in pool.map(partial(measure, ways), folders) for row in rows]
    result = {}
    for step, guidance in ways:
        values = told(row for row in runs if (row["step"], row["guidance"]) == (step, guidance))
        result[f"step {step}, guidance {guidance}"] = values
        print(f"step {step}, guidance {guidance}, n = {len(folders)}")
        for name, value in values.items():
            mean, low, high, worst = (value[key] for key in ("mean", "low", "high", "worst"))
            print(f"  {name}: {mean:.3f} [{low:.3f}, {high:.3f}], worst {worst:.3f}")
    if options.results:
        write_json(options.results, {"machine": machine(), "n": len(folders), "summary": result, "runs": runs})


if __name__ == "__main__":
    main()
