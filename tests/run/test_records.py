"""What a run's files hold: read as it was written, and a sentence where they are damaged."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dreambooth.config import Config
from dreambooth.errors import RunError
from dreambooth.run import Run, records
from dreambooth.run.files import JsonFile
from dreambooth.run.measured import read_measured
from dreambooth.run.records import LOSSES, SCORES, Check, Loss, Probed, PromptScores, Variety
from dreambooth.run.timing import read_timings, timed
from dreambooth.subject import Subject
from written import class_images

CHECK = Check(
    failure="variety lost", metric="class_div", value=0.2, threshold=0.4, says="all similar", change="train less"
)
HELD: dict[str, Any] = {
    "SUBJECT": Subject(photos=(Path("/a.png"),), class_noun="dog", identifier="sks"),
    "PHOTOS": {"/a.png": "0f"},
    "BASE": records.BaseModel(model="a model", fingerprint="0f"),
    "JUDGES": records.JudgeNames(dino="a", clip="b", perceptual="c"),
    "WORLD_FIT": records.WorldFit(likeness=0.5, limit=0.6, judge="clip", foreign=True, says="no toys"),
    "CLASS_IMAGES": class_images(Path("/class"), "0.png"),
    "RECOMMENDATION": records.Recommendation(
        step=2,
        rule="the best",
        reason="it is",
        last=4,
        stopped_early=False,
        judges={"dino": "a"},
        ways={"dino": 1 / 3, "pres": None},
        way="0% is untuned",
        kept={"clip_t": 0.9},
    ),
    "DIAGNOSIS": records.Diagnosis(findings=(CHECK,), checked=(CHECK, replace(CHECK, at_most=True))),
    "MODEL": {"model_index.json": "0f"},
    "SAMPLES": records.SampleScores(
        judges={"dino": "a"}, photos=2, rows={"real": Probed(step="real", dino=0.5)}, ways={"dino": None}
    ),
    "CHOSEN": 200,
    "TIMINGS": {"load": 0.1},
    "PLAN": {"load": 0.1, "memory": 1e9},
}
FILES = {name: file for name, file in vars(records).items() if isinstance(file, JsonFile)}


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_read_as_it_was_written(name: str, tmp_path: Path) -> None:
    file = FILES[name]
    assert file.find(tmp_path) is None
    file.write(tmp_path, HELD[name])
    assert file.read(tmp_path) == file.find(tmp_path) == HELD[name]


def test_no_two_files_have_one_name() -> None:
    names = [file.name for file in (*FILES.values(), LOSSES, SCORES)]
    assert len(set(names)) == len(names)


WRONG = [b"", b"[", b"3", b"null", b"[]", b'"x"', b'{"a": []}', b"[[[", b'{"a": 1e999}', b"\xff", b"[" * 100_000]


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_a_sentence_that_names_it(name: str, tmp_path: Path) -> None:
    file = FILES[name]
    for wrong in [wrong for wrong in WRONG if name != "CHOSEN" or wrong != b"3"]:  # that one is a number alone
        (tmp_path / file.name).write_bytes(wrong)
        with pytest.raises(RunError, match=rf"{file.name} is damaged \(.*delete it, and give the run's first command"):
            file.read(tmp_path)


def test_a_missing_file_names_the_stage(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"prior\.json is missing: the stage that writes it has not run"):
        records.CLASS_IMAGES.read(tmp_path)


@pytest.mark.parametrize("name", ["BASE", "JUDGES"])
def test_what_a_run_began_with_must_say_it(name: str, tmp_path: Path) -> None:
    run, file = Run(tmp_path), FILES[name]
    assert run.began_with(file, HELD[name]) == run.began_with(file, None) == HELD[name]
    (run.root / file.name).write_text("{}")
    with pytest.raises(RunError, match=rf"{file.name} is damaged \((model|dino): Field required\): delete it"):
        run.began_with(file, HELD[name])


@pytest.mark.parametrize("name", ["BASE", "JUDGES"])
def test_what_a_run_began_with_says_nothing_that_is_not_understood(name: str, tmp_path: Path) -> None:
    run, file = Run(tmp_path), FILES[name]
    run.began_with(file, HELD[name])
    said = json.loads((run.root / file.name).read_text())
    (run.root / file.name).write_text(json.dumps({**said, "adapter": "another"}))
    with pytest.raises(RunError, match=rf"{file.name} is damaged \(adapter: .*\): delete it"):
        run.began_with(file, HELD[name])


def test_the_photos_of_a_run_must_all_be_known(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "dog", HELD["SUBJECT"], Config())
    run.require_same_photos()
    (run.root / records.PHOTOS.name).write_text("{}")
    with pytest.raises(RunError, match=r"photos\.json is damaged: it does not say a\.png"):
        run.require_same_photos()


def test_a_line_is_read_as_it_was_written(tmp_path: Path) -> None:
    losses = [Loss(step=at, loss=1 / 3, subject=0.1, prior=0.2, lr=5e-6, grad_norm=1.5, seconds=0.25) for at in (1, 2)]
    snow = PromptScores(clip_t=0.3, elsewhere=0.1)
    probes = [
        Probed(step="real", dino=0.8),
        Probed(step=0, dino=1 / 3, prompts={"a {}\u2028": snow}, variety={"class": Variety(div=0.5, pictures=8)}),
    ]
    for loss, probed in zip(losses, probes, strict=True):
        LOSSES.append(tmp_path, loss)
        SCORES.append(tmp_path, probed)
    assert LOSSES.read(tmp_path) == losses and SCORES.read(tmp_path) == probes
    assert "null" not in (tmp_path / SCORES.name).read_text()


def test_what_was_not_measured_is_no_number(tmp_path: Path) -> None:
    (tmp_path / SCORES.name).write_text('{"step": 3, "dino": NaN, "clip_t": null, "pres": 0.7, "later": [1]}\n')
    (probed,) = SCORES.read(tmp_path)
    assert probed == Probed(step=3, pres=0.7) and probed.numbers == {"pres": 0.7}
    assert read_measured(Run(tmp_path)).over_training("dino") == {}


BAD = [
    "",
    "{",
    "3",
    "[]",
    '{"dino": 1}',
    '{"step": "2"}',
    '{"step": true}',
    '{"step": -1}',
    '{"step": 2, "dino": "x"}',
    '{"step": 2, "dino": {"a": 1}}',
    '{"step": 2, "prompts": 3}',
    '{"step": 2, "prompts": {"a {}": 3}}',
    '{"step": 2, "variety": {"class": {"div": "x", "pictures": 8}}}',
    '{"step": 3, "dino": 1e999}',
    '{"step": 3, "dino": 1' + "0" * 400 + "}",
]


def test_lines_that_are_none_are_skipped(tmp_path: Path) -> None:
    run = Run(tmp_path)
    tables = '"prompts": {"a {}": {"dino": 0.5}}, "variety": {"class": {"div": 0.5, "pictures": 8}}'
    good = ['{"step": "real", "dino": 0.5}', f'{{"step": 2, {tables}, "seconds": 1}}']
    run.scores.write_bytes("\n".join([*BAD, *good]).encode() + b'\n\xff\xfe\n{"step": 4, "di')
    assert [probed.step for probed in SCORES.read(run.root)] == ["real", 2]
    run.forget_after(3)
    assert run.scores.read_text().splitlines() == good
    run.forget_after(1)
    assert run.scores.read_text().splitlines() == good[:1]


def test_damaged_timings_are_forgotten_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = Run(tmp_path)
    assert read_timings(run) == {}
    with timed(run, "load"):
        pass
    assert read_timings(run).keys() == {"load"}
    (tmp_path / records.TIMINGS.name).write_text('{"load": "long"}')
    assert read_timings(run) == {} and "timings.json is damaged (load:" in caplog.text
