"""The README's first picture, from a finished run: the photos, then two pictures for each prompt.

make demo && python -m benchmarks.figures runs/demo/teapot --out docs/images/demo.png
"""

import argparse
from itertools import groupby
from pathlib import Path

from dreambooth import Run
from dreambooth.data.pictures import open_image
from dreambooth.generation.samples import opened, read_samples
from dreambooth.generation.sheet import Row, lay_out


def main() -> None:
    """Lay out the pictures and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    run = Run.open(options.run_dir)
    groups = []
    for prompt, samples in groupby(read_samples(run.samples / "after"), key=lambda sample: sample.prompt):
        groups.append((prompt, tuple(opened(sample) for sample in list(samples)[:2])))
    photos = tuple(map(open_image, run.subject.photos))
    rows = [
        Row("the photos", (("", photos),)),
        *(Row("", tuple(groups[at : at + 3])) for at in range(0, len(groups), 3)),
    ]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    lay_out(rows, 144).save(options.out)


if __name__ == "__main__":
    main()
