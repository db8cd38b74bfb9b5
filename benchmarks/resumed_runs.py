"""Does a run that resumes end as one that never stopped? From every step of a run, by every method, to the bit.

Small random models: full fine-tuning, LoRA and Textual Inversion of a Stable Diffusion, and both stages of a DeepFloyd
IF, a cascade; each with and without the running average and with one or two batches a step. Compared are the SHA-256 of
the last weights, average and optimizer, and the losses.

    python -m benchmarks.resumed_runs [--steps 12] [--results FILE]
"""

import argparse
import json
import sys
import tempfile
from itertools import product
from pathlib import Path

from benchmarks.machine import machine
from dreambooth.support.files import write_json

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from trained import resumed_otherwise

METHODS = {
    "full": ("stable diffusion", "dreambooth"),
    "LoRA": ("stable diffusion", "lora"),
    "Textual Inversion": ("stable diffusion", "textual_inversion"),
    "cascade, base": ("deepfloyd if, base", "dreambooth"),
    "cascade, super-resolution": ("deepfloyd if, super_resolution", "dreambooth"),
}


def main() -> None:
    """Print how many resumed runs ended otherwise, by method; write all of it with --results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--results", type=Path, help="write the result to this JSON file")
    options = parser.parse_args()
    resumed, otherwise = dict[str, int](), list[str]()
    for (name, (family, method)), use_ema, batches in product(METHODS.items(), (False, True), (1, 2)):
        settings = {"method": method, "use_ema": use_ema, "gradient_accumulation_steps": batches}
        with tempfile.TemporaryDirectory() as root:
            found = resumed_otherwise(family, settings, options.steps, Path(root))
        otherwise += [f"{name}, average {use_ema}, {batches} batches a step: {what}" for what in found]
        resumed[name] = resumed.get(name, 0) + options.steps - 1
        print(f"{name}, average {use_ema}, {batches} batches a step: {found or 'nothing otherwise'}", flush=True)
    result = {"steps": options.steps, "runs resumed": resumed, "otherwise": otherwise}
    print(json.dumps(result, indent=2))
    if options.results:
        write_json(options.results, {"machine": machine(), **result})


if __name__ == "__main__":
    main()
