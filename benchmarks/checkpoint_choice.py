"""Is the recommended step as good as the last one on prompts it was not chosen by, and what does early stopping save?

For each subject: photos the base model never saw, a whole run, and pictures of the held-out places (those that no probe
draws) and of the class, by the untuned model, by the recommended step and by the last one. The judges score them by the
rule's own shares. Where early stopping would have ended the run is read from its probes: a run that stops is equal to
the bit up to there (tests/test_probe.py).

    python -m benchmarks.checkpoint_choice --out build/checkpoint-choice
"""

import argparse
import json
from pathlib import Path

from benchmarks.machine import machine
from dreambooth import Config, Run, Subject, adapters, checkpoint, recipe
from dreambooth.evaluation import Judges, load_judges, measure_photos
from dreambooth.evaluation.bootstrap import interval
from dreambooth.generation import generate
from dreambooth.models.base import DiffusionModel
from dreambooth.probe import Probed, read_probes, shares
from dreambooth.probe.measuring import measure
from dreambooth.probe.rule import Shares, best_step, may_stop
from dreambooth.prompts import CLASS_PROMPT, Prompt, probe_prompts
from dreambooth.toybox import world
from dreambooth.toybox.photos import photos

SUBJECTS = (
    *(("dog", 41), ("cat", 42), ("duck", 43), ("car", 44)),
    *(("teapot", 45), ("robot", 46), ("dog", 47), ("cat", 48)),
)
PLACES = tuple(
    Prompt("recontextualization", f"a {{}} {scene}")
    for scene in world.SCENES
    if f"a {{}} {scene}" not in {prompt.template for prompt in probe_prompts("toybox")}
)
SEEDS, CLASS_SEEDS = 4, 16


def held_out(run: Run, model: DiffusionModel, judges: Judges, step: int) -> Probed:
    """What the judges see in pictures of PLACES and of the class; step 0 is the untuned model."""

    def few(seeds: int) -> Config:
        more = run.config.generation.model_copy(update={"num_images_per_prompt": seeds})
        return run.config.model_copy(update={"generation": more})

    subject, folder = run.subject, run.samples / f"held-out-{step:06d}"
    asked = [Prompt("class", prompt.template) for prompt in PLACES] if step == 0 else PLACES
    samples = generate(model, subject, few(SEEDS), folder, asked)
    of_class = generate(model, subject, few(CLASS_SEEDS), folder, [CLASS_PROMPT])
    return measure(step, judges, measure_photos(judges, subject.photos), subject, samples, of_class)


def chosen(run: Run, model: DiffusionModel, judges: Judges, steps: set[int]) -> dict[int, Shares]:
    """The shares on held-out places of the untuned `model` tuned to each of `steps`."""
    real = next(probed for probed in read_probes(run) if probed.step == "real")
    rows = [real, held_out(run, model, judges, 0)]
    adapter = adapters.attach(model, run.subject, run.config)
    for step in sorted(steps):
        adapter.load(checkpoint.read(run.checkpoints / f"checkpoint-{step}").tensors["weights"])
        rows.append(held_out(run, model, judges, step))
    return shares(rows)


def one(class_noun: str, seed: int, out: Path) -> dict[str, float]:
    """Run one subject and return its numbers."""
    folder = out / f"{class_noun}-{seed}"
    if not (folder / "photos").exists():
        photos(class_noun, seed, 4, folder / "photos")
    subject = Subject(photos=tuple(sorted((folder / "photos").glob("*.png"))), class_noun=class_noun)
    config = Config.build({"checkpoints_total_limit": 1000})  # every step that a probe sees stays
    run = Run.create(folder / "run", subject, config)
    recipe.personalise(run)
    found = shares(read_probes(run))
    best, last = best_step(found), max(found)
    so_far = [{step: its for step, its in found.items() if step <= at} for at in sorted(found)]
    patience = config.probe.early_stopping_patience
    stopped = next((steps for steps in so_far if may_stop(steps, patience)), so_far[-1])
    early = best_step(stopped)
    held = chosen(run, recipe.base_model(run), load_judges(config.evaluation, "toybox"), {best, last, early})
    timings = run.read_json("timings.json")
    return {
        "recommended": best,
        "merit recommended": held[best].merit,
        "merit last": held[last].merit,
        "stopped at": max(stopped),
        "recommended then": early,
        "steps saved": 1 - max(stopped) / last,
        "DINO share recommended": held[best].fidelity,
        "DINO share last": held[last].fidelity,
        "DINO share stopped": held[early].fidelity,
        "probe / finetune": timings["probe"] / timings["finetune"],
    }


def main() -> None:
    """Measure the subjects, print each and the answers, and write them with machine, versions and n."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/checkpoint-choice"), help="folder of the runs")
    parser.add_argument("--subjects", type=int, default=len(SUBJECTS), help="how many of the subjects")
    parser.add_argument("--results", type=Path, default=None, help="write the result to this JSON file")
    options = parser.parse_args()
    results = {}
    for noun, seed in SUBJECTS[: options.subjects]:
        results[f"{noun} {seed}"] = result = one(noun, seed, options.out)
        print(noun, seed, {key: round(value, 3) for key, value in result.items()}, flush=True)
    rows = list(results.values())
    answers = {
        "recommended at least as good": sum(r["merit recommended"] >= r["merit last"] for r in rows),
        "subjects": len(rows),
        "steps saved": sum(r["steps saved"] for r in rows) / len(rows),
        "DINO share stopped - last": interval([r["DINO share stopped"] - r["DINO share last"] for r in rows]),
        "merit recommended - last": interval([r["merit recommended"] - r["merit last"] for r in rows]),
        "probe / finetune": sum(r["probe / finetune"] for r in rows) / len(rows),
    }
    print(json.dumps(answers, indent=2))
    if options.results:
        options.results.write_text(json.dumps({"machine": machine(), **answers, "runs": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
