"""Seconds from photos on the disk to the likeness that a training script's recipe ends with, such as diffusers'.

The script: its README's recipe with prior preservation, 800 steps of 1 + 1 rows and 200 class images at its defaults,
text encoder trained, at each of `--learning-rates`: its own, and one that suits the embedded model. Ours: the embedded
model's preset, or `--set`, whose probe looks at the model every `--every` steps; it is there at the first one with at
least the script's DINO, no lower CLIP-T and no higher PRES; told beside it is the same within a tolerance, as a model
that is as good has other numbers by chance in so few pictures, DINO alone, and all three by the means of all runs. The
same probe, so the same prompts, seeds and sampler, looks at the script's last weights. Both have the same float32 copy
of the model, photos and identifier, and torch imported before the clock runs.

What counts: of the script all until its last step (opening, class images, steps). Of ours opening, identifier and class
images by timings.json, and the steps by losses.jsonl; not the probes, the samples and the report, which the script
lacks. Warm: with the class images of another subject of the class in the library, which are only verified. Each toy
has a class of its own and is run at every seed; the script's class images are drawn anew for each of these, once for
all rates, and their seconds count at every rate.

    OMP_NUM_THREADS=1 python -m benchmarks.time_to_fidelity --script train_dreambooth.py --out build/fidelity \
        --results FILE [--toys 5] [--seeds 5 6] [--learning-rates 5e-6 3e-4] [--jobs 2 --processor]
"""

import argparse
import json
import math
import os
import shutil
import statistics
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.machine import clocked, machine
from benchmarks.script import alone, base_copy, execute

STEPS, CLASS_IMAGES = 800, 200
"""The script's recipe, as https://github.com/huggingface/diffusers/tree/main/examples/dreambooth tells it."""

LOOK: dict[str, Any] = {"probe_images_per_prompt": 4, "probe_class_images": 16}
"""Twice the pictures of the preset's probe, since one look decides."""

DRAWN: dict[str, Any] = {"prompts": ("a {}",), "num_images_per_prompt": 1}
"""No results are drawn but one, and they are not timed."""

NUMBERS = ("dino", "clip_t", "pres")

ENDS = {"all three": (0.0, 0.0), "all three within .02": (0.02, 0.02), "DINO alone": (0.0, math.inf)}
"""By how much DINO, and how much CLIP-T and PRES, may fall short where ours is said to be there."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What one toy at one seed is measured with."""

    base: Path
    place: Path
    noun: str
    identifier: str
    seed: int
    every: int
    processor: bool
    ours: Mapping[str, Any]

    def config(self) -> Any:
        """Ours, and the probe's."""
        from dreambooth import Config

        told = {"model": str(self.base), "seed": self.seed, "validation_steps": self.every}
        return Config.build({**told, **LOOK, **DRAWN, **self.ours})

    def subject(self) -> Any:
        """The toy."""
        from dreambooth import Subject, photos_in

        return Subject(photos=photos_in(self.place / "photos"), class_noun=self.noun, identifier=self.identifier)


def of_script(script: Path, setting: Setting, rate: float) -> dict[str, float]:
    """Seconds until the first step, of which class images if there were none, and of the steps; leaves place/script."""
    import accelerate  # type: ignore[import-untyped]
    import diffusers
    import torch
    import transformers
    from torch.optim.optimizer import register_optimizer_step_post_hook

    assert accelerate and diffusers and torch and transformers
    clocked(setting.processor)
    looks: list[float] = []
    register_optimizer_step_post_hook(lambda *_: looks.append(time.monotonic()))
    resolution = json.loads((setting.base / "unet" / "config.json").read_text())["sample_size"] * 8
    place, noun = setting.place, setting.noun
    began = time.monotonic()
    execute(
        script,
        *(f"--pretrained_model_name_or_path={setting.base}", f"--instance_data_dir={place / 'photos'}"),
        *(f"--instance_prompt=a {setting.identifier} {noun}", f"--class_prompt=a {noun}", "--with_prior_preservation"),
        *(f"--class_data_dir={place / 'class'}", f"--num_class_images={CLASS_IMAGES}", "--train_text_encoder"),
        *(f"--output_dir={place / 'script'}", f"--resolution={resolution}", "--train_batch_size=1"),
        *(f"--max_train_steps={STEPS}", f"--learning_rate={rate}", "--lr_warmup_steps=0", f"--seed={setting.seed}"),
        "--checkpointing_steps=1000000",
    )
    return {"until_first_step": looks[0] - began, "steps": looks[-1] - looks[0]}


def ours(setting: Setting) -> dict[str, Any]:
    """A whole run; what each probe saw, and the seconds until then, cold and warm."""
    os.environ["DREAMBOOTH_CACHE"] = str(setting.place / "cache")  # cold
    from dreambooth import Run, recipe
    from dreambooth.run.records import LOSSES, SCORES, TIMINGS

    clocked(setting.processor)
    config, subject = setting.config(), setting.subject()
    run = recipe.dreambooth(subject, config, setting.place / "run")
    timings = TIMINGS.read(run.root)
    again = Run.create(setting.place / "again", subject, config)
    model = recipe.base_model(again)
    recipe.generate_class_images(again, model)
    warm = TIMINGS.read(again.root)
    before = timings["load"] / 2 + timings["identifier"]  # the model is opened twice, the second time to draw with
    taken = {line.step: line.seconds for line in LOSSES.read(run.root)}
    found = []
    for probed in SCORES.read(run.root):
        if isinstance(probed.step, int) and probed.step:
            steps = sum(seconds for step, seconds in taken.items() if step <= probed.step)
            cold = before + timings["prior"] + steps
            scores = {"dino": probed.dino, "clip_t": probed.clip_t, "pres": probed.pres}
            found.append({"step": probed.step, "cold": cold, "warm": before + warm["prior"] + steps, **scores})
    return {"probes": found, "timings": timings, "warm": warm}


def judged(setting: Setting) -> dict[str, float | None]:
    """What the probe sees in the script's model."""
    from dreambooth import Run, recipe
    from dreambooth.config import Base
    from dreambooth.models import load
    from dreambooth.probe import Probe

    run = Run.create(setting.place / "judge", setting.subject(), setting.config())
    reference = next(iter(recipe.look_at_photos(run)), None)
    assert reference is not None
    probed = Probe(run, reference).look(STEPS, load(Base(model=str(setting.place / "script"))))
    return {"dino": probed.dino, "clip_t": probed.clip_t, "pres": probed.pres}


def measure(options: argparse.Namespace, base: Path, task: tuple[str, int, int]) -> dict[str, Any]:
    """One toy at one seed; read back where it was measured before."""
    noun, toy, seed = task
    place = options.out / f"{noun}-{toy}-seed{seed}"
    kept = place / "measured.json"
    told = {name: str(getattr(options, name)) for name in ("settings", "every", "learning_rates", "identifier")}
    if kept.exists() and (before := json.loads(kept.read_text())).get("told") == told:
        return dict(before)
    shutil.rmtree(place, ignore_errors=True)
    from benchmarks.quality import settings_from
    from dreambooth.toybox.photos import photos

    photos(noun, toy, 4, place / "toy")
    (place / "photos").mkdir()
    for file in (place / "toy").glob("*.png"):
        shutil.copy(file, place / "photos")
    setting = Setting(
        base=base,
        place=place,
        noun=noun,
        identifier=options.identifier,
        seed=seed,
        every=options.every,
        processor=options.processor,
        ours=settings_from(options.settings),
    )
    mine = alone(ours, setting)
    scripts: dict[str, dict[str, float]] = {}
    for rate in options.learning_rates:
        took = alone(of_script, options.script.resolve(), setting, rate)
        first = next(iter(scripts.values()), took)["until_first_step"]  # with the class images
        scripts[f"{rate:g}"] = {**took, "until_first_step": first, "seconds": first + took["steps"]} | alone(
            judged, setting
        )
        for folder in ("script", "judge"):
            shutil.rmtree(place / folder)
    result = {"toy": f"{noun} {toy}", "seed": seed, "scripts": scripts, "ours": mine, "told": told}
    print(f"{result['toy']}, seed {seed}:", *(f"{its['seconds']:.0f} s by the script" for its in scripts.values()))
    kept.write_text(json.dumps(result, indent=1))
    for folder in ("cache", "class", "run/checkpoints", "run/best", "run/model"):
        shutil.rmtree(place / folder, ignore_errors=True)
    return result


def reached(probes: Sequence[dict[str, float]], its: dict[str, float], end: str) -> dict[str, float] | None:
    """The first probe that is where the script ends, by one of ENDS; None where none is."""
    less, others = ENDS[end]
    for probe in probes:
        near = probe["dino"] >= its["dino"] - less and probe["clip_t"] >= its["clip_t"] - others
        if near and probe["pres"] <= its["pres"] + others:
            return probe
    return None


def summary(results: Sequence[dict[str, Any]], rate: str, end: str) -> dict[str, Any]:
    """The script's seconds over ours, cold and warm: means with intervals over the runs that got there."""
    scripts = [row["scripts"][rate] for row in results]
    ends = [reached(row["ours"]["probes"], its, end) for row, its in zip(results, scripts, strict=True)]
    told: dict[str, Any] = {"runs": len(ends), "reached": sum(end is not None for end in ends)}
    told |= {name: statistics.mean(its[name] for its in scripts) for name in (*NUMBERS, "seconds")}
    last = [row["ours"]["probes"][-1] for row in results]
    told["ours at last"] = {name: statistics.mean(its[name] for its in last) for name in ("step", *NUMBERS)}
    for how in ("cold", "warm"):
        pairs = zip(scripts, ends, strict=True)
        ratios = [its["seconds"] / end[how] for its, end in pairs if end is not None]
        told[how] = spread(ratios)
    return told


def of_all(results: Sequence[dict[str, Any]], rate: str) -> dict[str, Any]:
    """The first step at which the means of our runs have all three of what those of the script end with, if any has.

    One look at one run decides by few pictures; the means of all decide by all of them.
    """
    scripts = [row["scripts"][rate] for row in results]
    means = {name: statistics.mean(its[name] for its in scripts) for name in NUMBERS}
    for looks in zip(*(row["ours"]["probes"] for row in results), strict=True):
        seen = {name: statistics.mean(look[name] for look in looks) for name in NUMBERS}
        if reached([seen], means, "all three"):
            told: dict[str, Any] = {"step": looks[0]["step"], **seen}
            for how in ("cold", "warm"):
                ratios = [its["seconds"] / look[how] for its, look in zip(scripts, looks, strict=True)]
                told[how] = spread(ratios)
            return told
    return {}


def spread(ratios: Sequence[float]) -> dict[str, Any]:
    """Mean, 95 % interval and least of some ratios, nan where there are none; and each."""
    from dreambooth.evaluation.bootstrap import interval

    low, high = interval(ratios) or (math.nan, math.nan)
    mean = statistics.mean(ratios) if ratios else math.nan
    return {"mean": mean, "low": low, "high": high, "least": min(ratios, default=math.nan), "each": ratios}


def said(its: Mapping[str, float]) -> str:
    """A ratio in words."""
    return f"{its['mean']:.1f} times [{its['low']:.1f}, {its['high']:.1f}], least {its['least']:.1f}"


def main() -> None:
    """Measure what was not measured yet, print the means, write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--script", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("build/fidelity"), help="folder of the runs; it is resumed")
    parser.add_argument("--results", type=Path, help="write the result to this JSON file")
    parser.add_argument("--toys", type=int, default=5, help="how many of those of benchmarks.quality that are unseen")
    parser.add_argument("--seeds", type=int, nargs="+", default=[5, 6])
    parser.add_argument("--every", type=int, default=25, help="steps between probes")
    parser.add_argument("--set", dest="settings", default="", help="settings over the preset: name=value,...")
    parser.add_argument("--learning-rates", type=float, nargs="+", default=[5e-6, 3e-4], help="of the script")
    parser.add_argument("--identifier", default="sks")
    parser.add_argument("--jobs", type=int, default=1, help="toys at a time: with --processor")
    parser.add_argument("--processor", action="store_true", help="count the processor's seconds: on a busy machine")
    options = parser.parse_args()
    if options.jobs > 1 and not options.processor:
        parser.error("--jobs: runs beside each other slow each other down; add --processor")
    from benchmarks.quality import TOYS

    base = options.out / "base"
    if not base.exists():
        alone(base_copy, base)
    tasks = [(*toy, seed) for seed in options.seeds for toy in TOYS["unseen"][: options.toys]]
    with ThreadPoolExecutor(options.jobs) as pool:
        results = list(pool.map(partial(measure, options, base), tasks))
    ends = {}
    for rate in results[0]["scripts"]:
        for end in ENDS:
            told = ends[f"script at {rate}, {end}"] = summary(results, rate, end)
            numbers = ", ".join(f"{name} {told[name]:.3f}" for name in NUMBERS)
            print(f"script at {rate}, {told['seconds']:.0f} s, {numbers}; {end}:")
            print(f"  reached in {told['reached']} of {told['runs']} runs")
            for how in ("cold", "warm"):
                its = told[how]
                print(f"  {how}: {said(its)}")
        means = ends[f"script at {rate}, the means"] = of_all(results, rate)
        print(
            f"script at {rate}, all three on the mean of the runs: " + (f"step {means['step']}" if means else "never")
        )
        for how in ("cold", "warm") if means else ():
            print(f"  {how}: {said(means[how])}")
    print("ours at last:", ", ".join(f"{name} {value:.3f}" for name, value in told["ours at last"].items()))
    if options.results:
        paths = ("script", "out", "results")  # of this machine
        settings = {name: str(value) for name, value in vars(options).items() if name not in paths}
        whole = {"machine": alone(machine), "settings": settings, "summary": ends, "runs": results}
        options.results.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
