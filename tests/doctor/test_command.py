"""`dreambooth doctor`: of a folder of photos, and of the installation; and the same words before a run begins."""

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from PIL import Image

from dreambooth import __version__, cli
from dreambooth.config import Config
from dreambooth.data.pictures import open_image
from dreambooth.doctor import installation
from dreambooth.doctor.beforehand import check
from dreambooth.doctor.folder import examine_folder
from dreambooth.doctor.installation import examine_installation
from dreambooth.subject import Subject
from dreambooth.toybox.photos import photos


def folder_of(root: Path, class_noun: str = "dog") -> Path:
    photos(class_noun, 7, 4, root / class_noun, 128)
    return root / class_noun


def doctor(*words: str) -> int:
    return cli.main(["doctor", *words], __version__)


def test_good_photos_have_no_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(str(folder_of(tmp_path)), "--class-noun", "dog") == 0
    assert capsys.readouterr().out == "No fault was found.\n"


def test_a_noun_that_no_run_takes_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(str(folder_of(tmp_path)), "--class-noun", "a dog") == 2
    assert 'give the noun alone, --class-noun "dog"' in capsys.readouterr().err


def test_every_fault_is_in_one_table_with_its_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = folder_of(tmp_path)
    (folder / "cut.png").write_bytes((folder / "00.png").read_bytes()[:2000])
    (folder / "again.png").write_bytes((folder / "00.png").read_bytes())
    (folder / "movie.mov").write_text("x")
    (folder / "00.txt").write_text("a dog")
    photos("teapot", 21, 1, tmp_path / "other", 128)[0].rename(folder / "pot.png")
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}
    assert doctor(str(folder), "--class-noun", "car") == 2
    told = capsys.readouterr()
    head, *rows = told.out.splitlines()
    assert head.split() == ["file", "fault", "remedy"] and rows[0].startswith("cut.png")
    for words in ("same file as 00.png", "movie.mov", "captions are not used", "another subject", "like a dog"):
        assert words in " ".join(told.out.split()), words
    assert told.err.endswith("dreambooth: 1 of these cannot be used as they are.\n")
    assert before == {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def test_of_photos_that_are_no_toys_that_alone_is_told(photos_dir: Path) -> None:
    faults = examine_folder(photos_dir, "dog", Config.build(resolution=32))
    assert any("do not look like toys" in fault.says for fault in faults)
    assert not any("another subject" in fault.says or "look like a" in fault.says for fault in faults)


def test_without_judges_the_pixels_are_looked_at(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = folder_of(tmp_path)
    image = open_image(folder / "03.png")
    image.resize((40, 40)).save(folder / "small.png")
    faults = examine_folder(folder, "dog", Config.build(model="owner/name"))
    assert "small.png" in {fault.where for fault in faults if "tiny" in fault.says}
    assert "not looked for another subject" in caplog.text and "HF_HUB_OFFLINE" in caplog.text


def test_masks_that_a_run_warns_of_or_refuses_are_faults(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    Image.new("L", (128, 128), 255).save(folder / "00.mask.png")
    Image.new("L", (64, 64), 255).save(folder / "01.mask.png")
    Image.new("L", (128, 128), 0).save(folder / "02.mask.png")
    (folder / "03.mask.png").write_bytes(b"none")
    for masked in (False, True):
        told = examine_folder(folder, "dog", Config.build(masked_loss=masked))
        faults = {fault.where: fault for fault in told}
        beside = faults.pop("00.mask.png, 01.mask.png, 02.mask.png, 03.mask.png", None)
        assert masked if beside is None else "without --masked-loss" in beside.says and not beside.fatal
        assert list(faults) == ["01.mask.png", "02.mask.png", "03.mask.png"]
        assert "64 x 64 pixels" in faults["01.mask.png"].says and "not a JPEG" in faults["03.mask.png"].says
        assert faults["02.mask.png"].says == "is dark all over" and "white" in faults["02.mask.png"].remedy
        assert {fault.fatal for fault in faults.values()} == {masked}


def test_a_run_tells_the_same_before_it_begins(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = folder_of(tmp_path)
    (folder / "z.png").write_bytes((folder / "00.png").read_bytes())
    check(Subject(photos=tuple(sorted(folder.glob("*.png"))), class_noun="dog"), Config())
    (message,) = caplog.messages
    assert message.startswith("the photos have faults") and "z.png  is the same file as 00.png" in message


def test_the_installation_is_described_and_has_no_fault_but_its_network(tmp_path: Path) -> None:
    facts, faults = examine_installation(tmp_path)
    told = dict(facts)
    assert told["torch"] == metadata.version("torch") and told["hub"].startswith("not asked: HF_HUB_OFFLINE")
    assert {"Python", "GPU", "runs", "class images", "models of the hub", "temporary files"} <= told.keys()
    assert [fault for fault in faults if fault.where not in ("runs", "models of the hub")] == []  # a disk may be full


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "locked").mkdir(mode=0o500)
    yield tmp_path / "locked"


def test_places_that_cannot_be_written_and_disks_that_are_full_are_told(
    read_only: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installation, "ROOM", 1e18)
    if os.access(read_only, os.W_OK):  # root may write everywhere

        def refused(dir: Path) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("tempfile.TemporaryFile", refused)
    _, faults = examine_installation(read_only)
    (runs,) = [fault for fault in faults if fault.where == "runs"]
    assert runs.fatal and "cannot be written" in runs.says and "--output-dir" in runs.remedy
    monkeypatch.undo()
    monkeypatch.setattr(installation, "ROOM", 1e18)
    _, faults = examine_installation(read_only.parent)
    assert "GB are free" in next(fault.says for fault in faults if fault.where == "runs")


def test_a_library_of_another_version_and_one_that_is_not_there_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metadata, "requires", lambda name: ["torch>=99", "nothing-of-this-name>=1", "x; extra == 'y'"])
    faults = {fault.where: fault for fault in examine_installation(tmp_path)[1]}
    assert ">=99 is needed" in faults["torch"].says and faults["torch"].remedy == "pip install 'torch>=99'"
    assert faults["nothing-of-this-name"].says == "is not installed" and "x" not in faults


BROKEN = {
    "torchvision": "raise RuntimeError('operator torchvision::nms does not exist')",
    "torch": "raise OSError('libtorch_cpu.so: cannot open shared object file')",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_library_is_one_line_of_a_run_and_a_row_of_the_doctor(name: str, tmp_path: Path) -> None:
    (tmp_path / "fakes" / name).mkdir(parents=True)
    (tmp_path / "fakes" / name / "__init__.py").write_text(BROKEN[name])
    where = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "fakes"), *filter(None, sys.path)])}
    run = ["run", str(folder_of(tmp_path)), "--class-noun", "dog", "--output-dir", str(tmp_path / "run")]
    for words, said in ((run, "a library does not load: "), (["doctor"], "1 of these cannot be used")):
        called = [sys.executable, "-m", "dreambooth", *words]
        ended = subprocess.run(called, env=where, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert ended.returncode == 2 and "Traceback" not in ended.stderr, ended.stderr
        assert said in ended.stderr.splitlines()[-1]
    assert f"{name}  cannot be imported" in " ".join(ended.stdout.split("\n")).replace("   ", "  ")
