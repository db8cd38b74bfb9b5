"""How much of a toy one photo shows to the DINO judge: what a model that learned from one alone could reach at best.

The toys of the paper's tables (`dreambooth experiment table5`), five photos each. A model that draws its only photo
again and again has that photo's DINO to all others; where that is what the photos have among themselves, more photos
cannot raise it.

    python -m benchmarks.one_photo [--subject-seeds 11 12 ...] [--results FILE]
"""

import argparse
import tempfile
from pathlib import Path
from statistics import mean

import torch

from benchmarks.machine import machine
from dreambooth.config import Evaluation
from dreambooth.evaluation import load_judges, metrics
from dreambooth.evaluation.bootstrap import interval
from dreambooth.evaluation.scores import measure_photos
from dreambooth.experiments.subjects import examples
from dreambooth.support.files import write_json
from dreambooth.toybox.home import TOYBOX


def main() -> None:
    """Print each photo's DINO to the others of its toy, and the mean of the first photos beside that of all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subject-seeds", type=int, nargs="+", default=list(range(11, 19)))
    parser.add_argument("--results", type=Path, help="write the result to this JSON file")
    options = parser.parse_args()
    judges, rows = load_judges(Evaluation(), TOYBOX), {}
    with tempfile.TemporaryDirectory() as folder:
        for subject in examples(TOYBOX, options.subject_seeds, Path(folder)):
            seen = measure_photos(judges, subject.photos).seen.dino
            others = [torch.cat([seen[:at], seen[at + 1 :]]) for at in range(len(seen))]
            rows[subject.name] = [metrics.dino(one[None], rest) for one, rest in zip(seen, others, strict=True)]
            print(f"{subject.name}:", ", ".join(f"{value:.3f}" for value in rows[subject.name]))
    more = [row[0] - mean(row) for row in rows.values()]
    low, high = interval(more) or (float("nan"),) * 2
    first, every = mean(row[0] for row in rows.values()), mean(mean(row) for row in rows.values())
    print(
        f"the first photos {first:.3f}, all {every:.3f}; the first minus all {mean(more):.3f} [{low:.3f}, {high:.3f}]"
    )
    if options.results:
        told = {"first": first, "all": every, "first minus all": [mean(more), low, high]}
        write_json(options.results, {"machine": machine(), "n": len(rows), "summary": told, "DINO to the others": rows})


if __name__ == "__main__":
    main()
