"""Table 5 in a longer training, and in two rows: does likeness rise from one photo to four?

In the preset's steps a toy is still being learned, and one photo that is seen four times as often makes up for what it
does not show. The rows, the pictures and the numbers are those of `dreambooth experiment table5`.

    python -m benchmarks.more_photos --out build/more_photos --max-train-steps 1500
"""

import argparse
from dataclasses import replace
from pathlib import Path

from dreambooth.executors import Engine
from dreambooth.experiments.conduct import experiment
from dreambooth.experiments.planning import plan


def main() -> None:
    """Carry out what is unfinished, and print the table with its differences; `out` keeps it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/more_photos"), help="folder of the cells")
    parser.add_argument("--subject-seeds", type=int, nargs="+", default=list(range(11, 35)), help="of the toys")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the training")
    parser.add_argument("--photos", type=int, nargs="+", default=[1, 4], help="how many a toy is learned from")
    parser.add_argument("--max-train-steps", type=int, default=1500)
    parser.add_argument("--jobs", type=int, help="cells at a time, one thread each")
    options = parser.parse_args()
    settings = {"max_train_steps": options.max_train_steps}
    whole = plan(["table5"], settings, options.out, subject_seeds=options.subject_seeds, seeds=options.seeds)
    table = whole.tables[0]
    table = replace(table, rows=tuple(row for row in table.rows if row.cells[0].photos in options.photos))
    cells = {cell: whole.cells[cell] for cell in table.cells}
    text, _ = experiment(replace(whole, tables=(table,), cells=cells), Engine(jobs=options.jobs))
    print(text)


if __name__ == "__main__":
    main()
