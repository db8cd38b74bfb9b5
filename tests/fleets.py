"""Fleets of the tests: their subjects, their command lines, and what they left."""

import csv
from pathlib import Path

SETTINGS = """
max_train_steps = 2
probe = false
[prior]
num_class_images = 3
class_num_inference_steps = 1
[generation]
num_inference_steps = 1
num_images_per_prompt = 1
prompts = ["a {} in the snow"]
"""
SUBJECTS = {
    "rex": 'class_noun = "dog"',
    "tom": 'class_noun = "cat"',
    "odd": 'class_noun = "dog"\nlearning_rate = 1e9\nmax_train_steps = 3',
    "fido": 'class_noun = "dog"',
}


def manifest(place: Path, subjects: dict[str, str], settings: str = SETTINGS) -> Path:
    """subjects.toml, with a folder of photos for each."""
    tables = (f'[[subject]]\nphotos = "photos/{name}"\n{its}\n' for name, its in subjects.items())
    (place / "subjects.toml").write_text(settings + "\n".join(tables))
    return place / "subjects.toml"


def words(place: Path, out: Path, *more: str) -> list[str]:
    file = str(place / "subjects.toml")
    return ["fleet", file, "--model", str(place / "model"), "--output-dir", str(out), "--jobs", "1", *more]


def finished(out: Path) -> dict[str, int]:
    """When the model of each finished subject was written."""
    return {file.parent.name: file.stat().st_mtime_ns for file in out.glob("*/model.json")}


def rows(out: Path) -> dict[str, dict[str, str]]:
    with (out / "fleet.csv").open() as lines:
        return {row["name"]: row for row in csv.DictReader(lines)}
