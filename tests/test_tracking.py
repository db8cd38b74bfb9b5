"""What a run reports to other programs is what its folder has."""

import sys
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

from dreambooth.config import Config
from dreambooth.config.machine import check_machine
from dreambooth.errors import ConfigError
from dreambooth.finetuning.tracking import Reporter
from dreambooth.generation.samples import save_sample
from dreambooth.run import Run
from dreambooth.run.records import SCORES, Loss, Probed
from dreambooth.subject import Subject


def begun(root: Path, tracker: str | None) -> Run:
    """A run with a probe of step 2."""
    photo = root / "photo.png"
    Image.new("RGB", (64, 64)).save(photo)
    run = Run.create(root / "run", Subject(photos=(photo,), class_noun="dog"), Config.build(report_to=tracker))  # type: ignore[arg-type]
    SCORES.append(run.root, Probed(step=2, dino=0.5, clip_t=0.25))
    text = {"prompt": "a zwx dog", "template": "a {}", "kind": "subject", "seed": "1"}
    save_sample(Image.new("RGB", (32, 32), "red"), run.samples / "step-000002" / "a.png", text)
    return run


def line(step: int) -> Loss:
    """A line of losses.jsonl."""
    return Loss(step=step, loss=1 / step, subject=0.5, lr=1e-4, grad_norm=1.0, seconds=0.1)


def report(run: Run) -> None:
    """Three steps and a probe."""
    reporter = Reporter(run, run.config)
    reporter.losses([line(1), line(2)])
    reporter.probed(2)
    reporter.losses([line(3)])
    reporter.close()


def test_tensorboard_has_the_losses_the_scores_and_the_samples(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = begun(tmp_path, "tensorboard")
    report(run)
    events = accumulator.EventAccumulator(str(run.root / "tensorboard"))
    events.Reload()
    told = [(event.step, event.value) for event in events.Scalars("train/loss")]
    assert told == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]
    assert [(event.step, event.value) for event in events.Scalars("probe/dino")] == [(2, 0.5)]
    (image,) = events.Images("a zwx dog")
    assert (image.step, image.width, image.height) == (2, 32, 32)


def test_without_a_tracker_nothing_is_made(tmp_path: Path) -> None:
    run = begun(tmp_path, None)
    before = sorted(run.root.rglob("*"))
    report(run)
    assert sorted(run.root.rglob("*")) == before


def test_one_that_is_not_installed_is_told_before_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dreambooth.config.machine.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="'wandb' is not installed: pip install wandb"):
        check_machine(Config.build(report_to="wandb"))


def test_one_that_cannot_begin_is_told_and_one_that_fails_later_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Away(ModuleType):
        """A wandb whose server is not there."""

        def init(self, **given: object) -> object:
            raise OSError("no route to its server")

    monkeypatch.setitem(sys.modules, "wandb", Away("wandb"))
    run = begun(tmp_path, "wandb")
    with pytest.raises(ConfigError, match="wandb cannot begin: no route to its server"):
        Reporter(run, run.config)
    (tmp_path / "other").mkdir()
    reporter = Reporter(other := begun(tmp_path / "other", None), other.config)

    class Falls:
        """A tracker that fails after its first words."""

        said = 0

        def log(self, numbers: dict[str, float], step: int) -> None:
            self.said += 1
            raise OSError("connection reset")

        def finish(self) -> None:
            raise OSError("connection reset")

    falls = Falls()
    reporter._tracker = falls
    reporter.losses([line(1), line(2)])
    reporter.close()
    assert falls.said == 1 and "nothing more is sent to it" in caplog.text
