"""The pictures of README and documents, from finished work.

A run's photos, then two samples for each prompt:

    make demo && python -m benchmarks.figures samples runs/demo/duck --out docs/images/demo.png

What the class noun means before the training, after it with the class prior, and without, from an experiment's table 3:

    dreambooth experiment table3 --subject-seeds 18 --seeds 0
    python -m benchmarks.figures drift runs/experiment --subject-seed 18 --out docs/images/drift.png
"""

import argparse
from itertools import groupby
from pathlib import Path

from dreambooth import Run, experiments
from dreambooth.data.pictures import open_image
from dreambooth.experiments.trial import CLASS_PICTURES
from dreambooth.generation.samples import opened, read_samples
from dreambooth.generation.sheet import Row, lay_out

SIDE = 144
CLASS_SIDE = 128


def samples(options: argparse.Namespace) -> list[Row]:
    """The photos of a run, and its samples, three prompts in a row."""
    run = Run.open(options.folder)
    groups = []
    for prompt, drawn in groupby(read_samples(run.samples / "after"), key=lambda sample: sample.prompt):
        groups.append((prompt, tuple(opened(sample) for sample in list(drawn)[:2])))
    photos = tuple(map(open_image, run.subject.photos))
    return [
        Row("the photos", (("", photos),)),
        *(Row("", tuple(groups[at : at + 3])) for at in range(0, len(groups), 3)),
    ]


def drift(options: argparse.Namespace) -> list[Row]:
    """The photos of a subject, and pictures of its class by each row of table 3."""
    plan = experiments.plan(["table3"], {}, options.folder, subject_seeds=[options.subject_seed], seeds=[0])
    (table,) = plan.tables
    cells = {row.name: row.cells[0] for row in table.rows}
    subject = cells["untuned"].subject
    told = {"untuned": "before", "with prior": "with the prior", "without prior": "without the prior"}
    rows = [Row("the photos", (("", tuple(map(open_image, subject.photos))),))]
    for name, words in told.items():
        drawn = Run(plan.cells[cells[name]]).samples / CLASS_PICTURES
        pictures = tuple(opened(sample) for sample in read_samples(drawn))
        rows.append(Row(f'"a {subject.class_noun}" {words}', (("", pictures),)))
    return rows


def main() -> None:
    """Lay out the pictures and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(required=True, metavar="KIND")
    for make, side in ((samples, SIDE), (drift, CLASS_SIDE)):
        kind = kinds.add_parser(make.__name__)
        kind.set_defaults(make=make, side=side)
        kind.add_argument("folder", type=Path)
        kind.add_argument("--out", type=Path, required=True)
        if make is drift:
            kind.add_argument("--subject-seed", type=int, required=True)
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    lay_out(options.make(options), options.side).save(options.out)


if __name__ == "__main__":
    main()
