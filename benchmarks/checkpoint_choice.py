"""Is the recommended step as good as the last one on prompts it was not chosen by, and what does early stopping save?

For each subject: photos the base model never saw, a whole run, and pictures of the held-out places (those that no probe
draws) and of the class, by the untuned model and by every step that was probed. The judges score them by the rule's own
shares. The learning rate is constant, so a run of LENGTHS[1] steps holds one of LENGTHS[0], and up to where early
stopping would have ended a run it is equal to the bit to one that stops (tests/test_probe.py): both are read off.

    python -m benchmarks.checkpoint_choice --out build/checkpoint-choice
    python -m benchmarks.checkpoint_choice --seeds 31 32 33 34    # what the probe's size was set on
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from benchmarks.machine import machine
from dreambooth import Config, Run, Subject, adapters, recipe
from dreambooth.data.photos import photos_in
from dreambooth.evaluation import Judges, load_judges
from dreambooth.evaluation.bootstrap import interval
from dreambooth.generation.generate import generate_in
from dreambooth.generation.prompts import CLASS_PROMPT, Prompt
from dreambooth.models.base import DiffusionModel
from dreambooth.probe import shares
from dreambooth.probe.measuring import Reference, measure
from dreambooth.probe.rule import Shares, best_step, may_stop
from dreambooth.run.choice import weights_of
from dreambooth.run.records import SCORES, TIMINGS, Probed
from dreambooth.toybox import world
from dreambooth.toybox.home import TOYBOX
from dreambooth.toybox.photos import photos

SEEDS_OF_TOYS = (41, 42, 43, 44, 45, 46, 47, 48)
PLACES = tuple(
    Prompt("recontextualization", f"a {{}} {scene}")
    for scene in world.SCENES
    if f"a {{}} {scene}" not in {prompt.template for prompt in TOYBOX.probe_prompts}
)
SEEDS, CLASS_SEEDS = 4, 16
LENGTHS = (Config.build({}).training.max_train_steps, 800)
"""The toybox preset's steps, and those of a run with the prior in the README of diffusers' examples/dreambooth."""
ALIKE = 0.005
"""Merits that print alike are equally good: most are shares within a thousandth of 1."""


def held_out(run: Run, model: DiffusionModel, judges: Judges, step: int) -> Probed:
    """What the judges see in pictures of PLACES and of the class; step 0 is the untuned model."""
    seen = run.config.probe.probe_class_images  # from the first seeds: what the step was chosen by
    stage = f"held-out-{step:06d}"
    asked = [Prompt("class", prompt.template) for prompt in PLACES] if step == 0 else PLACES
    samples = generate_in(run, model, stage, asked, SEEDS)
    of_class = generate_in(run, model, stage, [CLASS_PROMPT], seen + CLASS_SEEDS)
    reference = Reference.of(judges, run.subject, run.config.world)
    return measure(step, reference, samples, of_class[seen:])


def all_held_out(run: Run, model: DiffusionModel, judges: Judges, steps: Sequence[int]) -> dict[int, Shares]:
    """The shares on held-out places of the untuned `model` tuned to each of `steps`."""
    real = next(probed for probed in SCORES.read(run.root) if probed.step == "real")
    rows = [real, held_out(run, model, judges, 0)]
    adapter = adapters.attach(model, model.stages[0], run.subject, run.config)
    for step in steps:
        adapter.load(weights_of(run, step))  # their running average, as the probe saw them
        rows.append(held_out(run, model, judges, step))
    return shares(rows)


def one(seed: int, out: Path, every: int | None) -> dict[str, Any]:
    """Run one toy, probed after so many steps or as its preset says, and return its numbers."""
    class_noun = world.CLASSES[seed % len(world.CLASSES)]
    folder = out / f"{class_noun}-{seed}"
    if not (folder / "photos").exists():
        photos(class_noun, seed, 4, folder / "photos")
    subject = Subject(photos=photos_in(folder / "photos"), class_noun=class_noun)
    probing = {"validation_steps": every, "checkpointing_steps": every} if every else {}
    kept = {"checkpoints_total_limit": 1000}  # every step that a probe sees stays
    config = Config.build({"max_train_steps": max(LENGTHS), **kept, **probing})
    run = Run.create(folder / "run", subject, config)
    recipe.personalise(run)
    probed = shares(SCORES.read(run.root))
    held = all_held_out(run, recipe.base_model(run), load_judges(config.evaluation, config.world), sorted(probed))
    timings = TIMINGS.read(run.root)
    found = {
        "subject": f"{class_noun} {seed}",
        **{f"of {steps}": decided(probed, held, steps, config.probe.early_stopping_patience) for steps in LENGTHS},
        "probe / (probe + fine-tuning)": timings["probe"] / (timings["probe"] + timings["finetune"]),
        "probed": {step: its._asdict() for step, its in probed.items()},
        "held out": {step: its._asdict() | {"merit": its.merit} for step, its in held.items()},
    }
    print(json.dumps(found), flush=True)
    return found


def decided(every: Mapping[int, Shares], held: Mapping[int, Shares], last: int, patience: int) -> dict[str, float]:
    """What the rule says of a run of `last` steps, and what that is worth on held-out places."""
    probed = {step: its for step, its in every.items() if step <= last}
    best = best_step(probed)
    so_far = [{step: its for step, its in probed.items() if step <= at} for at in sorted(probed)]
    stopped = next((steps for steps in so_far if may_stop(steps, patience)), so_far[-1])
    early = best_step(stopped)
    return {
        "recommended": best,
        "merit recommended": held[best].merit,
        "merit last": held[last].merit,
        "stopped at": max(stopped),
        "recommended then": early,
        "steps saved": 1 - max(stopped) / last,
        "merit stopped": held[early].merit,
        "DINO share last": held[last].fidelity,
        "DINO share stopped": held[early].fidelity,
    }


def summary(runs: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Means over the runs, and 95 % intervals over the subjects."""

    def column(name: str, less: str | None = None) -> list[float]:
        return [run[name] - (run[less] if less else 0.0) for run in runs]

    gained = column("merit recommended", "merit last")
    wanted = {
        "merit recommended - last": gained,
        "merit stopped - last": column("merit stopped", "merit last"),
        "DINO share last": column("DINO share last"),
        "DINO share stopped - last": column("DINO share stopped", "DINO share last"),
    }
    return {
        "recommended at least as good": sum(gain > -ALIKE for gain in gained),
        "steps saved": fmean(column("steps saved")),
        **{name: [fmean(values), interval(values)] for name, values in wanted.items()},
    }


def main() -> None:
    """Measure the toys, print each and the answers, and write them with machine, versions and n."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/checkpoint-choice"), help="folder of the runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS_OF_TOYS, help="of the toys")
    parser.add_argument("--every", type=int, help="steps between probes, in place of the preset's")
    parser.add_argument("--results", type=Path, default=None, help="write the result to this JSON file")
    parser.add_argument("--jobs", type=int, default=2, help="toys at a time, one thread each")
    options = parser.parse_args()
    if options.every and any(steps % options.every for steps in LENGTHS):
        parser.error(f"--every {options.every} does not divide {LENGTHS[0]} and {LENGTHS[1]}")
    with ProcessPoolExecutor(options.jobs, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        rows = list(pool.map(one, options.seeds, repeat(options.out), repeat(options.every)))
    answers = {f"of {steps}": summary([row[f"of {steps}"] for row in rows]) for steps in LENGTHS}
    probing = {"probe / (probe + fine-tuning)": fmean(row["probe / (probe + fine-tuning)"] for row in rows)}
    print(json.dumps({**answers, **probing}, indent=2))
    if options.results:
        payload = {"machine": machine(), "subjects": len(rows), **answers, **probing, "runs": rows}
        options.results.write_text(json.dumps(payload, indent=2) + "\n")


if __name__ == "__main__":
    main()
