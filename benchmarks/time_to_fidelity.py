"""Seconds from photos on the disk to the likeness that a training script's recipe ends with, such as diffusers'.

The script: its README's recipe with prior preservation, 800 steps of 1 + 1 rows and 200 class images at its defaults,
text encoder trained. Ours: the embedded model's preset, whose probe looks at the model every `--every` steps; it is
there at the first one with at least the script's DINO, no lower CLIP-T and no higher PRES, each within `--tolerance`.
The same probe, so the same prompts, seeds and sampler, looks at the script's last weights. Both have the same float32
copy of the model, photos and identifier, and torch imported before the clock runs.

What counts: of the script all until its last step (opening, class images, steps). Of ours opening, identifier and class
images by timings.json, and the steps by losses.jsonl; not the probes, the samples and the report, which the script
lacks. Warm: with the class images of another subject of the class in the library, which are only verified. Each toy
has a class of its own and is run at every seed; the script's class images are drawn anew each time.

    OMP_NUM_THREADS=1 python -m benchmarks.time_to_fidelity --script train_dreambooth.py --out build/fidelity \
        --results FILE [--toys 5] [--seeds 5 6] [--learning-rate 5e-6] [--processor]
"""

import argparse
import json
import math
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import machine
from benchmarks.script import alone, base_copy, execute

STEPS, CLASS_IMAGES = 800, 200
"""The script's recipe, as https://github.com/huggingface/diffusers/tree/main/examples/dreambooth tells it."""


def clocked(processor: bool) -> None:
    """Have every clock of this process count the processor's seconds, which other work does not lengthen."""
    if processor:
        time.monotonic = time.process_time


def of_script(
    script: Path, base: Path, place: Path, noun: str, identifier: str, seed: int, rate: float, cpu: bool
) -> dict[str, float]:
    """Seconds until the last step, of which until the first; the model is in place/script."""
    import accelerate  # type: ignore[import-untyped]
    import diffusers
    import torch
    import transformers
    from torch.optim.optimizer import register_optimizer_step_post_hook

    assert accelerate and diffusers and torch and transformers
    clocked(cpu)
    looks: list[float] = []
    register_optimizer_step_post_hook(lambda *_: looks.append(time.monotonic()))
    resolution = json.loads((base / "unet" / "config.json").read_text())["sample_size"] * 8
    began = time.monotonic()
    execute(
        script,
        *(f"--pretrained_model_name_or_path={base}", f"--instance_data_dir={place / 'photos'}"),
        *(f"--instance_prompt=a {identifier} {noun}", f"--class_prompt=a {noun}", "--with_prior_preservation"),
        *(f"--class_data_dir={place / 'class'}", f"--num_class_images={CLASS_IMAGES}", "--train_text_encoder"),
        *(f"--output_dir={place / 'script'}", f"--resolution={resolution}", "--train_batch_size=1"),
        *(f"--max_train_steps={STEPS}", f"--learning_rate={rate}", "--lr_warmup_steps=0", f"--seed={seed}"),
        "--checkpointing_steps=1000000",
    )
    return {"seconds": looks[-1] - began, "until_first_step": looks[0] - began}


def ours(base: Path, place: Path, noun: str, identifier: str, seed: int, every: int, cpu: bool) -> dict[str, Any]:
    """A whole run; what each probe saw, and the seconds until then, cold and warm."""
    from dreambooth import Config, Run, Subject, photos_in, recipe
    from dreambooth.run.records import LOSSES, SCORES, TIMINGS

    clocked(cpu)
    settings = {"model": str(base), "seed": seed, "validation_steps": every, "prompts": ("a {}",)}
    config = Config.build({**settings, "num_images_per_prompt": 1})
    subject = Subject(photos=photos_in(place / "photos"), class_noun=noun, identifier=identifier)
    run = recipe.dreambooth(subject, config, place / "run")
    timings = TIMINGS.read(run.root)
    again = Run.create(place / "again", subject, config)
    model = recipe.base_model(again)
    recipe.generate_class_images(again, model)
    warm = TIMINGS.read(again.root)
    before = timings["load"] / 2 + timings["identifier"]  # the model is opened twice, the second time to draw with
    taken = {line.step: line.seconds for line in LOSSES.read(run.root)}
    found = []
    for probed in SCORES.read(run.root):
        if isinstance(probed.step, int) and probed.step:
            steps = sum(seconds for step, seconds in taken.items() if step < probed.step)
            cold = before + timings["prior"] + steps
            scores = {"dino": probed.dino, "clip_t": probed.clip_t, "pres": probed.pres}
            found.append({"step": probed.step, "cold": cold, "warm": before + warm["prior"] + steps, **scores})
    return {"probes": found, "timings": timings, "warm": warm}


def judged(base: Path, place: Path, noun: str, identifier: str, seed: int, every: int) -> dict[str, float | None]:
    """What the probe sees in the script's model."""
    from dreambooth import Config, Run, Subject, photos_in, recipe
    from dreambooth.config import Base
    from dreambooth.models import load
    from dreambooth.probe import Probe

    settings = {"model": str(base), "seed": seed, "validation_steps": every}
    config = Config.build({**settings, "prompts": ("a {}",), "num_images_per_prompt": 1})
    subject = Subject(photos=photos_in(place / "photos"), class_noun=noun, identifier=identifier)
    run = Run.create(place / "judge", subject, config)
    reference = next(iter(recipe.look_at_photos(run)), None)
    assert reference is not None
    probed = Probe(run, reference).look(STEPS, load(Base(model=str(place / "script"))))
    return {"dino": probed.dino, "clip_t": probed.clip_t, "pres": probed.pres}


def reached(probes: Sequence[dict[str, float]], its: dict[str, float], tolerance: float) -> dict[str, float] | None:
    """The first probe that is where the script ends; None where none is."""
    for probe in probes:
        near = probe["dino"] >= its["dino"] - tolerance and probe["clip_t"] >= its["clip_t"] - tolerance
        if near and probe["pres"] <= its["pres"] + tolerance:
            return probe
    return None


def measure(options: argparse.Namespace, base: Path, noun: str, toy: int, seed: int) -> dict[str, Any]:
    """One toy at one seed; read back where it was measured before."""
    place = options.out / f"{noun}-{toy}-seed{seed}"
    kept = place / "measured.json"
    if kept.exists():
        return dict(json.loads(kept.read_text()))
    shutil.rmtree(place, ignore_errors=True)
    from dreambooth.toybox.photos import photos

    photos(noun, toy, 4, place / "toy")
    (place / "photos").mkdir()
    for file in (place / "toy").glob("*.png"):
        shutil.copy(file, place / "photos")
    told = (base, place, noun, options.identifier, seed)
    os.environ["DREAMBOOTH_CACHE"] = str(place / "cache")  # cold
    mine = alone(ours, *told, options.every, options.processor)
    script = alone(of_script, options.script.resolve(), *told, options.learning_rate, options.processor)
    script |= alone(judged, *told, options.every)
    result = {"toy": f"{noun} {toy}", "seed": seed, "script": script, "ours": mine}
    kept.write_text(json.dumps(result, indent=1))
    for folder in ("cache", "script", "run/checkpoints", "run/best", "run/model"):
        shutil.rmtree(place / folder, ignore_errors=True)
    return result


def summary(results: Sequence[dict[str, Any]], tolerance: float) -> dict[str, Any]:
    """The script's seconds over ours, cold and warm: means with intervals over the runs that got there."""
    from dreambooth.evaluation.bootstrap import interval

    ends = [(row, reached(row["ours"]["probes"], row["script"], tolerance)) for row in results]
    told: dict[str, Any] = {"runs": len(ends), "reached": sum(end is not None for _, end in ends)}
    for how in ("cold", "warm"):
        ratios = [row["script"]["seconds"] / end[how] for row, end in ends if end is not None]
        low, high = interval(ratios) or (math.nan, math.nan)
        mean = sum(ratios) / len(ratios) if ratios else math.nan
        told[how] = {"mean": mean, "low": low, "high": high, "each": ratios}
    return told


def main() -> None:
    """Measure what was not measured yet, print each and the means, write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--script", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("build/fidelity"), help="folder of the runs; it is resumed")
    parser.add_argument("--results", type=Path, help="write the result to this JSON file")
    parser.add_argument("--toys", type=int, default=5, help="how many of those of benchmarks.quality that are unseen")
    parser.add_argument("--seeds", type=int, nargs="+", default=[5, 6])
    parser.add_argument("--every", type=int, default=25, help="steps between probes")
    parser.add_argument("--learning-rate", type=float, default=5e-6, help="of the script [default: its own]")
    parser.add_argument("--tolerance", type=float, default=0.0, help="by which each number may fall short")
    parser.add_argument("--identifier", default="sks")
    parser.add_argument("--processor", action="store_true", help="count the processor's seconds: on a busy machine")
    options = parser.parse_args()
    from benchmarks.quality import TOYS

    base = options.out / "base"
    if not base.exists():
        alone(base_copy, base)
    results = []
    for noun, toy in TOYS["unseen"][: options.toys]:
        for seed in options.seeds:
            results.append(row := measure(options, base, noun, toy, seed))
            its, end = row["script"], reached(row["ours"]["probes"], row["script"], options.tolerance)
            said = f"{end['cold']:.0f} s cold, {end['warm']:.0f} s warm, step {end['step']}" if end else "not reached"
            numbers = ", ".join(f"{name} {its[name]:.3f}" for name in ("dino", "clip_t", "pres"))
            print(f"{row['toy']}, seed {seed}: script {its['seconds']:.0f} s ({numbers}); ours {said}", flush=True)
    told = summary(results, options.tolerance)
    for how in ("cold", "warm"):
        print(f"{how}: {told[how]['mean']:.1f} times [{told[how]['low']:.1f}, {told[how]['high']:.1f}]")
    print(f"reached in {told['reached']} of {told['runs']} runs")
    if options.results:
        settings = {name: str(value) for name, value in vars(options).items()}
        whole = {"machine": alone(machine), "settings": settings, "summary": told, "runs": results}
        options.results.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
