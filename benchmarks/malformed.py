"""Does any malformed input end in a traceback, a hang, much memory, or a changed original?

Pictures, weights, settings as a file and as flags, folders of models, prompts and records are made, damaged by chance
and given to what reads them. What may come is success or one plain sentence, within a second of computing and 200 MB,
and every file given is the same to the byte afterwards. `benchmarks.damaged_files` does the same to finished runs.

    python -m benchmarks.malformed [--count 5000] [--results FILE]
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.damaged_files import HARM, called
from benchmarks.machine import machine
from dreambooth import models
from dreambooth.config import Base, Config
from dreambooth.config.settings import settings_reference
from dreambooth.data.photos import check_photos
from dreambooth.data.pictures import open_image
from dreambooth.errors import DreamBoothError, in_words
from dreambooth.generation.prompts import own_prompts, warn_of_nameless
from dreambooth.identifier import with_identifier
from dreambooth.run import checkpoint, records
from dreambooth.run.checkpoint import Checkpoint
from dreambooth.run.files import JsonFile, JsonLines
from dreambooth.subject import Subject, require_class_noun
from dreambooth.support.files import sha256, write_json
from dreambooth.support.libraries import quiet_libraries
from dreambooth.support.tensor_files import save_tensors

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from tiny import tiny_model

RECORDS = [value for value in vars(records).values() if isinstance(value, JsonFile | JsonLines)]
"""The files of a run."""

SECONDS, MEMORY = 1.0, 200 * 2**20
"""Of computing, and bytes more than before, that an input may take."""

FORMATS = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp", "GIF": "gif", "TIFF": "tif", "BMP": "bmp"}
MODES = {"PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"), "TIFF": ("1", "L", "RGB", "CMYK", "F"), "GIF": ("P",)}
LETTERS = (
    "a",
    " ",
    "{}",
    "{",
    "}",
    "é",
    "狗",
    "\u202e",
    "\U0001f436",
    "\0",
    "\ud800",
    "\n",
    "'",
    '"',
    "-",
    "/",
    "sks",
    "%s",
)
VALUES: tuple[Any, ...] = (
    *(0, -1, 1, 2**31, 2**63, 10**30, 0.0, -0.5, 1e300, 1e-300, float("nan"), float("inf"), True, False),
    *("", " ", "x", "none", "1e5", "../..", "/", "~", "a\0b", "\ud800", "x" * 5000, [], ["a"], [[]], {}, {"a": 1}),
)


@dataclass
class Inputs:
    """Good inputs of every kind, made once in `root`, from which malformed ones are made in `root`/trial."""

    root: Path
    rng: random.Random
    model: Any = field(init=False)
    settings: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.model = tiny_model(size=16)
        self.model.save(self.root / "model")
        self.settings = [name for _, name, _ in settings_reference()]
        tensors = self.model.pipeline.unet.state_dict()
        state = Checkpoint(step=2, settings="", tensors={"weights": dict(list(tensors.items())[:4])})
        checkpoint.write(self.root / "checkpoints", state, 1)
        save_tensors(self.root / "weights.safetensors", dict(list(tensors.items())[:6]), {"format": "pt"})

    def harmed(self, content: bytes, *kinds: str) -> bytes:
        """The content with one harm of benchmarks.damaged_files done to it."""
        return HARM[self.rng.choice(kinds or tuple(HARM))](content, self.rng)

    def copied(self, name: str) -> Path:
        """A copy of a good file or folder in the folder of the trial."""
        source, target = self.root / name, self.root / "trial" / name
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
        return target

    def words(self, most: int = 12) -> str:
        """Letters of all kinds; now and then very many."""
        words = "".join(self.rng.choice(LETTERS) for _ in range(self.rng.randrange(most)))
        return words * (self.rng.choice((1, 1, 1, 1, 20_000)))


def image(inputs: Inputs) -> Callable[[], object]:
    """A picture of any format and mode, damaged, of odd sides, or with a header that asks for more than it has."""
    rng, folder = inputs.rng, inputs.root / "trial"
    kind = rng.choice(list(FORMATS))
    side = (rng.choice((1, 7, 64, 300)), rng.choice((1, 64, 200, 3000)))
    mode = rng.choice(MODES.get(kind, ("L", "RGB")))
    file = folder / f"photo.{rng.choice((FORMATS[kind], rng.choice(list(FORMATS.values()))))}"
    picture = Image.effect_noise((64, 64), 80).resize(side).convert("L" if mode in ("I;16", "LA") else mode)
    picture.convert(mode).save(file, format=kind)
    content = bytearray(file.read_bytes())
    if rng.random() < 0.3 and len(content) > 30:  # the sides stand near the beginning, in every format
        at = rng.randrange(8, 26)
        content[at : at + 2] = rng.randbytes(2)
    file.write_bytes(bytes(content) if rng.random() < 0.2 else inputs.harmed(bytes(content)))

    def read() -> None:
        check_photos([file])
        open_image(file)

    return read


def header(inputs: Inputs, content: bytes) -> bytes:
    """A safetensors file whose header says something else, of another length, or nothing."""
    rng, size = inputs.rng, int.from_bytes(content[:8], "little")
    entries, data = json.loads(content[8 : 8 + size]), content[8 + size :]
    name = rng.choice([key for key in entries if key != "__metadata__"])
    entry = entries[name]
    key = rng.choice(("dtype", "shape", "data_offsets"))
    entry[key] = rng.choice(([0, 2**62], [2**40, 2**40], [-1], "F64", "X", None, [], {}, [[1]], [0, 1], 1e30))
    text = json.dumps(entries).encode()
    length = rng.choice((len(text), len(text), 2**62, 0, len(text) + 8, 10**8))
    return length.to_bytes(8, "little") + text + data


def weights(inputs: Inputs) -> Callable[[], object]:
    """A part of a model, a checkpoint or a model in one file, whose header or bytes are not what they were."""
    rng = inputs.rng
    which = rng.choice(("model", "checkpoints", "weights.safetensors", "weights.safetensors"))
    place = inputs.copied(which)
    file = place if place.is_file() else rng.choice(sorted(place.rglob("*.safetensors")))
    content = file.read_bytes()
    file.write_bytes(
        header(inputs, content) if rng.random() < 0.6 else inputs.harmed(content, "cut", "noise", "emptied")
    )
    if which == "checkpoints":
        return lambda: checkpoint.read(place / "checkpoint-2")
    return lambda: models.load(Base(model=str(place)))


def settings_file(inputs: Inputs) -> Callable[[], object]:
    """A TOML file of settings that are of other kinds, out of range, unknown, doubled; or no TOML."""
    import tomli_w

    rng = inputs.rng
    names = [rng.choice([*inputs.settings, "no_such_setting", inputs.words(4)]) for _ in range(rng.randrange(1, 5))]
    given = {name: rng.choice([value for value in VALUES if value != "\ud800"]) for name in names}
    text = tomli_w.dumps({key.replace("\ud800", ""): value for key, value in given.items()}).encode()
    file = inputs.root / "trial" / "settings.toml"
    file.write_bytes(inputs.harmed(text) if rng.random() < 0.4 else text)
    return lambda: _command("run", str(inputs.root / "nowhere"), "--class-noun", "dog", "--config", str(file))


def flags(inputs: Inputs) -> Callable[[], object]:
    """Flags with values of other kinds, out of range or without any."""
    rng = inputs.rng
    words = []
    for _ in range(rng.randrange(1, 4)):
        name = rng.choice(inputs.settings).replace("_", rng.choice("-_"))
        value = rng.choice((str(rng.choice(VALUES)), inputs.words(6))).replace("\0", "")
        words += rng.choice(([f"--{name}", value], [f"--{name}={value}"], [f"--{name}"], [f"--no-{name}"], [value]))
    command = rng.choice(("run", "run", "run", "generate", "continue", "evaluate", "export", "doctor", "compare"))
    return lambda: _command(command, str(inputs.root / "nowhere"), *words)


def _command(*words: str) -> None:
    status, said = called(words)
    if said.startswith("TRACEBACK") and "SystemExit" not in said:
        raise AssertionError(said)
    if status == 0:
        raise AssertionError(f"TAKEN: {words}")
    raise DreamBoothError(said)


def folder(inputs: Inputs) -> Callable[[], object]:
    """A model's folder with a settings file of other kinds, damaged or gone."""
    place = inputs.copied("model")
    file = inputs.rng.choice(sorted(place.rglob("*.json")))
    content = inputs.harmed(file.read_bytes(), "mistyped", "mistyped", "mistyped", "cut", "noise", "flipped", "emptied")
    file.write_bytes(content) if inputs.rng.random() < 0.95 else file.unlink()
    return lambda: models.load(Base(model=str(place)))


def prompt(inputs: Inputs) -> Callable[[], object]:
    """Prompts, class nouns and identifiers of letters of all kinds."""
    words, noun, name = (
        inputs.words(),
        inputs.rng.choice(("dog", inputs.words())),
        inputs.rng.choice((None, inputs.words())),
    )

    def read() -> None:
        config = Config.build({"prompts": (words,), "identifier": name})
        require_class_noun(noun)
        subject = Subject(photos=(), class_noun=noun)
        warn_of_nameless(own_prompts([words]), [subject])
        tokenizers = list(inputs.model.tokenizers.values())
        subject = with_identifier(subject, tokenizers, config.naming, 0, config.method)
        inputs.model.stages[0].condition([subject.fill(words)])

    return read


def record(inputs: Inputs) -> Callable[[], object]:
    """A file of a run or of a library, of other kinds or damaged."""
    its = inputs.rng.choice(list(RECORDS))
    place, value = inputs.root / "trial", inputs.rng.choice(VALUES)
    names = (
        "step",
        "photos",
        "class_noun",
        "model",
        "files",
        "sha256",
        "state",
        "loss",
        "folder",
        "fingerprint",
        "real",
    )
    content = (
        {inputs.rng.choice(names): inputs.rng.choice(VALUES) for _ in range(3)} if inputs.rng.random() < 0.8 else value
    )
    (place / its.name).write_bytes(inputs.harmed(json.dumps(content).encode(), *HARM, "cut", "mistyped"))
    return lambda: getattr(its, "find", its.read)(place)


KINDS = {
    image: 30,
    weights: 14,
    settings_file: 14,
    flags: 12,
    folder: 10,
    prompt: 10,
    record: 10,
}
"""How many of a hundred inputs are of each kind."""


@contextmanager
def measured() -> Iterator[dict[str, float]]:
    """Inside, seconds of computing and the bytes that memory grew by at most."""
    found, begun = dict[str, float](), time.process_time()
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak
    before = _peak()
    try:
        yield found
    finally:
        found |= {"seconds": time.process_time() - begun, "memory": _peak() - before}


def _peak() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def one(inputs: Inputs, make: Callable[[Inputs], Callable[[], object]]) -> tuple[str, str, dict[str, float]]:
    """One input: how it ended, in a word and in full, and what it took."""
    trial = inputs.root / "trial"
    shutil.rmtree(trial, ignore_errors=True)
    trial.mkdir()
    read = make(inputs)
    before = {path: sha256(path) for path in trial.rglob("*") if path.is_file()}
    end, said = "went on", ""
    with measured() as took:
        try:
            read()
        except DreamBoothError as error:
            end, said = "a sentence", str(error)
        except Exception as error:
            end, said = ("a sentence", said) if (said := in_words(error) or "") else ("TRACEBACK", repr(error))
    if {path: sha256(path) for path in trial.rglob("*") if path.is_file()} != before:
        end = "CHANGED"
    elif end != "TRACEBACK" and took["seconds"] > SECONDS:
        end = "SLOW"
    elif end != "TRACEBACK" and took["memory"] > MEMORY:
        end = "MEMORY"
    return end, said.replace(str(inputs.root), ""), took


def main() -> None:
    """Print how the inputs of each kind ended, and everything that was no success and no plain sentence."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--minutes", type=float, default=60, help="stop after so many, with fewer inputs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, help="write the result to this JSON file")
    options = parser.parse_args()
    quiet_libraries()
    ends, faults = Counter[str](), list[dict[str, object]]()
    most = {"seconds": 0.0, "memory": 0.0}
    with tempfile.TemporaryDirectory() as root:
        inputs = Inputs(Path(root), random.Random(options.seed))
        until, number = time.monotonic() + 60 * options.minutes, 0
        while number < options.count and time.monotonic() < until:
            inputs.rng.seed(f"{options.seed} {number}")  # an input does not depend on those before
            make = inputs.rng.choices(list(KINDS), list(KINDS.values()))[0]
            end, said, took = one(inputs, make)
            ends[f"{make.__name__}: {end}"] += 1
            most = {name: max(most[name], took[name]) for name in most}
            if end.isupper():
                faults.append({"number": number, "kind": make.__name__, "end": end, "said": said[:300], **took})
                print(faults[-1], flush=True)
            number += 1
    result = {"inputs": number, "ends": dict(sorted(ends.items())), "at most": most, "faults": faults}
    print(json.dumps({**result, "faults": len(faults)}, indent=2))
    if options.results:
        write_json(options.results, {"machine": machine(), **result})


if __name__ == "__main__":
    main()
