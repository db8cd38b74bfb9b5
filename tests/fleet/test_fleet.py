"""Fleets end to end on a small random model: each subject once, its class before it, whatever fails or is killed."""

import json
import re
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from dreambooth import __version__, cli
from dreambooth.fleet import read_manifest
from dreambooth.fleet.manifest import Member
from dreambooth.support.cache import default_library
from dreambooth.support.files import seals
from fleets import SETTINGS, SUBJECTS, finished, manifest, rows, words


def test_who_fails_is_told_with_the_reason_and_keeps_nobody_from_ending(out: Path) -> None:
    its = rows(out)
    states = {name: row["state"] for name, row in its.items()}
    assert states == {"rex": "finished", "tom": "finished", "odd": "failed", "fido": "finished"}
    assert "loss is nan at step" in its["odd"]["reason"] and its["rex"]["reason"] == ""
    assert len(finished(out)) == 3 and all(
        (out / its[name]["folder"] / "report.html").is_file() for name in finished_of(out)
    )
    page = (out / "fleet.html").read_text(encoding="utf-8")
    assert (
        "loss is nan" in page and "What failed" in page and page.count("data:image/webp") == 3 * 3
    )  # the class prompt is drawn too
    assert f'href="{its["tom"]["folder"]}/report.html"' in page and "<script" not in page
    plain = json.loads((out / "fleet.json").read_text())
    assert [row["name"] for row in plain] == list(SUBJECTS) and plain[2]["reason"] == its["odd"]["reason"]


def finished_of(out: Path) -> list[str]:
    return [name for name, row in rows(out).items() if row["state"] == "finished"]


def test_class_images_are_drawn_once_and_before_the_subjects_that_need_them(out: Path) -> None:
    its = {name: json.loads((out / row["folder"] / "prior.json").read_text()) for name, row in rows(out).items()}
    assert its["rex"]["files"] == its["fido"]["files"] and its["rex"]["key"] != its["tom"]["key"]
    assert its["odd"]["files"][:2] == its["rex"]["files"] and len(its["odd"]["files"]) == 3  # as many as each needs
    drawn = {file.name[:6]: file.stat().st_mtime_ns for file in (default_library() / its["rex"]["key"]).glob("*.png")}
    assert sorted(drawn) == ["000000", "000001", "000002"]
    began = min((out / rows(out)[name]["folder"] / "config.toml").stat().st_mtime_ns for name in ("rex", "odd", "fido"))
    assert max(drawn.values()) < began


def test_only_what_is_new_or_failed_is_done_again(place: Path, out: Path, tmp_path: Path) -> None:
    shutil.copytree(out, tmp_path / "out")
    shutil.copytree(place / "photos", tmp_path / "photos")
    manifest(tmp_path, {**SUBJECTS, "odd": 'class_noun = "dog"'})
    shutil.copy(tmp_path / "photos" / "rex" / "0.png", tmp_path / "photos" / "tom" / "1.png")  # tom looks different now
    before = finished(tmp_path / "out")
    command = ["--model", str(place / "model"), "--output-dir", str(tmp_path / "out"), "--jobs", "1"]
    assert cli.main(["fleet", str(tmp_path / "subjects.toml"), *command], __version__) == 0
    after, its = finished(tmp_path / "out"), rows(tmp_path / "out")
    assert {name: after[name] for name in before} == before
    assert {name.partition("-")[0] for name in after.keys() - before.keys()} == {"odd", "tom"}
    assert its["rex"] == rows(out)["rex"] and its["tom"]["folder"] != rows(out)["tom"]["folder"]
    assert {row["state"] for row in its.values()} == {"finished"}


def test_a_fleet_whose_process_was_killed_ends_as_if_it_had_not(place: Path, out: Path, tmp_path: Path) -> None:
    manifest(place, {name: SUBJECTS[name] for name in ("rex", "tom")})
    command = [sys.executable, "-m", "dreambooth", *words(place, tmp_path)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while process.poll() is None and not (finished(tmp_path) and list(tmp_path.glob("tom-*/losses.jsonl"))):
        time.sleep(0.005)
    process.kill()
    process.wait()
    before = finished(tmp_path)
    assert any(name.startswith("rex") for name in before)
    assert cli.main(words(place, tmp_path), __version__) == 0
    assert {name: finished(tmp_path)[name] for name in before} == before
    for name, row in rows(tmp_path).items():
        assert row["state"] == "finished"
        mine, whole = tmp_path / row["folder"], out / rows(out)[name]["folder"]
        steps = Counter(json.loads(line)["step"] for line in (mine / "losses.jsonl").read_text().splitlines())
        assert steps == {1: 1, 2: 1}
        tensors = {file: digest for file, digest in seals(mine / "model").items() if file.endswith(".safetensors")}
        assert tensors and tensors.items() <= seals(whole / "model").items()


def test_a_subject_that_somebody_stops_is_told_and_the_others_go_on(place: Path, tmp_path: Path) -> None:
    manifest(place, {"rex": 'class_noun = "dog"\nmax_train_steps = 100000', "tom": SUBJECTS["tom"]})

    def stop() -> None:
        while not list(tmp_path.glob("rex-*/losses.jsonl")):
            time.sleep(0.01)
        (next(tmp_path.glob("rex-*")) / "stop").touch()

    threading.Thread(target=stop, daemon=True).start()
    assert cli.main(words(place, tmp_path), __version__) == 2
    its = rows(tmp_path)
    assert 'stopped by the file "stop" after step' in its["rex"]["reason"] and its["tom"]["state"] == "finished"


def test_list_says_what_is_to_do_and_does_nothing(
    place: Path, out: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    manifest(place, SUBJECTS)
    assert cli.main(words(place, tmp_path / "new", "--list"), __version__) == 0
    printed = capsys.readouterr().out
    assert printed.count("to do\n") == 4 and '4 to do; class images: 3 of "a dog", 2 of "a cat"' in printed
    assert not (tmp_path / "new").exists()
    assert cli.main(words(place, out, "--list"), __version__) == 0
    assert re.search(r"^rex-[0-9a-f]{10}  dog: finished$", capsys.readouterr().out, re.MULTILINE)


def read(file: Path) -> tuple[Member, ...]:
    return read_manifest(file, {})


def test_flags_go_before_a_subjects_settings_and_those_before_the_settings_of_all(place: Path) -> None:
    file = manifest(
        place,
        {"rex": 'class_noun = "dog"\nseed = 3\n[subject.training]\nlearning_rate = 1e-4', "tom": 'class_noun="cat"'},
    )
    rex, tom = read_manifest(file, {"seed": "7"})
    assert (rex.config.seed, tom.config.seed, rex.config.training.learning_rate) == (7, 7, 1e-4)
    assert rex.config.training.max_train_steps == 2 and tom.config.training.learning_rate != 1e-4
    assert [photo.name for photo in rex.subject.photos] == ["0.png", "1.png"]
    assert read(file)[1].folder != tom.folder and read(file) == read(file)


def test_every_mistake_of_a_file_is_told_at_once_with_its_line(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = manifest(
        place,
        {
            "rex": 'class_noun = "a dog"\nlearning_rate = 0',
            "gone": 'class_noun = "dog"\nseed = -1\nmax_train_step = 3',
            "tom": 'name = "../tom"',
            "fido": 'class_noun = "dog"\nname = "Tom"',
            "odd": 'class_noun = 3\nname = "tom"',
        },
        SETTINGS.replace("max_train_steps = 2", "max_train_steps = 2\nlearning_rat = 1"),
    )
    assert cli.main(["fleet", str(file), "--executor", "slurm"], __version__) == 2
    printed = capsys.readouterr().err
    lines = [number for number, line in enumerate(file.read_text().splitlines(), start=1) if line == "[[subject]]"]
    expected = [
        f"{file}: learning_rat: there is no such setting. Did you mean learning_rate?",
        f"{file}, line {lines[0]}: class_noun: the class noun 'a dog' begins with \"a\"",
        f"{file}, line {lines[0]}: learning_rate: Input should be greater than 0, got 0",
        f"{file}, line {lines[1]}: photos: {place / 'photos' / 'gone'}: there is no such folder",
        f"{file}, line {lines[1]}: max_train_step: there is no such setting. Did you mean max_train_steps?",
        f"{file}, line {lines[1]}: seed: Input should be greater than or equal to 0, got -1",
        f"{file}, line {lines[2]}: class_noun is missing: give what kind of thing it is",
        f"{file}, line {lines[2]}: name: '../tom' must be letters",
        f"{file}, line {lines[4]}: class_noun: must be words in quotes, got 3",
    ]
    for sentence in expected:
        assert sentence in printed, printed
    assert printed.count("learning_rat:") == 1 and "Traceback" not in printed


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read: No such file"),
        ("[[subject]\n", "is not valid TOML"),
        ("seed = 1\n", "has no subjects: write a table [[subject]]"),
        ('subject = "rex"\n', "has no subjects"),
        ('[[subject]]\nphotos = "."\nclass_noun = "dog"\ntraining = 3\n', "training is a table of settings"),
    ],
)
def test_a_file_that_is_none_is_told(
    content: str | None, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "mine.toml").write_text(content)
    assert cli.main(["fleet", str(tmp_path / "mine.toml")], __version__) == 2
    assert says in capsys.readouterr().err


def test_two_subjects_of_one_name_are_told(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = manifest(place, {"rex": 'class_noun = "dog"', "tom": 'class_noun = "cat"\nname = "Rex"'})
    assert cli.main(["fleet", str(file)], __version__) == 2
    assert re.search(r'line \d+: name: "Rex" is the name of the subject at .* line \d+ too', capsys.readouterr().err)


def test_a_subjects_folder_is_known_by_its_content(place: Path, tmp_path: Path) -> None:
    (rex,) = read(manifest(place, {"rex": 'class_noun = "dog"'}))
    shutil.copytree(place / "photos" / "rex", tmp_path / "photos" / "rex")
    moved = manifest(tmp_path, {"rex": 'class_noun = "dog"'})
    assert read(moved)[0].folder == rex.folder and re.fullmatch(r"rex-[0-9a-f]{10}", rex.folder)
    for other in ('class_noun = "cat"', 'class_noun = "dog"\nseed = 1'):
        assert read(manifest(tmp_path, {"rex": other}))[0].folder != rex.folder
    shutil.copy(place / "photos" / "rex" / "0.png", tmp_path / "photos" / "rex" / "1.png")
    assert read(manifest(tmp_path, {"rex": 'class_noun = "dog"'}))[0].folder != rex.folder
