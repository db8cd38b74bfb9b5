"""More steps later are what a longer run would have been at once, to the bit."""

import json
import re
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from dreambooth import __version__, cli
from dreambooth.config import Config
from dreambooth.data.photos import photos_in
from dreambooth.errors import ConfigError, DiskError, DreamBoothError, RunError
from dreambooth.recipe import dreambooth, personalise, resume
from dreambooth.run import Run, checkpoint
from dreambooth.run.choice import by_hand
from dreambooth.run.extend import extend
from dreambooth.run.records import BASE, CHOSEN, LOSSES, RECOMMENDATION, BaseModel
from dreambooth.run.status import SAMPLE, ask_for_samples
from dreambooth.subject import Subject
from small_judges import clip_parts, dino_parts, save
from tiny import tiny_pipeline

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers, dpmsolver++

OF_ITS_OWN = ("timings.json", "status.json", "plan.json", "report.html", ".lock")
"""Files that hold times."""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A small model, small judges, one sample of each prompt."""
    folder = tmp_path_factory.mktemp("models")
    tiny_pipeline().save_pretrained(folder / "base")
    save(folder / "dino", dino_parts())
    save(folder / "clip", clip_parts())
    return {
        "model": str(folder / "base"),
        "dino_model": str(folder / "dino"),
        "clip_model": str(folder / "clip"),
        "num_class_images": 9,  # the first 6 steps see 6 of them, 12 steps all
        "class_num_inference_steps": 1,
        "num_inference_steps": 1,
        "num_images_per_prompt": 1,
        "prompts": ("a {} in the snow",),
        "learning_rate": 1e-2,
        "validation_steps": 4,
        "checkpointing_steps": 5,
        "probe_images_per_prompt": 1,
        "probe_class_images": 2,
        "probe_num_inference_steps": 1,
    }


@pytest.fixture(scope="module")
def subject(photos_dir: Path) -> Subject:
    return Subject(photos=photos_in(photos_dir), class_noun="dog")


def made(root: Path, subject: Subject, settings: dict[str, Any], steps: int, **more: object) -> Run:
    """A finished run of so many steps."""
    return dreambooth(subject, Config.build({**settings, "max_train_steps": steps, **more}), root)


def outcome(run: Run) -> dict[str, Any]:
    """All that a run leaves, without its times, and without the checkpoints before the last one."""
    newest = checkpoint.newest_step(run.checkpoints)
    files = {path.relative_to(run.root).as_posix(): path for path in run.root.rglob("*") if path.is_file()}
    kept: dict[str, Any] = {}
    for name, path in files.items():
        earlier = name.startswith("checkpoints/") and not name.startswith(f"checkpoints/checkpoint-{newest}/")
        if name.endswith(".jsonl"):
            kept[name] = [json.loads(line) | {"seconds": 0} for line in path.read_text().splitlines()]
        elif name not in OF_ITS_OWN and not earlier:
            kept[name] = path.read_bytes()
    return kept


@pytest.mark.parametrize(
    ("every", "use_ema"),
    [(4, True), (3, False), (100, True), (None, False)],
    ids=["probes", "probe at 6", "no other probe", "not measured"],
)
def test_6_steps_and_6_more_are_12_at_once_to_the_bit(
    every: int | None, use_ema: bool, settings: dict[str, Any], subject: Subject, tmp_path: Path
) -> None:
    more = {"use_ema": use_ema, "ema_decay": 0.9, "probe": every is not None, "validation_steps": every or 4}
    whole = outcome(made(tmp_path / "whole", subject, settings, 12, **more))
    run = made(tmp_path / "run", subject, settings, 6, **more)
    assert resume(run, 12) == run
    assert run.config.training.max_train_steps == 12
    assert outcome(run) == whole


@pytest.mark.parametrize("method", ["lora", "textual_inversion"])
def test_other_methods_go_on_alike(method: str, settings: dict[str, Any], subject: Subject, tmp_path: Path) -> None:
    prior = {} if method == "lora" else {"with_prior_preservation": False, "gradient_accumulation_steps": 1}
    more = {"method": method, "probe": False, **prior}
    whole = outcome(made(tmp_path / "whole", subject, settings, 6, **more))
    run = resume(made(tmp_path / "run", subject, settings, 3, **more), 6)
    its = outcome(run)
    for files in (whole, its):  # the order of a LoRA file's metadata is another in every run
        for name in [name for name in files if name.startswith("adapter/")]:
            files[name] = len(files[name])
    assert its == whole


def test_a_best_step_that_a_longer_run_would_not_have_seen_is_let_go(
    settings: dict[str, Any], subject: Subject, tmp_path: Path
) -> None:
    """Whichever step was the best one at 6: the probe of the last step is out of turn, and so are its weights."""
    whole = outcome(made(tmp_path / "whole", subject, settings, 8))
    run = made(tmp_path / "run", subject, settings, 6)
    for steps in (7, 8):
        resume(run, steps)
    assert outcome(run) == whole


def test_a_run_that_was_stopped_is_resumed_without_a_flag(
    settings: dict[str, Any], subject: Subject, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made(tmp_path / "run", subject, settings, 4, probe=False)
    whole = outcome(run)
    shutil.rmtree(run.model)
    shutil.rmtree(run.checkpoints / "checkpoint-4")
    assert cli.main(["continue", str(run.root)], __version__) == 0
    told = capsys.readouterr()
    assert str(run.report) in told.out and "steps are done" not in told.err
    assert outcome(run) == whole
    assert cli.main(["continue", str(run.root)], __version__) == 0
    assert "all 4 steps are done: --max-train-steps" in capsys.readouterr().err
    assert cli.main(["continue", str(run.root), "--max_train_steps", "6"], __version__) == 0
    assert outcome(run) == outcome(made(tmp_path / "whole", subject, settings, 6, probe=False))


def test_what_ended_early_goes_on_where_it_may(settings: dict[str, Any], subject: Subject, tmp_path: Path) -> None:
    early = {"early_stopping": True, "early_stopping_patience": 1}
    run = made(tmp_path / "run", subject, settings, 60, **early)
    last = RECOMMENDATION.read(run.root).last
    assert last < 60, "these settings should stop early"
    with pytest.raises(RunError, match=f"stopped after step {last} by --early-stopping.*--no-early-stopping"):
        resume(run, last + 4)
    resume(run, last + 4, early_stopping=False)
    plain = {**early, "early_stopping": False}
    assert outcome(run) == outcome(made(tmp_path / "whole", subject, settings, last + 4, **plain))


def test_early_stopping_that_nothing_can_decide_is_told(
    settings: dict[str, Any], subject: Subject, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = made(tmp_path / "run", subject, settings, 3, probe=False)
    told = "--early-stopping does nothing without --probe"
    assert told not in caplog.messages
    resume(run, 4, early_stopping=True)
    assert caplog.messages.count(told) == 1 and len(LOSSES.read(run.root)) == 4


def test_a_schedule_that_falls_over_all_steps_is_told(
    settings: dict[str, Any], subject: Subject, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = made(tmp_path / "run", subject, settings, 3, probe=False, lr_scheduler="cosine")
    resume(run, 6)
    (said,) = [message for message in caplog.messages if "learning rate falls" in message]
    assert "(cosine)" in said and "planned for 3" in said and "A run of 6 steps at once would have come out" in said
    assert len(run.losses.read_text().splitlines()) == 6


def test_what_cannot_be_continued_is_said_and_changes_nothing(
    settings: dict[str, Any], subject: Subject, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made(tmp_path / "run", subject, settings, 4, probe=False)
    before = outcome(run)
    with pytest.raises(RunError, match="has 4 steps behind it: --max-train-steps 3 must be more"):
        resume(run, 3)
    for steps, said in (("0", "is no whole number from 1"), ("few", "is no whole number from 1")):
        assert cli.main(["continue", str(run.root), "--max-train-steps", steps], __version__) == 2
        assert said in capsys.readouterr().err
    assert cli.main(["continue", str(tmp_path / "nowhere")], __version__) == 2
    assert "is not a run folder" in capsys.readouterr().err
    assert outcome(run) == before
    described = Config.build({**settings, "method": "prompt_only", "description": "red dog"})
    with pytest.raises(ConfigError, match="max_train_steps: 5 means nothing to method prompt_only"):
        extend(Run.create(tmp_path / "described", subject, described), 5)


def test_room_for_the_model_is_asked_for_before_the_training(
    settings: dict[str, Any], subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.create(tmp_path / "run", subject, Config.build({**settings, "probe": False, "max_train_steps": 1}))
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DiskError, match="the personalised model needs about"):
        personalise(run)
    assert not run.losses.exists()


def test_a_folder_that_is_called_as_a_hub_id_changes_no_run(
    settings: dict[str, Any], subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.create(tmp_path / "run", subject, Config.build({**settings, "clip_model": "openai/clip"}))
    begun = (run.root / "config.toml").read_bytes()
    (tmp_path / "openai" / "clip").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    run.report.write_text("finished")
    extend(run)
    assert run.report.exists() and (run.root / "config.toml").read_bytes() == begun
    extend(run, 5)
    assert run.config.evaluation.clip_model == "openai/clip" and run.config.training.max_train_steps == 5


def test_a_longer_run_leaves_what_it_did_not_make(settings: dict[str, Any], subject: Subject, tmp_path: Path) -> None:
    run = made(tmp_path / "run", subject, settings, 2, probe=False)
    shutil.copytree(run.model, run.root / "old" / "model")
    shutil.copy(run.losses, run.root / "old")
    (run.root / "subjects" / "backup").mkdir(parents=True)
    shutil.copy(run.root / "subject.json", run.root / "subjects" / "backup")
    resume(run, 3)
    assert (run.root / "old" / "losses.jsonl").exists() and (run.root / "old" / "model" / "model_index.json").exists()
    assert run.is_personalised and len(run.losses.read_text().splitlines()) == 3


def test_other_steps_in_the_first_command_are_answered_with_the_right_one(
    settings: dict[str, Any], subject: Subject, tmp_path: Path
) -> None:
    run = Run.create(tmp_path / "run", subject, Config.build({**settings, "max_train_steps": 4}))
    BASE.write(run.root, BaseModel(model="some/model", fingerprint="0123"))  # before that a run takes other settings
    for more, answered in (({}, True), ({"seed": 3}, False)):
        with pytest.raises(RunError, match="max_train_steps: 6, was 4") as refused:
            Run.create(tmp_path / "run", subject, Config.build({**settings, "max_train_steps": 6, **more}))
        assert (f"dreambooth continue {tmp_path / 'run'} --max-train-steps 6" in str(refused.value)) == answered


@pytest.fixture(scope="module")
def of_4_steps(tmp_path_factory: pytest.TempPathFactory, settings: dict[str, Any], subject: Subject) -> Run:
    """A finished run, only to be read and copied."""
    return made(tmp_path_factory.mktemp("finished") / "run", subject, settings, 4)


@pytest.mark.parametrize("survives", [1, 2, 5, 9])
def test_a_crash_while_a_run_is_made_longer_loses_nothing(
    survives: int,
    of_4_steps: Run,
    settings: dict[str, Any],
    subject: Subject,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Killed after any of its removals, the first command ends alike, and so does the longer one."""
    run = Run(shutil.copytree(of_4_steps.root, tmp_path / "run"))
    before = outcome(run)
    removed: list[Path] = []

    def remove(path: Path) -> None:
        if len(removed) == survives:
            raise KeyboardInterrupt
        removed.append(path)
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    monkeypatch.setattr("dreambooth.run.extend._remove", remove)
    with pytest.raises(KeyboardInterrupt):
        resume(run, 6)
    assert run.config.training.max_train_steps == 4
    assert outcome(made(run.root, subject, settings, 4)) == before


def test_a_run_of_another_step_than_the_rules_is_what_a_run_of_so_many_steps_is(
    settings: dict[str, Any], subject: Subject, tmp_path: Path
) -> None:
    more = {"checkpointing_steps": 4, "checkpoints_total_limit": 100, "use_ema": True, "ema_decay": 0.9}
    whole = outcome(made(tmp_path / "whole", subject, settings, 4, **more))
    run = made(tmp_path / "run", subject, settings, 8, **more)
    said = r"the weights of step 5 were not kept; those of 4, 8 were\. .* --checkpointing-steps 4"
    with pytest.raises(RunError, match=said):
        resume(run, use_step=5)
    rules = RECOMMENDATION.read(run.root).step
    for step in (8, 4):  # from whichever the rule prefers to the other one and back
        resume(run, use_step=step)
        its = RECOMMENDATION.read(run.root)
        assert (its.step, its.last) == (step, 8)
        assert ("chosen by hand" in its.reason) == (by_hand(run) is not None) == (step != rules)
    chosen = outcome(run)
    same = [name for name in whole if name.startswith(("model/", "samples/after/")) and name != "model/README.md"]
    assert same and {name: chosen[name] for name in same} == {name: whole[name] for name in same}
    extend(run, 12)
    assert not (run.root / CHOSEN.name).exists() and not run.is_personalised


def test_where_the_photos_are_gone_a_finished_run_keeps_what_it_has(
    settings: dict[str, Any], photos_dir: Path, tmp_path: Path
) -> None:
    shutil.copytree(photos_dir, tmp_path / "photos")
    subject = Subject(photos=photos_in(tmp_path / "photos"), class_noun="dog")
    run = made(tmp_path / "run", subject, settings, 4)
    shutil.rmtree(tmp_path / "photos")
    before = outcome(run)
    several: list[dict[str, Any]] = [{"max_train_steps": 6}, {"use_step": 2}]
    for asked in several:
        with pytest.raises(DreamBoothError, match="does not exist"):
            resume(run, **asked)
    with pytest.raises(RunError, match="--use-step takes a step of a run as it is"):
        resume(run, 6, use_step=2)
    assert outcome(run) == before and run.config.training.max_train_steps == 4


def test_where_the_chosen_step_is_damaged_a_run_keeps_what_it_has(
    settings: dict[str, Any], subject: Subject, tmp_path: Path
) -> None:
    run = made(tmp_path / "run", subject, settings, 8, checkpointing_steps=4, checkpoints_total_limit=100)
    (other,) = {4, 8} - {RECOMMENDATION.read(run.root).step}
    kept = list(run.root.glob(f"*/checkpoint-{other}/*.safetensors"))
    assert kept
    for file in kept:
        file.write_bytes(b"cut")
    before = outcome(run)
    with pytest.raises(RunError):
        resume(run, use_step=other)
    assert outcome(run) == before and not (run.root / CHOSEN.name).exists()


def test_samples_that_are_asked_for_come_and_change_nothing(
    settings: dict[str, Any], subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dreambooth.run.status.TICK", 0.01)
    quiet = outcome(made(tmp_path / "quiet", subject, settings, 12, validation_steps=8))
    root = tmp_path / "run"

    def ask() -> None:
        while not LOSSES.read(root):
            time.sleep(0.01)
        ask_for_samples(root)

    asking = threading.Thread(target=ask)
    asking.start()
    its = outcome(made(root, subject, settings, 12, validation_steps=8))
    asking.join()
    new = {name for name in its if name not in quiet}
    assert len(new) == 2 and all(re.match(r"samples/step-\d{6}/", name) for name in new)
    assert {name: its[name] for name in quiet} == quiet and not (root / SAMPLE).exists()
