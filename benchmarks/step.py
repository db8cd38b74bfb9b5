"""A step of our fine-tuning against one of a training script, such as diffusers' train_dreambooth.py: time and memory.

Both train all of the U-Net and the text encoder, from the same float32 copy of the embedded model, on the same photos,
class images and rows, without mixed precision, each in a process of its own, by turns. The script is given by its path
and is no part of this project. Of seconds, the median over blocks of steps counts; of memory, what the process had held
at most by its last step (on a GPU, what torch had allocated at most).

    OMP_NUM_THREADS=1 python -m benchmarks.step --script train_dreambooth.py [--pairs 5] [--rows 1 4] [--out FILE]

On a GPU, another base (`benchmarks.full_width --only-build --out FOLDER` makes one
of Stable Diffusion 1.5's shape in FOLDER/model):

    python -m benchmarks.step --script FILE --base FOLDER/model --resolution 512 --mixed-precision bf16 --rows 1
"""

import argparse
import json
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.machine import machine
from benchmarks.script import alone, base_copy, execute

BLOCK, WARM = 10, 1
"""Steps between two looks at the clock, and blocks that are left out at first."""

CLASS_NOUN, IDENTIFIER, PHOTOS, CLASS_IMAGES = "dog", "sks", 4, 16
Measured = dict[str, float]
"""Of one side: seconds and processor seconds a step, and peak memory in megabytes."""


class Enough(BaseException):
    """Raised after the last measured step: saving, and what else follows, is not timed."""


class Clock:
    """Times every optimizer step of this process, and ends the training given to `over` after `steps` of them."""

    def __init__(self, steps: int) -> None:
        from torch.optim.optimizer import register_optimizer_step_post_hook

        self.taken, self.steps, self.peak = 0, steps, 0.0
        self.looks: list[tuple[float, float]] = []
        register_optimizer_step_post_hook(self.look)

    def look(self, *_: object) -> None:
        """After a step."""
        self.taken += 1
        if self.taken % BLOCK == 0:
            self._read()
        if self.taken == self.steps:
            raise Enough

    def _read(self) -> None:
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()
            self.peak = torch.cuda.max_memory_allocated() / 2**20
        else:
            held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            self.peak = held / (2**20 if sys.platform == "darwin" else 2**10)
        self.looks.append((time.perf_counter(), time.process_time()))

    def over(self, training: Callable[[], object]) -> Measured:
        """Of the blocks after the warm ones, of a training that is ended after the last step."""
        with suppress(Enough):
            training()
        spans = [((b[0] - a[0]) / BLOCK, (b[1] - a[1]) / BLOCK) for a, b in pairwise(self.looks[WARM - 1 :])]
        wall, processor = (statistics.median(column) for column in zip(*spans, strict=True))
        return {"seconds": wall, "processor_seconds": processor, "megabytes": self.peak}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What both sides are given, but --cuda-graphs, which is ours alone."""

    base: Path
    resolution: int
    mixed_precision: str
    cuda_graphs: bool
    rows: int
    steps: int


def prepare(place: Path, base: Path | None, resolution: int | None) -> int:
    """The base model in float32, photos of a toy, and class images, photos of others of its class; their pixels."""
    from dreambooth.toybox.photos import photos

    if base is None:
        resolution = base_copy(place / "base")
    assert resolution is not None
    photos(CLASS_NOUN, 7, PHOTOS, place / "toy", resolution)
    (place / "photos").mkdir()
    (place / "class").mkdir()
    for file in (place / "toy").glob("*.png"):
        shutil.copy(file, place / "photos")
    for seed in range(CLASS_IMAGES):
        (drawn,) = photos(CLASS_NOUN, 100 + seed, 1, place / "toys" / str(seed), resolution)
        shutil.copy(drawn, place / "class" / f"{seed:02d}.png")
    return resolution


def ours(place: Path, setting: Setting) -> Measured:
    """Steps of `recipe.personalise`."""
    from dreambooth import Config, Subject, photos_in, recipe
    from dreambooth.run import Run

    settings = {
        "model": str(setting.base),
        "resolution": setting.resolution,
        "mixed_precision": setting.mixed_precision,
        "cuda_graphs": setting.cuda_graphs,
        "max_train_steps": setting.steps,
        "train_batch_size": setting.rows,
        "learning_rate": 1e-5,
        "text_encoder_lr": 1e-5,
        "snr_gamma": None,
        "use_ema": False,
        "probe": False,
        "num_class_images": CLASS_IMAGES,
        "checkpointing_steps": setting.steps,
        "validation_steps": setting.steps,
    }
    subject = Subject(photos=photos_in(place / "photos"), class_noun=CLASS_NOUN, identifier=IDENTIFIER)
    run = Run.create(Path(tempfile.mkdtemp(dir=place)) / "run", subject, Config.build(settings))
    images = [sorted((place / "class").iterdir())]
    return Clock(setting.steps).over(lambda: recipe.personalise(run, class_images=images))


def of_script(script: Path, place: Path, setting: Setting) -> Measured:
    """Steps of the script."""
    words = [
        f"--pretrained_model_name_or_path={setting.base}",
        *(f"--instance_data_dir={place / 'photos'}", f"--instance_prompt=a {IDENTIFIER} {CLASS_NOUN}"),
        *(f"--class_data_dir={place / 'class'}", f"--class_prompt=a {CLASS_NOUN}", "--with_prior_preservation"),
        *(
            f"--num_class_images={CLASS_IMAGES}",
            f"--output_dir={tempfile.mkdtemp(dir=place)}",
            f"--resolution={setting.resolution}",
            f"--mixed_precision={setting.mixed_precision}",
        ),
        *("--train_text_encoder", f"--train_batch_size={setting.rows}", f"--max_train_steps={setting.steps}"),
        *("--learning_rate=1e-5", "--lr_warmup_steps=0", "--seed=0"),
    ]
    return Clock(setting.steps).over(lambda: execute(script, *words))


def compared(pairs: Sequence[tuple[Measured, Measured]]) -> dict[str, Any]:
    """Medians of the script's and ours, and script over ours, pair by pair: median, least and most."""
    found: dict[str, Any] = {}
    for what in pairs[0][0]:
        theirs, mine = ([side[what] for side in sides] for sides in zip(*pairs, strict=True))
        ratios = [its / our for its, our in zip(theirs, mine, strict=True)]
        found[what] = {
            "script": statistics.median(theirs),
            "ours": statistics.median(mine),
            "script / ours": {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios)},
        }
    return found


def floor(base: Path) -> dict[str, float]:
    """Megabytes that any training of this model holds on a CPU: the libraries both import, and what AdamW needs.

    That is four float32 numbers for each weight that trains: itself, its gradient, and two moments.
    """
    from diffusers import StableDiffusionPipeline

    libraries = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    pipeline = StableDiffusionPipeline.from_pretrained(base, safety_checker=None)
    weights = sum(w.numel() for part in (pipeline.unet, pipeline.text_encoder) for w in part.parameters())
    return {"libraries": libraries, "weights, gradients, moments": weights * 16 / 2**20}


def main() -> None:
    """Measure, print a line for each number, write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--script", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 4], help="photos a step, and as many class images")
    parser.add_argument("--base", type=Path, help="folder of another base model; --resolution goes with it")
    parser.add_argument("--resolution", type=int, help="side of the photos in pixels")
    parser.add_argument("--mixed-precision", choices=("no", "bf16", "fp16"), default="no")
    parser.add_argument("--cuda-graphs", action="store_true", help="ours with this setting")
    parser.add_argument("--out", type=Path, help="JSON file")
    options = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        resolution = alone(prepare, place, options.base, options.resolution)
        for rows in options.rows:
            pairs = []
            setting = Setting(
                base=options.base or place / "base",
                resolution=resolution,
                mixed_precision=options.mixed_precision,
                cuda_graphs=options.cuda_graphs,
                rows=rows,
                steps=options.steps,
            )
            for _ in range(options.pairs):
                script = alone(of_script, options.script.resolve(), place, setting)
                pairs.append((script, alone(ours, place, setting)))
            results[f"{rows} + {rows}"] = {**compared(pairs), "pairs": pairs}
            for what, its in compared(pairs).items():
                ratio = its["script / ours"]
                print(
                    f"{rows} + {rows} rows, {what}: script {its['script']:.4g}, ours {its['ours']:.4g}, "
                    f"ratio {ratio['median']:.2f} ({ratio['least']:.2f} to {ratio['most']:.2f})",
                    flush=True,
                )
        least = alone(floor, options.base or place / "base") if options.mixed_precision == "no" else {}
    for what, megabytes in least.items():
        print(f"megabytes that any training of it holds on a CPU: {what} {megabytes:.0f}")
    if options.out:
        told = {"machine": alone(machine), "threads": alone(threads), "steps": options.steps, "rows": results}
        told["megabytes at least"] = least
        options.out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def threads() -> int:
    """Of the processor, that torch uses."""
    import torch

    return torch.get_num_threads()


if __name__ == "__main__":
    main()
