"""Class images: how many a second, and which share of a training script's time for them; none for the next subject.

Ours: the embedded model's preset, or `--set`. The script's: its defaults (50 steps, guidance 7.5, batches of 4), from
the same float32 copy of the model. Both by the seconds from the first to the last picture, files included and opening
left out; few pictures are drawn and counted for as many as `--count`. The share that the drawing itself has is by
arithmetic: looks of the denoiser. By turns, each in a process of its own.

    OMP_NUM_THREADS=1 python -m benchmarks.class_images --script train_dreambooth.py [--pairs 3] [--out FILE]
"""

import argparse
import json
import statistics
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.machine import machine
from benchmarks.script import alone, base_copy, execute

NOUN = "teapot"


def ours(place: Path, count: int, settings: dict[str, Any]) -> dict[str, float]:
    """Seconds a picture drawn, seconds a picture of a second subject, and looks of the denoiser at each picture."""
    from dreambooth import Config, Subject
    from dreambooth.models import load
    from dreambooth.prior import class_prior
    from dreambooth.run import Run

    config = Config.build({"model": str(place / "base"), **settings, "num_class_images": count})
    model, library = load(config.base), Path(tempfile.mkdtemp(dir=place))
    taken = []
    for name in ("first", "second"):
        (library / name).mkdir()
        subject = Subject(photos=(Path(f"{name}.png"),), class_noun=NOUN, identifier="sks")
        model.fingerprint()
        began, used = time.perf_counter(), time.process_time()
        class_prior(model, subject, config.prior, Run(library / name), library)
        taken.append(((time.perf_counter() - began) / count, (time.process_time() - used) / count))
    looks = config.prior.class_num_inference_steps * (2 if config.prior.class_guidance_scale > 1 else 1)
    (first, processor), (second, _) = taken
    return {"seconds": first, "processor_seconds": processor, "second_subject": second, "looks": looks}


def of_script(script: Path, place: Path, resolution: int, count: int) -> dict[str, float]:
    """The same of the script, up to the moment when it has its pictures."""
    from diffusers import StableDiffusionPipeline

    class Enough(Exception):
        pass

    drawn, call = list[tuple[float, float, float, float]](), StableDiffusionPipeline.__call__

    def timed(*given: Any, **named: Any) -> Any:
        began = time.perf_counter(), time.process_time()
        result = call(*given, **named)
        drawn.append((*began, time.perf_counter(), time.process_time()))
        return result

    StableDiffusionPipeline.__call__ = timed
    folder = Path(tempfile.mkdtemp(dir=place))

    def stop(*_: Any, **__: Any) -> None:
        raise Enough

    import transformers

    transformers.AutoTokenizer.from_pretrained = stop  # what it opens next, to train
    words = [
        f"--pretrained_model_name_or_path={place / 'base'}",
        *(f"--instance_data_dir={place}", f"--instance_prompt=a sks {NOUN}", "--with_prior_preservation"),
        *(f"--class_data_dir={folder / 'class'}", f"--class_prompt=a {NOUN}", f"--num_class_images={count}"),
        *(f"--output_dir={folder / 'out'}", f"--resolution={resolution}", "--seed=0", "--max_train_steps=1"),
    ]
    with suppress(Enough):
        execute(script, *words)
    (first, used, *_), (*_, last, spent) = drawn[0], drawn[-1]
    return {"seconds": (last - first) / count, "processor_seconds": (spent - used) / count, "looks": 100.0}


def main() -> None:
    """Measure, print, write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--script", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--drawn", type=int, nargs=2, default=[20, 8], help="pictures of ours and of the script's")
    parser.add_argument("--count", type=int, default=200, help="pictures that the seconds are told for")
    parser.add_argument("--set", dest="settings", default="", help="settings over the preset: name=value,...")
    parser.add_argument("--out", type=Path, help="JSON file")
    options = parser.parse_args()
    from benchmarks.quality import settings_from

    settings = settings_from(options.settings)
    pairs = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        resolution = alone(base_copy, place / "base")
        for _ in range(options.pairs):
            its = alone(of_script, options.script.resolve(), place, resolution, options.drawn[1])
            pairs.append((its, alone(ours, place, options.drawn[0], settings)))
    told: dict[str, Any] = {"machine": alone(machine), "settings": settings, "count": options.count, "pairs": pairs}
    for what in ("seconds", "processor_seconds"):
        shares = [our[what] / their[what] for their, our in pairs]
        its, mine = (statistics.median(pair[side][what] for pair in pairs) for side in (0, 1))
        told[what] = {"ours": mine, "script": its, "share": statistics.median(shares), "of": [min(shares), max(shares)]}
        print(
            f"{what} for {options.count}: ours {mine * options.count:.0f}, script {its * options.count:.0f}; share "
            f"{statistics.median(shares):.2f} ({min(shares):.2f} to {max(shares):.2f})"
        )
    again = statistics.median(mine["second_subject"] for _, mine in pairs)
    told["second_subject"] = again
    print(f"a second: {1 / told['seconds']['ours']:.2f}; seconds for a second subject: {again * options.count:.1f}")
    print(f"looks of the denoiser: ours {pairs[0][1]['looks']:.0f}, script {pairs[0][0]['looks']:.0f}")
    if options.out:
        options.out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
