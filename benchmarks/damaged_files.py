"""Does any damage to a run's files end in a traceback, or start something with other settings?

A finished small run is copied, one of its files is emptied, cut, flipped in one bit, filled with noise or given a value
of another kind, and each stage that reads it is called. What may come is success or one plain sentence.

    python -m benchmarks.damaged_files [--trials 1000]
"""

import argparse
import contextlib
import io
import json
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dreambooth import Config, Run, Subject, __version__, cli, photos_in
from dreambooth.recipe import dreambooth
from dreambooth.toybox.photos import photos

STAGES = ("report", "generate", "identifier", "finetune")
WRONG: tuple[Any, ...] = (None, [], {}, "x", -1, 1e300, True, ["a"], {"a": {"b": []}})
QUICK = {
    "max_train_steps": 2,
    "validation_steps": 1,
    "checkpointing_steps": 1,
    "num_class_images": 2,
    "class_num_inference_steps": 1,
    "num_inference_steps": 1,
    "num_images_per_prompt": 1,
    "probe_images_per_prompt": 1,
    "probe_class_images": 1,
    "probe_num_inference_steps": 1,
    "prompts": ("a {}",),
}


def mistyped(content: bytes, rng: random.Random) -> bytes:
    """One value of a JSON file, or of a line of one, in another kind."""
    lines = content.decode("utf-8", "replace").splitlines() or ["{}"]
    at = rng.randrange(len(lines))
    for whole in (True, False):
        try:
            value = json.loads(content if whole else lines[at])
        except ValueError:
            continue
        place = value
        if not isinstance(place, dict) or not place:
            break
        place[rng.choice(list(place))] = rng.choice(WRONG)
        if whole:
            return json.dumps(value).encode()
        return "\n".join([*lines[:at], json.dumps(value), *lines[at + 1 :]]).encode()
    return json.dumps(rng.choice(WRONG)).encode()


def flipped(content: bytes, rng: random.Random) -> bytes:
    """One bit changed."""
    if not content:
        return b"\0"
    at = rng.randrange(len(content))
    return content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]


HARM: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "emptied": lambda content, rng: b"",
    "cut": lambda content, rng: content[: rng.randrange(len(content) or 1)],
    "flipped": flipped,
    "noise": lambda content, rng: rng.randbytes(rng.randrange(200)),
    "mistyped": mistyped,
}


def main() -> None:
    """Print how the trials ended, by kind of damage, and every traceback's kind and file."""
    parser = argparse.ArgumentParser(description="Does any damage to a run's files end in a traceback?")
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng, ends = random.Random(options.seed), Counter[str]()
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        photos("dog", 7, 3, root / "photos", 64)
        subject = Subject(photos=photos_in(root / "photos"), class_noun="dog")
        whole = dreambooth(subject, Config.build(QUICK), root / "whole")
        names = [path.relative_to(whole.root) for path in sorted(whole.root.rglob("*")) if path.is_file()]
        records = [name for name in names if name.suffix in (".toml", ".json", ".jsonl")]
        for _ in range(options.trials):
            run, name, harm = Run(root / "run"), rng.choice(records), rng.choice(list(HARM))
            shutil.copytree(whole.root, run.root)
            (run.root / name).write_bytes(HARM[harm]((whole.root / name).read_bytes(), rng))
            stage = rng.choice(STAGES)
            ends[f"{harm}: {ended([stage, str(run.root)], name, stage)}"] += 1
            shutil.rmtree(run.root)
    for end, count in sorted(ends.items()):
        print(f"{count:5} {end}")


def ended(words: list[str], name: Path, stage: str) -> str:
    """How the command line took it."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            status = cli.main(words, __version__)
        except BaseException as error:
            return f"TRACEBACK {type(error).__name__} of {name} in {stage}"
    return "a sentence" if status else "went on"


if __name__ == "__main__":
    main()
