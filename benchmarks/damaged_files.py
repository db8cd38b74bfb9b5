"""Does any damage to a run's files, or to a settings file, end in a traceback or start what was not asked for?

A finished small run is copied, one of its files is emptied, cut, flipped in one bit, filled with noise or given a value
of another kind, and a command that reads it is called. What may come is success or one plain sentence: of a damaged
config.toml a sentence, and not a file changed; of any other file of the run one that is no dead end, since the run's
first command makes the file again once it is deleted.

    python -m benchmarks.damaged_files [--trials 1200] [--results FILE]
"""

import argparse
import contextlib
import io
import json
import os
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tomli_w

from benchmarks.machine import machine
from dreambooth import __version__, cli
from dreambooth.support.files import write_json
from dreambooth.toybox.photos import photos

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
    "prompts": ["a {}"],
}
STAGES = ("run", "continue", "identifier", "prior", "finetune", "generate", "report", "evaluate", "export")
RECORDS = (".toml", ".json", ".jsonl")
BAD = ("TRACEBACK", "TAKEN", "STARTED", "DEAD END")
WRONG: tuple[Any, ...] = (None, [], {}, "x", -1, 1e300, True, ["a"], {"a": {"b": []}})


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


class Trials:
    """A finished run with its settings file and library of class images, put back before each damage.

    root: a new folder.
    """

    def __init__(self, root: Path) -> None:
        self.place, self.whole, self.photos = root / "trial", root / "whole", root / "photos"
        self.run, self.settings = self.place / "run", self.place / "settings.toml"
        photos("dog", 7, 3, self.photos, 64)
        self.place.mkdir()
        self.settings.write_text(tomli_w.dumps(QUICK), encoding="utf-8")
        os.environ["DREAMBOOTH_CACHE"] = str(self.place / "cache")
        status, said = called(self.words("run"))
        if status:
            raise SystemExit(said)
        self.place.rename(self.whole)
        names = sorted(path.relative_to(self.whole) for path in self.whole.rglob("*") if path.is_file())
        self.given = [Path("settings.toml"), Path("run/config.toml")]
        self.records = [name for name in names if name.suffix in RECORDS]
        self.others = [name for name in names if name.suffix not in RECORDS]

    def words(self, stage: str) -> list[str]:
        """A command line for the run."""
        if stage == "export":
            return [stage, str(self.run), "--folder", str(self.place / "exported")]
        if stage != "run":
            return [stage, str(self.run)]
        given = ["--class-noun", "dog", "--config", str(self.settings), "--output-dir", str(self.run)]
        return [stage, str(self.photos), *given]

    def damage(self, name: Path, content: bytes) -> None:
        """The whole run again, but for one file."""
        shutil.rmtree(self.place, ignore_errors=True)
        shutil.copytree(self.whole, self.place, copy_function=_copied)
        (self.place / name).unlink()
        (self.place / name).write_bytes(content)

    def there(self) -> dict[str, tuple[int, int]]:
        """Size and time of every file."""
        return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in self.place.rglob("*")}

    def one(self, rng: random.Random) -> tuple[str, str, str, str]:
        """A random damage: its kind, the file, the command, and how that ended."""
        name, harm = (
            rng.choice(rng.choices((self.given, self.records, self.others), (2, 7, 1))[0]),
            rng.choice(list(HARM)),
        )
        stage = "run" if name == Path("settings.toml") else rng.choice(STAGES)
        self.damage(name, HARM[harm]((self.whole / name).read_bytes(), rng))
        before = self.there()
        status, said = called(self.words(stage))
        if status == 0 and name == Path("run/config.toml"):
            said = "TAKEN: other settings than the run began with"
        if status and name == Path("run/config.toml") and self.there() != before:
            said = "STARTED: files changed though config.toml is damaged"
        if status and name not in self.given:
            (self.place / name).unlink(missing_ok=True)
            again, why = called(self.words("run"))
            said = said if again == 0 and (self.place / name).exists() else f"DEAD END: {said} {why}"
        return harm, str(name), stage, said


def _copied(source: str, target: str) -> None:
    """Weights are never written to, only replaced: a link is enough."""
    (os.link if source.endswith(".safetensors") else shutil.copy2)(source, target)


def called(words: Sequence[str]) -> tuple[int, str]:
    """The exit status of a command line, and the last it said; "" where all went well."""
    said = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
        try:
            status = cli.main(words, __version__)
        except BaseException as error:
            return 1, f"TRACEBACK {type(error).__name__}: {error}"
    sentence = said.getvalue().rpartition("dreambooth: ")[2].strip()
    return status, sentence if status else ""


def main() -> None:
    """Print how the trials ended, by kind of damage, and everything that was no success and no plain sentence."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, help="write the result to this JSON file")
    options = parser.parse_args()
    rng, ends, faults = random.Random(options.seed), Counter[str](), list[list[str]]()
    files, sentences = Counter[str](), dict[str, str]()
    with tempfile.TemporaryDirectory() as root:
        trials = Trials(Path(root))
        for _ in range(options.trials):
            harm, name, stage, said = trials.one(rng)
            bad = said.startswith(BAD)
            ends[f"{harm}: {said.split(':')[0] if bad else 'a sentence' if said else 'went on'}"] += 1
            files[name] += 1
            if bad:
                faults.append([harm, name, stage, said])
                print(*faults[-1], flush=True)
            elif said:
                sentences.setdefault(f"{name}, {stage}", said.replace(root, ""))
    result = {
        "trials": options.trials,
        "tracebacks": sum(fault[3].startswith("TRACEBACK") for fault in faults),
        "of a damaged config.toml": files["run/config.toml"],
        "taken or begun all the same": sum(fault[3].startswith(("TAKEN", "STARTED")) for fault in faults),
        "dead ends": sum(fault[3].startswith("DEAD END") for fault in faults),
        "ends": dict(sorted(ends.items())),
        "faults": faults,
    }
    print(json.dumps(result, indent=2))
    if options.results:
        write_json(options.results, {"machine": machine(), **result, "files": files, "sentences": sentences})


if __name__ == "__main__":
    main()
