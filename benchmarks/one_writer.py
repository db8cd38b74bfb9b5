"""Are there ever two writers of one run? Processes start at once and take the lock in turn, again and again.

Each marks a folder while it holds the lock and looks for another's mark. Half of the trials find a lock file that
nobody holds, as a killed process leaves it.

    python -m benchmarks.one_writer [--trials 1000]
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dreambooth.run.lock import locked

PATIENCE = 600.0


def work(folder: Path, number: int, trials: int, stale: bool) -> int:
    """Hold the lock `trials` times; how often another process held it too."""
    mine, seen = folder / f"writer-{number}", 0
    for _ in range(trials):
        if stale:
            (folder / ".lock").write_text(str(999_999_999))
        with locked(folder / ".lock", PATIENCE):
            mine.touch()
            seen += len(list(folder.glob("writer-*"))) > 1
            time.sleep(0.0005)
            mine.unlink()
    return seen


def main() -> None:
    """Print, for 2 and 4 starters with and without a stale lock, the trials and those with two writers."""
    parser = argparse.ArgumentParser(description="Are there ever two writers of one run?")
    parser.add_argument("--trials", type=int, default=1000, help="of each kind")
    parser.add_argument("--worker", nargs=4, metavar="X", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        folder, number, trials, stale = options.worker
        print(work(Path(folder), int(number), int(trials), stale == "stale"))
        return
    for stale in ("stale lock", "no lock file"):
        for starters in (2, 4):
            with tempfile.TemporaryDirectory() as folder:
                each = -(-options.trials // starters)
                command = [sys.executable, "-m", "benchmarks.one_writer", "--worker", folder]
                workers = [
                    subprocess.Popen([*command, str(n), str(each), stale.split()[0]], stdout=subprocess.PIPE, text=True)
                    for n in range(starters)
                ]
                seen = sum(int(worker.communicate()[0]) for worker in workers)
            print(f"{starters} starters, {stale}: two writers in {seen} of {each * starters} trials", flush=True)


if __name__ == "__main__":
    main()
