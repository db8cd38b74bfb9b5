"""The paper's tables end to end on a small random model and small random judges: real parts, one or two steps."""

import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import pytest
import torch

from dreambooth import __version__, cli
from dreambooth.evaluation import CHOICES
from dreambooth.toybox.photos import photos
from small_judges import clip_parts, dino_parts, dinov2_parts, save
from tiny import tiny_pipeline
from tiny_if import tiny_if_pair, wrapped

FEW = [
    *("--max-train-steps", "2", "--learning-rate", "1e-4", "--num-class-images", "2", "--sample-batch-size", "16"),
    *("--class-num-inference-steps", "1", "--num-inference-steps", "1"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small model and small judges."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("place")
    tiny_pipeline().save_pretrained(folder / "model")
    save(folder / "clip", clip_parts())
    save(folder / "dino", dino_parts())
    save(folder / "dinov2", dinov2_parts())
    return folder


def words(place: Path, out: Path, table: str, *more: str, dino: str = "dino") -> list[str]:
    """A small experiment's command line, in this process unless `more` says otherwise."""
    judges = ["--dino-model", str(place / dino), "--clip-model", str(place / "clip")]
    mine = ["--model", str(place / "model"), *judges, *FEW, "--out", str(out), "--jobs", "1"]
    return ["experiment", table, *mine, *more]


def rows_of(text: str) -> dict[str, dict[str, str]]:
    return {row["method"]: row for row in csv.DictReader(io.StringIO(text))}


def finished_cells(out: Path) -> dict[str, int]:
    """When each finished cell was written."""
    return {file.parent.name: file.stat().st_mtime_ns for file in out.glob("cells/*/cell.json")}


def pictures_in(out: Path) -> dict[str, int]:
    return {str(file): file.stat().st_mtime_ns for file in out.glob("cells/*/samples/*/*.png")}


@pytest.fixture(scope="module")
def table1(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Table 1 of two toys; only to be read, or to be run again."""
    out = tmp_path_factory.mktemp("experiment")
    assert cli.main(words(place, out, "table1", "--subject-seeds", "18,19", "--seeds", "0"), __version__) == 0
    return out


def test_table1_holds_the_means_of_what_its_cells_measured(table1: Path) -> None:
    rows = rows_of((table1 / "table1.csv").read_text())
    assert list(rows) == ["real_images", "dreambooth", "textual_inversion", "prompt_only", "untuned"]
    metrics = ("dino", "clip_i", "clip_t")
    ends = [f"{metric}{end}" for metric in metrics for end in ("", "_low", "_high")]
    assert list(rows["dreambooth"]) == ["method", *ends, "n", "runs", "pictures"]
    assert rows["real_images"]["clip_t"] == "" and rows["real_images"]["pictures"] == "10"
    cells = [json.loads(file.read_text()) for file in table1.glob("cells/*/cell.json")]
    trained = [cell for cell in cells if cell["cell"].startswith("dreambooth ")]
    assert len(cells) == 8 and len(trained) == 2
    for metric in metrics:
        by_hand = fmean(fmean(picture[metric] for picture in cell["pictures"]) for cell in trained)
        assert float(rows["dreambooth"][metric]) == pytest.approx(by_hand, abs=1e-3), metric
        assert float(rows["dreambooth"][f"{metric}_low"]) <= by_hand + 1e-3
    assert (rows["dreambooth"]["n"], rows["dreambooth"]["pictures"]) == ("2", "56")  # 14 prompts x 2 images x 2 toys
    assert float(rows["real_images"]["dino"]) == pytest.approx(fmean(c["real"]["dino"] for c in trained), abs=1e-3)


def test_a_cascade_gets_a_row_and_what_was_finished_stays(place: Path, table1: Path, tmp_path: Path) -> None:
    out = tmp_path / "experiment"
    shutil.copytree(table1, out)
    before = finished_cells(out)
    wrapped(tiny_if_pair(side=32)).save(place / "if")
    asked = ["--subject-seeds", "18,19", "--seeds", "0", "--cascade", str(place / "if"), "--noise-level", "1"]
    assert cli.main(words(place, out, "table1", *asked), __version__) == 0
    rows = rows_of((out / "table1.csv").read_text())
    assert rows["dreambooth (cascade)"]["n"] == rows["dreambooth"]["n"] == "2"
    after = finished_cells(out)
    assert len(after) == len(before) + 2 and before.items() <= after.items()
    page = (out / "report.html").read_text()
    assert re.search(r"cascade\W+(\w+\W+){1,4}if\b", page) and str(place) not in page


def test_what_a_cell_keeps_is_small_and_says_what_was_asked(table1: Path) -> None:
    assert not list(table1.glob("cells/*/*/*.safetensors")) and not list(table1.glob("cells/*/checkpoints"))
    cells = [json.loads(file.read_text()) for file in table1.glob("cells/*/cell.json")]
    (described,) = (cell for cell in cells if cell["cell"].startswith("prompt_only dog-18"))
    picture = next(p for p in described["pictures"] if p["template"] == "a {} in the snow")
    assert picture["scored_prompt"] == "a dog in the snow"
    assert "dog-in-the-snow" in picture["file"] and "a-dog-in-the-snow" not in picture["file"]  # it was described
    assert all(cell["scores"]["pres"] is not None and cell["scores"]["div"] is not None for cell in cells)
    assert {len(cell["class_pictures"]) for cell in cells} == {8}
    medians = {"median_dino", "masked_dino", "nearest_photo"}  # of photos as of pictures
    assert all(medians <= cell[of].keys() for cell in cells for of in ("real", "scores"))


def test_the_text_and_the_page_say_how_it_was_measured(table1: Path) -> None:
    text, page = ((table1 / name).read_text(encoding="utf-8") for name in ("table1.txt", "report.html"))
    for says in CHOICES.values():
        assert says in text
    judge = json.loads(next(table1.glob("cells/*/cell.json")).read_text())["judges"]["dino"]
    assert judge in text and judge in page
    for method in ("real images", "dreambooth", "textual inversion", "prompt only", "untuned"):
        assert f"\n{method} " in text and f"<td>{method}</td>" in page
    assert "dreambooth - textual inversion" in text
    assert "<script" not in page and "width=device-width" in page
    assert set(re.findall(r'src="([^,]*),', page)) == {"data:image/webp;base64"}
    assert page.count("<figcaption>dreambooth</figcaption>") == 2 * 4  # two toys, four prompts


def test_the_same_command_computes_nothing_again_and_other_judges_measure_alone(table1: Path, place: Path) -> None:
    cells, pictures = finished_cells(table1), pictures_in(table1)
    one = ("--subject-seeds", "18", "--seeds", "0")
    assert cli.main(words(place, table1, "table1", *one), __version__) == 0
    assert finished_cells(table1) == cells
    alone = rows_of((table1 / "table1.csv").read_text())["dreambooth"]
    assert (alone["n"], alone["dino_low"]) == ("1", "")
    assert cli.main(words(place, table1, "table1", *one, dino="dinov2"), __version__) == 0
    again = finished_cells(table1)
    assert sum(again[name] != cells[name] for name in cells) == 4 and pictures_in(table1) == pictures
    assert rows_of((table1 / "table1.csv").read_text())["dreambooth"]["dino"] != alone["dino"]


def run_until_a_cell_is_finished(command: Sequence[str], out: Path) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen([sys.executable, "-m", "dreambooth", *command], stderr=subprocess.DEVNULL)
    while process.poll() is None and not finished_cells(out):
        time.sleep(0.02)
    return process


def test_an_experiment_goes_on_after_a_kill(place: Path, tmp_path: Path) -> None:
    out, table = tmp_path / "out", ("table5", "--subject-seeds", "18", "--seeds", "0")
    process = run_until_a_cell_is_finished(words(place, out, *table, "--jobs", "2"), out)
    process.kill()
    process.wait()
    before = finished_cells(out)
    assert 0 < len(before) < 5
    locks = list(out.glob("cells/*/.lock"))
    began = time.monotonic()
    for holder in {json.loads(lock.read_text())["process"] for lock in locks if lock.exists()}:
        while is_alive(holder):  # its processes end with it
            assert time.monotonic() - began < 20
            time.sleep(0.05)
    before |= finished_cells(out)
    out = out.rename(tmp_path / "moved")
    assert cli.main(words(place, out, *table), __version__) == 0
    after = finished_cells(out)
    assert len(after) == 5 and {name: after[name] for name in before} == before
    rows = rows_of((out / "table5.csv").read_text())
    assert list(rows) == ["1 photo", "2 photos", "3 photos", "4 photos", "5 photos"]
    # a process that ended right after its cell.json was written may leave a lock, which the next writer takes over
    assert not any(is_alive(json.loads(lock.read_text())["process"]) for lock in out.glob("cells/*/.lock"))


def is_alive(pid: int) -> bool:
    """Whether it runs; one that has ended and waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# The signal may come in the midst of a shutil call or of open(), which then has nobody to close what it has opened.
@pytest.mark.filterwarnings("ignore:Exception ignored in.*ScandirIterator")
@pytest.mark.filterwarnings("ignore:Exception ignored in.*FileIO name=")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_says_how_to_go_on(
    number: signal.Signals, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt() -> None:
        while not finished_cells(tmp_path):
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    threading.Thread(target=interrupt, daemon=True).start()
    command = words(place, tmp_path, "table3", "--subject-seeds", "18", "--seeds", "0,1")
    assert cli.main(command, __version__) == cli.STOPPED
    printed = capsys.readouterr().err
    assert re.search(r"stopped with [1-4] of 5 cells finished\. Run the same command again", printed), printed
    assert not (tmp_path / "table3.csv").exists()


def test_a_cell_that_fails_does_not_keep_the_others(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = words(place, tmp_path, "table1", "--subject-seeds", "19", "--seeds", "0", "--learning-rate", "1e9")
    assert cli.main(command, __version__) == 2
    printed = capsys.readouterr().err
    assert (
        "of 4 cells could not be computed" in printed and "dreambooth cat-19, seed 0" in printed and "step 2" in printed
    )
    assert len(finished_cells(tmp_path)) >= 2 and "Traceback" not in printed


def test_subjects_with_the_same_photos_share_their_cells(place: Path, tmp_path: Path) -> None:
    for name in ("dog1", "dog2"):
        photos("dog", 12, 1, tmp_path / "subjects" / name, size=64)
    out, given = tmp_path / "out", ("--subjects", str(tmp_path / "subjects"), "--seeds", "0")
    assert cli.main(words(place, out, "table5", *given), __version__) == 0
    assert rows_of((out / "table5.csv").read_text())["1 photo"]["n"] == "2" and len(finished_cells(out)) == 1


def test_list_prints_the_cells_and_computes_none(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words(place, tmp_path, "all", "--subject-seeds", "18,19", "--list"), __version__) == 0
    printed = capsys.readouterr().out
    assert "22 distinct cells" in printed and "22 to do" in printed and printed.count("\n") == 23
    assert "dreambooth dog-18, seed 0, 1 photo: time unknown" in printed
    assert "class noun none" in printed and "without prior" in printed
    assert not (tmp_path / "cells").exists()


def test_every_table_takes_the_toys_and_seeds_that_are_given(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def shares(*given: str) -> dict[str, int]:
        assert cli.main(words(place, tmp_path, "all", *given, "--list"), __version__) == 0
        listed = re.search(r"\((table1 .*?)\)", capsys.readouterr().out)
        assert listed
        return {name: int(count) for name, _, count in (part.partition(" ") for part in listed[1].split(", "))}

    assert shares() == {"table1": 40, "table3": 12, "table4": 12, "table5": 10}
    assert shares("--seeds", "0,1") == {"table1": 80, "table3": 20, "table4": 24, "table5": 20}
    assert shares("--subject-seeds", "11,12,13") == {"table1": 15, "table3": 9, "table4": 9, "table5": 15}


@pytest.mark.parametrize(
    ("command", "sentences"),
    [
        (["table3", "--rank", "abc"], ["rank: means nothing to the methods of table3", "table1 --full"]),
        (["table5", "--num-vectors", "2"], ["num_vectors: means nothing", "ask for table1,", "textual_inversion"]),
        (["table1", "--full", "--rank", "abc", "--list"], ["rank", "abc"]),
        (["table1", "--noise-level", "3"], ["noise_level", "is no cascade"]),
        (["table2"], ["table2", "table1"]),
        (["table1", "--subject-seeds", "a,b"], ["'a,b' is no list of whole numbers", "11,12,13"]),
        (["table1", "--seeds", ""], ["no list of whole numbers"]),
        (["table1", "--seeds", "-1"], ["seed", "-1"]),
        (["table1", "--subjects", "nowhere"], ["nowhere: there is no such folder"]),
        (["table1", "--subjects", "empty"], ["empty: no folders in it", "a folder of photos per subject"]),
        (["table1", "--subjects", "hollow"], ["hollow/dog: no photos in it"]),
        (["table1", "--subjects", "hollow", "--subject-seeds", "11"], ["give one of them"]),
        (
            ["table1", "--seed", "3", "--method", "lora"],
            ["seed: an experiment sets it", "method: an experiment sets it"],
        ),
        (["table1", "--jobs", "0"], ["--jobs: '0' is no whole number from 1"]),
        (["table1", "--model", "nowhere"], ["nowhere", "no folder"]),
        (["table3", "--cascade", "toybox-cascade"], ["--cascade makes a row of table1"]),
        (["table1", "--cascade", "toybox"], ["--cascade: toybox draws in one stage"]),
        (["table1", "--cascade", "DeepFloyd/IF-I-XL-v1.0"], ["of photographs and the base model of toybox"]),
        (["table1", "--cascade", "toybox-cascade", "--train-text-encoder"], ["train_text_encoder"]),
        (["table1", "--max-train-steps", "many"], ["max_train_steps", "many"]),
    ],
)
def test_a_mistake_is_a_plain_sentence(
    command: list[str],
    sentences: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "hollow" / "dog").mkdir(parents=True)
    assert cli.main(["experiment", *command], __version__) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and "Traceback" not in printed.err
    for sentence in sentences:
        assert sentence in printed.err, printed.err
