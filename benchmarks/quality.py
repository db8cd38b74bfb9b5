"""Is it that subject, in every scene, and does the model keep what it knew? On toys that nothing was chosen on.

Each run is a whole fine-tuning of one toy at one seed, which names the identifier too, by the last step's weights. A
classifier trained on renders alone reads class and scene off the pictures; the embedded judges give DINO, CLIP-T and
DIV. "Scenes of" a prompt that names no place is exp of the entropy of the scenes in 16 pictures. The untuned model
draws the same prompts, with the class noun and with all that words can say of the toy.

    python -m benchmarks.quality --out build/quality --results benchmarks/results/quality.json
    python -m benchmarks.quality --toys sweep --set learning_rate=5e-5,use_ema=true --out build/sweep/ema

The toys of the sweep are there to choose settings on, and lack one class that the others have.
"""

import argparse
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from operator import itemgetter
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from benchmarks.machine import machine
from benchmarks.pictures import draw, in_scenes, tensor
from dreambooth import Config, Run, Subject, recipe
from dreambooth.config import Evaluation
from dreambooth.evaluation import load_judges
from dreambooth.evaluation.base import Judges
from dreambooth.evaluation.bootstrap import interval
from dreambooth.evaluation.scores import measure_photos, score
from dreambooth.generation.requests import sampling_of
from dreambooth.models.base import DiffusionModel, Sampling
from dreambooth.personal import personal_model
from dreambooth.run.records import TIMINGS
from dreambooth.support.files import write_text
from dreambooth.toybox import captions, world
from dreambooth.toybox.home import TOYBOX
from dreambooth.toybox.photos import photos
from pretraining import classifier

UNSWEPT = "clock"
TOYS = {
    "sweep": [(noun, 700 + i) for i, noun in enumerate(world.CLASSES) if noun != UNSWEPT],
    "unseen": [(noun, seed) for seed in (801, 802) for noun in world.CLASSES],
}
ALONE = 16  # pictures of a prompt without a place
A_SCENE = 2
AIM = 0.95  # of real photos' DINO
FIXED: dict[str, Any] = {"probe": False, "prompts": ("a {}",), "num_images_per_prompt": 1}


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one set of pictures shows: shares within [0, 1], the judges' numbers, and effective scenes."""

    scene: float
    class_noun: float
    dino: float
    clip_t: float
    scenes_of_subject: float
    scenes_of_class: float
    spread_of_class: float
    div_of_subject: float
    div_of_class: float
    pres: float


class Critic:
    """Who looks at the pictures of one toy."""

    def __init__(self, noun: str, paths: Sequence[Path]) -> None:
        self.noun = noun
        self.judges: Judges = load_judges(Evaluation(), TOYBOX)
        self.reader = classifier.load()
        self.photos = measure_photos(self.judges, paths)

    def measure(self, model: DiffusionModel, sampling: Sampling, subject: str, batch: int) -> Measured:
        """Draw `subject`, a noun phrase, in every scene and alone, and the class alone; and look at it all."""
        asked = [(f"{captions.article(subject)} {scene}", scene) for scene in world.SCENES for _ in range(A_SCENE)]
        placed = draw(model, [text for text, _ in asked], sampling, batch)
        alone, of_class = (
            draw(model, [captions.article(name)] * ALONE, sampling, batch, first=5000) for name in (subject, self.noun)
        )
        seen = self.read(placed)
        scored = score(self.judges, self.photos, placed, [f"{captions.article(self.noun)} {s}" for _, s in asked])
        lone = score(self.judges, self.photos, alone, [self.noun] * ALONE, of_class)
        classy = score(self.judges, self.photos, of_class, [self.noun] * ALONE)
        assert scored.dino is not None and scored.clip_t is not None and lone.pres is not None
        assert lone.div is not None and classy.div is not None
        return Measured(
            scene=sum(found["scene"] == scene for found, (_, scene) in zip(seen, asked, strict=True)) / len(asked),
            class_noun=sum(found["class_noun"] == self.noun for found in seen) / len(asked),
            dino=scored.dino,
            clip_t=scored.clip_t,
            scenes_of_subject=self.scenes(alone),
            scenes_of_class=self.scenes(of_class),
            spread_of_class=self.reader.spread(_as_photos(of_class)),
            div_of_subject=lone.div,
            div_of_class=classy.div,
            pres=lone.pres,
        )

    def read(self, pictures: Sequence[Image.Image]) -> list[dict[str, Any]]:
        """What the classifier reads off pictures of any size."""
        return list(self.reader.read(_as_photos(pictures)))

    def scenes(self, pictures: Sequence[Image.Image]) -> float:
        """The effective number of scenes in the pictures, as the classifier reads them."""
        return self.reader.scenes(_as_photos(pictures))


def _as_photos(pictures: Sequence[Image.Image]) -> Tensor:
    return tensor([picture.resize((TOYBOX.resolution,) * 2) for picture in pictures])


def measure(
    out: Path, settings: dict[str, Any], keep_models: bool, task: tuple[str, int, int], untuned: Path | None = None
) -> dict[str, Any]:
    """One run and all that is measured of it; read back where it was measured before.

    untuned: folder of what is measured of the untuned model, which does not depend on the settings of a training.
    """
    noun, toy_seed, seed = task
    untuned = untuned or out
    folder = out / f"{noun}-{toy_seed}-seed{seed}"
    kept = folder / "measured.json"
    if kept.exists():
        return dict(json.loads(kept.read_text()))
    torch.set_num_threads(1)
    if not (folder / "photos").exists():
        photos(noun, toy_seed, 4, folder / "photos")
    paths = tuple(sorted((folder / "photos").glob("*.png")))
    config = Config.build(FIXED | {"seed": seed} | settings)
    run = recipe.dreambooth(Subject(photos=paths, class_noun=noun), config, folder / "run")
    critic, sampling, batch = (
        Critic(noun, paths),
        sampling_of(run.config.generation),
        run.config.prior.sample_batch_size,
    )
    toy = world.Toy.from_seed(noun, toy_seed)
    base, tuned = recipe.base_model(run), personal_model(run)
    look = partial(critic.measure, sampling=sampling, batch=batch)
    real = critic.photos.real_row.dino
    untold, told = untuned / f"{noun}-{toy_seed}-untuned.json", untuned / f"{noun}-{toy_seed}-described.json"
    result = {
        "subject": f"{noun} {toy_seed}",
        "seed": seed,
        "identifier": run.subject.identifier,
        "real": real,
        "tuned": asdict(look(tuned, subject=run.subject.name)),
        "untuned": once(untold, lambda: asdict(look(base, subject=noun))),
        "described": once(told, lambda: asdict(look(base, subject=captions.description(toy)))),
        "seconds": sum(TIMINGS.read(run.root).values()),
    }
    sheet(run, tuned, sampling, batch).save(folder / "sheet.png")
    if not keep_models:
        for path in [*run.root.glob("model/**/*.safetensors"), *run.root.glob("checkpoints/**/*.safetensors")]:
            path.unlink()
    write_text(kept, json.dumps(result, indent=2))
    return result


def once(path: Path, measured: Callable[[], dict[str, float]]) -> dict[str, float]:
    """What is measured of the untuned model and a toy, which is the same whatever the seed of the training."""
    if not path.exists():
        write_text(path, json.dumps(measured()))
    return dict(json.loads(path.read_text()))


def sheet(run: Run, model: DiffusionModel, sampling: Sampling, batch: int) -> Image.Image:
    """The photos above the tuned model's pictures: every scene, then the subject and the class alone."""
    name, noun = run.subject.name, run.subject.class_noun
    rows = [[Image.open(path).convert("RGB") for path in run.subject.photos]]
    texts = in_scenes(name)
    rows.append(draw(model, texts, sampling, batch))
    rows += [draw(model, [captions.article(what)] * len(texts), sampling, batch, first=5000) for what in (name, noun)]
    side = rows[0][0].width
    page = Image.new("RGB", (side * len(texts), side * len(rows)), "white")
    for line, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            page.paste(picture.resize((side, side)), (side * column, side * line))
    return page


def of_run(row: Mapping[str, Any]) -> dict[str, float]:
    """What the presets are held to in one run, as shares of real photos or of the untuned model; then the levels."""
    real, tuned, untuned = row["real"], row["tuned"], row["untuned"]

    def ratio(name: str) -> float:
        return float(tuned[name] / untuned[name])

    return {
        "scene right": tuned["scene"],
        "class right": tuned["class_noun"],
        "DINO": tuned["dino"],
        "DINO of real": tuned["dino"] / real,
        "DINO above prompt only": tuned["dino"] - row["described"]["dino"],
        "CLIP-T of untuned": ratio("clip_t"),
        "scenes of the subject, of untuned": ratio("scenes_of_subject"),
        "scenes of the class, of untuned": ratio("scenes_of_class"),
        "spread of the class, of untuned": ratio("spread_of_class"),
        "DIV of the subject, of untuned": ratio("div_of_subject"),
        "DIV of the class, of untuned": ratio("div_of_class"),
        "PRES above untuned": tuned["pres"] - untuned["pres"],
        "seconds": row["seconds"],
        "DINO of the photos": real,
        "CLIP-T": tuned["clip_t"],
        **{
            f"{who}: {name}": row[key][value]
            for who, key in (("untuned", "untuned"), ("untuned, told all that words can say", "described"))
            for name, value in (("DINO", "dino"), ("CLIP-T", "clip_t"), ("scene", "scene"), ("class", "class_noun"))
        },
    }


def summary(results: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Means of what `of_run` says, with intervals over the toys, and the worst run."""
    runs, told = [of_run(row) for row in results], {}
    toys = [row["subject"] for row in results]
    for name in runs[0]:
        values = [its[name] for its in runs]
        of_toys = [fmean(v for toy, v in zip(toys, values, strict=True) if toy == its) for its in dict.fromkeys(toys)]
        low, high = interval(of_toys) or (math.nan, math.nan)
        worst = max(values) if name in ("PRES above untuned", "seconds") else min(values)
        told[name] = {"mean": fmean(values), "low": low, "high": high, "worst": worst}
    return told


def likeness(results: Sequence[dict[str, Any]]) -> dict[tuple[str, int], float]:
    """DINO as a share of the photos' own, by toy and seed."""
    return {(row["subject"], row["seed"]): row["tuned"]["dino"] / row["real"] for row in results}


def told_apart(results: Sequence[dict[str, Any]], before: Path | None) -> Iterator[str]:
    """Likeness by seed, the worst runs, and beside it what a results file has of the same toys and seeds."""
    alike = likeness(results)
    for seed in sorted({seed for _, seed in alike}):
        its = [value for (_, at), value in alike.items() if at == seed]
        yield f"seed {seed}: DINO of real {sum(its) / len(its):.3f}"
    yield f"DINO of real at {AIM} or above: {sum(value >= AIM for value in alike.values())} of {len(alike)}; the least:"
    for (toy, seed), value in sorted(alike.items(), key=itemgetter(1))[:4]:
        yield f"  {toy}, seed {seed}: {value:.3f}"
    if before:
        older = json.loads(before.read_text())["runs"]
        was = likeness(older)
        for what, runs in (("before", older), ("now", results)):
            both = [row for row in runs if (row["subject"], row["seed"]) in was.keys() & alike.keys()]
            dino = likeness(both).values()
            words = [row["tuned"]["clip_t"] / row["untuned"]["clip_t"] for row in both]
            yield f"{what}, the {len(both)} runs of both: DINO of real {sum(dino) / len(both):.3f}, " + (
                f"worst {min(dino):.3f}; CLIP-T of untuned {sum(words) / len(both):.3f}"
            )
        rose = sum(alike[key] > value for key, value in was.items() if key in alike)
        yield f"DINO of real is higher in {rose} of them"


def settings_from(text: str) -> dict[str, Any]:
    """name=value,... as settings; values are JSON where they are JSON, and may have commas then."""
    settings = {}
    for pair in filter(None, re.split(r",(?=\w+=)", text)):
        name, value = pair.split("=", 1)
        try:
            settings[name] = json.loads(value)
        except json.JSONDecodeError:
            settings[name] = value
    return settings


def main() -> None:
    """Run what was not run yet, print each and the means, and write them with machine, versions and n."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/quality"), help="folder of the runs; it is resumed")
    parser.add_argument("--toys", choices=TOYS, default="unseen")
    parser.add_argument("--count", type=int, default=None, help="only the first of the toys")
    parser.add_argument("--seeds", type=int, nargs="+", default=[5, 6], help="of the training and the identifier")
    parser.add_argument("--set", dest="settings", default="", help="settings over the preset: name=value,...")
    parser.add_argument("--results", type=Path, default=None, help="write the result to this JSON file")
    parser.add_argument("--before", type=Path, help="compare with this JSON file of an earlier --results")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--keep-models", action="store_true", help="keep every run's weights")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that are started below
    settings = settings_from(options.settings)
    tasks = [(*toy, seed) for seed in options.seeds for toy in TOYS[options.toys][: options.count]]
    with ProcessPoolExecutor(options.jobs, get_context("spawn")) as pool:
        results = list(pool.map(partial(measure, options.out, settings, options.keep_models), tasks))
    for row in results:
        tuned = {name: round(value, 3) for name, value in row["tuned"].items()}
        print(f"{row['subject']}, seed {row['seed']}, {row['identifier']}: real {row['real']:.3f}, {tuned}")
    told = summary(results)
    for name, value in told.items():
        print(f"{name}: {value['mean']:.3f} [{value['low']:.3f}, {value['high']:.3f}], worst {value['worst']:.3f}")
    print(*told_apart(results, options.before), sep="\n")
    if options.results:
        whole = {"machine": machine(), "n": len(results), "settings": settings, "summary": told, "runs": results}
        options.results.parent.mkdir(parents=True, exist_ok=True)
        options.results.write_text(json.dumps(whole, indent=2) + "\n")


if __name__ == "__main__":
    main()
