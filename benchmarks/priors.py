"""What keeps the class, and what does it cost the subject? Class images (Eq. 2) beside what does without them.

On toys that nothing was chosen on, one training seed; whole runs by their last step's weights, looked at as in
`benchmarks.quality`. Of all weights: class images, no second term, and the squared distance to the base model's
weights. Of a LoRA: class images, no second term, the base model's own predictions on twins of the photos, and Direct
Consistency Optimization. Each is compared with class images on the same toys; intervals are over toys. Fewer than six
are a sign.

    python -m benchmarks.priors --out build/priors --results FILE
    python -m benchmarks.priors --out build/pull --toys sweep --count 4 --arms "L2 to the base" --set l2_to_base=0.003
"""

import argparse
import json
import os
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.machine import machine
from benchmarks.means import over
from benchmarks.quality import TOYS, measure, of_run, settings_from
from dreambooth.support.files import write_json

NONE: Mapping[str, Any] = {"with_prior_preservation": False}
LORA: Mapping[str, Any] = {"method": "lora"}
ARMS: Mapping[str, Mapping[str, Any]] = {
    "class images": {},
    "nothing": NONE,
    "L2 to the base": {**NONE, "l2_to_base": 1e-3},
    "LoRA, class images": LORA,
    "LoRA, nothing": {**LORA, **NONE},
    "LoRA, base": {**LORA, "prior_target": "base"},
    "LoRA, DCO": {**LORA, **NONE, "dco_beta": 1000.0},
}
COLUMNS = (
    *("DINO of real", "CLIP-T of untuned", "scene right", "scenes of the subject, of untuned"),
    *("scenes of the class, of untuned", "DIV of the class, of untuned", "PRES above untuned"),
)
"""Of what `quality.of_run` says of a run; not its seconds, as arms share a library of class images."""


def compared(arms: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Of every arm the means, and where its method has class images, the means of the differences to them."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for name, rows in arms.items():
        paper = arms.get("LoRA, class images" if name.startswith("LoRA") else "class images", ())
        mine, theirs = [of_run(row) for row in rows], [of_run(row) for row in paper]
        found[name] = {}
        for column in COLUMNS:
            found[name][column] = over([its[column] for its in mine])
            if len(theirs) == len(mine) and paper is not rows:
                differences = [its[column] - other[column] for its, other in zip(mine, theirs, strict=True)]
                found[name][column]["minus class images"] = over(differences)
    return found


def main() -> None:
    """Run what was not run yet, print, and write with --results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs; it is resumed")
    parser.add_argument("--toys", choices=TOYS, default="unseen")
    parser.add_argument("--count", type=int, default=8, help="the first so many of the toys")
    parser.add_argument("--seed", type=int, default=5, help="of the training and the identifier")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--set", dest="settings", default="", help="settings over every arm's: name=value,...")
    parser.add_argument("--results", type=Path, help="write the result to this JSON file")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that are started below
    tasks = [(*toy, options.seed) for toy in TOYS[options.toys][: options.count]]
    its = {name: {**ARMS[name], **settings_from(options.settings)} for name in options.arms}
    with ProcessPoolExecutor(options.jobs, get_context("spawn")) as pool:
        arms = {}
        for name, settings in its.items():
            folder = options.out / _folder(name, options.settings)
            arms[name] = list(pool.map(partial(measure, folder, settings, False, untuned=options.out), tasks))
    result = {"machine": machine(), "toys": len(tasks), "settings": its, **compared(arms), "runs": arms}
    print(json.dumps({name: value for name, value in result.items() if name != "runs"}, indent=2))
    if options.results:
        write_json(options.results, result)


def _folder(arm: str, settings: str) -> str:
    return re.sub(r"[^a-z0-9.=-]+", "-", f"{arm} {settings}".strip().lower())


if __name__ == "__main__":
    main()
