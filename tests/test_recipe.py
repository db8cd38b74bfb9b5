"""The whole method, end to end, on a small random pipeline: real parts, few steps."""

import html
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from PIL import Image

from dreambooth import __version__, cli, models
from dreambooth.config import Base, Config
from dreambooth.data.photos import photos_in
from dreambooth.data.pictures import open_image
from dreambooth.doctor.beforehand import check
from dreambooth.errors import ConfigError, PhotoError, PromptError, RunError
from dreambooth.generation.samples import text_of
from dreambooth.personal import generate
from dreambooth.recipe import check_world, dreambooth, personalise, resume
from dreambooth.report.page import write_report
from dreambooth.run import Run
from dreambooth.run.contents import CONTENTS
from dreambooth.run.records import SAMPLES, TIMINGS, WORLD_FIT
from dreambooth.subject import Subject
from tiny import SHORT, tiny_pipeline

ROOT = Path(__file__).parents[1]
SMALL: dict[str, Any] = {
    **SHORT,
    "prompts": ("a {} in the snow", "a red {}"),
    "probe": False,  # tests/test_probe.py
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random model in diffusers' format."""
    folder = tmp_path_factory.mktemp("base") / "model"
    tiny_pipeline().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def subject(photos_dir: Path) -> Subject:
    return Subject(photos=photos_in(photos_dir), class_noun="dog")


@pytest.fixture(scope="module")
def run(base: Path, subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run; only to be read, or to be run again."""
    return dreambooth(subject, Config.build({**SMALL, "model": str(base)}), tmp_path_factory.mktemp("runs") / "dog")


def weights(model: Path) -> dict[str, bytes]:
    """The content of a model's weight files."""
    return {str(path.relative_to(model)): path.read_bytes() for path in sorted(model.rglob("*.safetensors"))}


def opened(model: Path) -> Any:
    """The pipeline in a folder, as any user of diffusers opens it."""
    return DiffusionPipeline.from_pretrained(model)


def test_photos_in_everything_out(run: Run) -> None:
    assert [path.name for path in run.root.iterdir() if path.name not in CONTENTS] == []
    folders = {"checkpoints", "samples", "model"}
    records = {"config.toml", "subject.json", "base.json", "prior.json", "losses.jsonl", "timings.json", "photos.json"}
    records |= {"model.json", "status.json", "plan.json"}
    assert {path.name for path in run.root.iterdir()} == folders | records | {
        "report.html",
        "contact-sheet.jpg",
        "share.jpg",
    }
    pictures = {stage.name: len(list(stage.glob("*.png"))) for stage in run.samples.iterdir()}
    assert pictures == {"before": 3, "step-000002": 2, "after": 3}  # two prompts and the class
    assert len(run.losses.read_text().splitlines()) == 4
    assert run.subject.identifier is not None
    assert run.subject.name in run.report.read_text(encoding="utf-8")
    timings = TIMINGS.read(run.root)
    assert set(timings) == {"load", "identifier", "prior", "samples before", "finetune", "samples after"}
    assert all(seconds > 0 for seconds in timings.values())
    with Image.open(run.root / "contact-sheet.jpg") as sheet:
        assert min(sheet.size) > 100


def test_the_model_is_personalised_and_opens_in_diffusers(run: Run, base: Path) -> None:
    made, before = (opened(folder) for folder in (run.model, base))
    for part in ("unet", "text_encoder"):
        pairs = zip(getattr(made, part).parameters(), getattr(before, part).parameters(), strict=True)
        assert any(not torch.equal(mine, its) for mine, its in pairs), part
    pairs = zip(made.vae.parameters(), before.vae.parameters(), strict=True)
    assert all(torch.equal(mine, its) for mine, its in pairs), "the decoder is fixed"
    stages = [sorted((run.samples / stage).iterdir()) for stage in ("before", "after")]
    for old, new in zip(*stages, strict=True):
        assert old.name == new.name
        assert Image.open(old).tobytes() != Image.open(new).tobytes()


def test_the_same_call_again_changes_nothing(run: Run, subject: Subject) -> None:
    def state() -> dict[Path, bytes]:
        files = {path for path in run.root.rglob("*") if path.is_file()}
        news = ("timings.json", "status.json", "report.html")
        return {path: path.read_bytes() for path in files if path.name not in news}

    before = state()
    dreambooth(subject, run.config, run.root)
    assert state() == before


def test_a_stage_alone_makes_what_the_whole_made(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alone = Run(tmp_path / "alone")
    shutil.copytree(run.root, alone.root)
    for folder in (alone.model, alone.checkpoints, alone.samples / "after"):
        shutil.rmtree(folder)
    assert cli.main(["generate", str(alone.root)], __version__) == 2
    assert "has not been made yet" in capsys.readouterr().err
    for stage in ("identifier", "prior", "finetune", "generate", "report"):
        assert cli.main([stage, str(alone.root)], __version__) == 0, stage
        assert capsys.readouterr().out
    assert alone.subject == run.subject
    assert weights(alone.model) == weights(run.model)
    for picture in (run.samples / "after").iterdir():
        assert Image.open(picture).tobytes() == Image.open(alone.samples / "after" / picture.name).tobytes()


@pytest.mark.parametrize("damage", ["flipped", "cut", "missing", "other settings"])
@pytest.mark.parametrize("name", ["unet/diffusion_pytorch_model.safetensors", "scheduler/scheduler_config.json"])
def test_a_model_that_is_not_as_it_was_written_is_not_drawn_from_and_is_made_again(
    damage: str, name: str, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    harmed = Run(tmp_path / "harmed")
    shutil.copytree(run.root, harmed.root)
    file = harmed.model / name
    content = file.read_bytes()
    changed = {"flipped": content[:-9] + bytes([content[-9] ^ 1]) + content[-8:], "cut": content[:-1], "missing": b""}
    file.write_bytes(changed.get(damage, b"{}"))
    if damage == "missing":
        file.unlink()
    assert cli.main(["generate", str(harmed.root)], __version__) == 2
    printed = capsys.readouterr().err
    assert f"{file} is not as this run wrote it" in printed and f"dreambooth continue {harmed.root}" in printed
    assert cli.main(["finetune", str(harmed.root)], __version__) == 0
    assert file.read_bytes() == content and weights(harmed.model) == weights(run.model)
    assert harmed.losses.read_text() == run.losses.read_text()  # nothing was trained again


def test_the_same_words_are_the_same_pictures_whatever_else_is_asked_for(run: Run) -> None:
    alone = generate(run, ["a {} at night"])
    content = [sample.path.read_bytes() for sample in alone]
    together = generate(run, ["a {} on a beach", "a {} at night"])
    assert [sample.path for sample in together if sample.template == "a {} at night"] == [s.path for s in alone]
    for sample in alone:
        sample.path.unlink()
    generate(run, ["a {} in a mug", "a {} at night"])
    assert [sample.path.read_bytes() for sample in alone] == content


def test_more_pictures_can_be_drawn(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    (sample,) = generate(run, "a {} on the moon")
    for wrong in ({"count": -1}, {"count": 0}, {"seed": -1}, {"seed": 2**31 - 1, "count": 2}, {"max_train_steps": 7}):
        with pytest.raises(ConfigError):
            generate(run, ["a {} on the moon"], **wrong)
    assert sample.prompt == f"a {run.subject.name} on the moon"
    assert sample.path.parent == run.samples / "own"
    assert cli.main(["generate", str(run.root), "--prompts", "a {} on the moon"], __version__) == 0
    assert capsys.readouterr().out == f"{sample.path}\n"
    shutil.rmtree(run.samples / "own")


def test_a_folder_may_be_given_as_text(
    run: Run, base: Path, subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(shutil.copytree(run.root, tmp_path / "run"))
    assert Run(folder) == Run(Path(folder)) == Run.open(folder) == resume(folder)  # type: ignore[arg-type]
    assert Run(folder).model == Path(folder) / "model"  # type: ignore[arg-type]
    (sample,) = generate(folder, "a {} on the moon", count=1)
    assert sample.path.is_relative_to(folder)
    assert Config.from_toml(f"{folder}/config.toml") == run.config
    assert Config.build(model=base) == Config.build(model=str(base))  # type: ignore[arg-type]
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert Run.open("~/run").config == run.config
    assert Run.create("~/another", subject, run.config).root == tmp_path / "another"
    models.load(Base(model=str(base))).save("~/saved")
    assert opened(tmp_path / "saved").unet.config.sample_size == opened(base).unet.config.sample_size


def test_every_wish_has_files_of_its_own_that_say_what_they_were_drawn_from(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    wishes: dict[tuple[str, ...], tuple[list[str], dict[str, tuple[str, ...]]]] = {
        (): (["a {} on the moon"], {}),
        ("--count", "3"): (["a {} on the moon"], {}),
        ("--seed", "7", "--count", "2"): (["a {} on the moon"], {"seed": ("7", "8")}),
        ("--guidance_scale", "3"): (["a {} on the moon"], {"guidance_scale": ("3.0",)}),
        ("--num-inference-steps=3",): (["a {} on the moon"], {"num_inference_steps": ("3",)}),
        ("--sampler", "ddpm", "--seed", "7"): (["a {} on the moon"], {"sampler": ("ddpm",), "seed": ("7",)}),
        ("--num_images_per_prompt", "2", "--seed", "1"): ([], {"seed": ("1", "2") * 3}),
    }
    content: dict[Path, bytes] = {}
    for flags, (prompts, said) in wishes.items():
        asked = ["--prompts", *prompts] if prompts else []
        assert cli.main(["generate", str(run.root), *asked, *flags], __version__) == 0
        told = capsys.readouterr()
        paths = [Path(line) for line in told.out.splitlines()]
        assert ("there already" in told.err) == (flags == ("--count", "3"))  # one of three is there
        assert all(path.parent == run.samples / "own" for path in paths)
        texts = [text_of(path) for path in paths]
        for name, values in said.items():
            assert tuple(text[name] for text in texts) == values
        assert {text["model"] for text in texts} == {Path(run.config.base.model).name}
        content |= {path: path.read_bytes() for path in paths if path not in content}
    assert {path: path.read_bytes() for path in content} == content
    assert len(content) == 3 + 2 + 1 + 1 + 1 + 6
    assert len({open_image(path).tobytes() for path in content}) == len(content)
    shutil.rmtree(run.samples / "own")


def test_a_sample_depends_on_its_wish_and_on_no_other(run: Run) -> None:
    many = {s.seed: s.path.read_bytes() for s in generate(run, ["a {} at night"], seed=7, count=4)}
    for seed in (9, 7):
        shutil.rmtree(run.samples / "own")
        (alone,) = generate(run, ["a red {}", "a {} at night"], seed=seed, count=1)[1:]
        assert alone.path.read_bytes() == many[seed]
    shutil.rmtree(run.samples / "own")


def test_a_wish_that_cannot_be_is_told(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    for flags, said in (
        (["--guidance-scale", "0"], "guidance_scale"),
        (["--num-inference-steps", "many"], "num_inference_steps"),
        (["--sampler", "euler"], "'euler' is none of"),
        (["--seed", "-1"], "is no whole number from 0"),
        (["--count", "0"], "is no whole number from 1"),
        (["--steps", "3"], "those of the sampler --num-inference-steps"),
        (["--prompts", "a {name}"], "stray brace"),
        (["--prompts", "a {} \udce9"], "no text"),
        (["--prompts", "a {} in snow" * 1000], "12000 letters"),
        (["--prompts", "a", "{}", "at", "night"], 'put quotes around a prompt, --prompts "a {} at night"'),
        (["a {} at night"], 'Did you mean --prompts "a {} at night"?'),
    ):
        assert cli.main(["generate", str(run.root), *flags], __version__) == 2
        assert said in capsys.readouterr().err
    assert not (run.samples / "own").exists()


def test_more_samples_without_the_subjects_name_are_told(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    generate(run, ["a dog at night", f"a {run.subject.name} at night"])
    assert [message for message in caplog.messages if "does not name your subject" in message] == [
        "the prompt 'a dog at night' does not name your subject: write {} where its name belongs, as in "
        '"a {} in the snow". It is used as it is.'
    ]
    shutil.rmtree(run.samples / "own")


def test_no_file_has_a_name_that_windows_refuses(run: Run) -> None:
    generate(run, ['a {} asking: "why?" <or> a|b \\ * . '])
    for path in run.root.rglob("*"):
        assert not re.search(r'[<>:"|?*\\\x00-\x1f]|[. ]$', path.name), path
        assert path.stem.upper() not in {"CON", "PRN", "AUX", "NUL", "COM1", "LPT1"}, path
    shutil.rmtree(run.samples / "own")


def test_the_reports_lines_open_the_lora_alone(
    base: Path, subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As someone pastes them, in the run's folder with the base model beside it."""
    config = Config.build({**SMALL, "model": str(base), "method": "lora", "use_ema": False})
    run = dreambooth(subject, config, tmp_path / "run")
    (run.root / base.name).rename(run.root / "whole")
    shutil.copytree(base, run.root / base.name)
    pages = [
        html.unescape(code)
        for code in re.findall(r"<pre><code>(.*?)</code>", run.report.read_text(encoding="utf-8"), re.DOTALL)
    ]
    (lora,) = [code for code in pages if "load_lora_weights" in code]
    monkeypatch.chdir(run.root)
    opened_here: dict[str, Any] = {}
    exec(compile(lora, "snippet", "exec"), opened_here)
    alone, whole = opened_here["pipeline"], opened(run.root / "whole")
    for pipeline in (alone, whole):
        pipeline.set_progress_bar_config(disable=True)
    told = {"prompt": run.subject.prompt, "num_inference_steps": 2, "output_type": "np"}
    drawn = [p(**told, generator=torch.Generator().manual_seed(0)).images for p in (alone, whole)]
    assert abs(drawn[0] - drawn[1]).max() < 1e-4
    plain = opened(base)(**told, generator=torch.Generator().manual_seed(0)).images
    assert abs(drawn[0] - plain).max() > 1e-3


def test_without_the_prior_there_are_no_class_images(base: Path, subject: Subject, tmp_path: Path) -> None:
    config = Config.build({**SMALL, "model": str(base), "with_prior_preservation": False, "identifier": "sks"})
    run = dreambooth(subject, config, tmp_path / "run")
    assert run.subject.name == "sks dog"
    assert not (run.root / "prior.json").exists()
    assert "prior_loss" not in run.losses.read_text()


def test_the_five_lines_of_the_readme(
    base: Path, photos_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    example = (ROOT / "examples" / "five_lines.py").read_text(encoding="utf-8")
    lines = example[example.index("from dreambooth") :]
    assert lines in (ROOT / "README.md").read_text(encoding="utf-8")
    small = {**SMALL, "model": str(base)}
    monkeypatch.setattr("dreambooth.config.settings.preset_of", lambda *_: small)  # the same lines, small
    monkeypatch.chdir(tmp_path)
    shutil.copytree(photos_dir, tmp_path / "my-dog")
    here = lines.replace("stable-diffusion-v1-5/stable-diffusion-v1-5", str(base)).replace(', memory="12"', "")
    exec(compile(here, "five_lines.py", "exec"), {})
    assert capsys.readouterr().out == "runs/my-dog/report.html runs/my-dog/model\n"
    assert len(list(Path("runs/my-dog/samples/own").iterdir())) == 2


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")  # of cells
def test_the_cells_of_the_notebook_run(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    notebook = json.loads((ROOT / "examples" / "teapot.ipynb").read_text(encoding="utf-8"))
    cells = [cell["source"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert notebook["nbformat"] == 4 and all(not cell.get("outputs") for cell in notebook["cells"])
    small = {**SMALL, "model": str(base)}
    monkeypatch.setattr("dreambooth.config.settings.preset_of", lambda *_: small)  # the same cells, small
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for cell in cells:
        exec(
            compile(cell.replace("STEPS = 500", "STEPS = 2").replace('model="toybox", ', ""), "teapot.ipynb", "exec"),
            names,
        )
    assert "runs/notebook/run/report.html" in capsys.readouterr().out
    assert len(list(Path("runs/notebook/run/samples/own").iterdir())) == 4


def test_a_stopped_run_goes_on_to_the_same_weights(base: Path, photos_dir: Path, tmp_path: Path) -> None:
    config = Config.build({**SMALL, "model": str(base), "max_train_steps": 20, "validation_steps": 100})
    (tmp_path / "settings.toml").write_text(config.to_toml(), encoding="utf-8")
    words = ["run", str(photos_dir), "--class-noun", "dog", "--config", str(tmp_path / "settings.toml")]
    command = [*words, "--output-dir", str(tmp_path / "stopped")]
    stopped = Run(tmp_path / "stopped")
    process = subprocess.Popen([sys.executable, "-m", "dreambooth", *command], stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not stopped.losses.exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    printed = process.communicate()[1]
    assert process.returncode == 130, printed
    assert "same command again" in printed and "Traceback" not in printed
    assert not (stopped.root / ".lock").exists() and not stopped.model.exists()
    assert 0 < len(stopped.losses.read_text().splitlines()) < 20
    for folder in ("stopped", "whole"):
        assert cli.main([*words, "--output-dir", str(tmp_path / folder)], __version__) == 0
    assert weights(stopped.model) == weights(Run(tmp_path / "whole").model)


def test_what_cannot_work_is_said_before_anything_slow(subject: Subject, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_text("no picture")
    broken = Subject(photos=(tmp_path / "broken.jpg",), class_noun="dog")
    with pytest.raises(PhotoError, match=r"broken\.jpg"):
        dreambooth(broken, Config.build({"model": "no/such"}), tmp_path / "run")
    for noun in ("", "  ", "a {}"):
        with pytest.raises(PromptError, match="no class noun"):
            check(Subject(photos=subject.photos, class_noun=noun), Config())
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="mixed_precision"):
            check(subject, Config.build({"mixed_precision": "fp16"}))
    assert not (tmp_path / "run").exists()


def test_a_prompt_that_names_no_subject_is_reported(subject: Subject, caplog: pytest.LogCaptureFixture) -> None:
    settings = {"prompts": ("a {} on sand", "a sks dog on sand", "a dog on sand"), "identifier": "sks"}
    check(subject, Config.build(settings))
    (warning,) = [message for message in caplog.messages if "photos have faults" not in message]
    assert "'a dog on sand' does not name your subject" in warning


def test_settings_that_do_nothing_are_told_once_wherever_they_come_from(
    base: Path,
    subject: Subject,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = ["--early-stopping does nothing without --probe", "--early-stopping-patience does nothing without --probe"]

    def idle() -> list[str]:
        said = [*caplog.messages, *capsys.readouterr().err.splitlines()]
        caplog.clear()
        return [f"--{line.partition('--')[2]}" for line in said if "does nothing" in line]

    check(subject, Config.build(probe=False))
    assert idle() == []
    check(subject, Config.build(probe=False, early_stopping=True, early_stopping_patience=5))
    assert idle() == told
    check(subject, Config.build(early_stopping_patience=5))
    assert idle() == ["--early-stopping-patience does nothing without --early-stopping"]
    (tmp_path / "settings.toml").write_text("[probe]\nprobe = false\nearly_stopping = true\n")
    words = ["run", str(subject.photos[0].parent), "--class-noun", "dog", "--model", str(base), "--plan"]
    words += ["--config", str(tmp_path / "settings.toml")]
    for flags in ([], ["--early-stopping"]):
        assert cli.main([*words, *flags], __version__) == 0
        assert idle() == told[:1]
    assert cli.main([*words, "--early-stopping-patience", "3"], __version__) == 0
    assert sorted(idle()) == told, "what is the usual value, too, where it was asked for"


def test_a_run_without_a_model_says_how_to_make_one(subject: Subject, tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", subject, Config())
    with pytest.raises(RunError, match="dreambooth continue"):
        generate(run, ["a {}"])


def test_a_finished_fine_tuning_is_not_repeated(run: Run) -> None:
    before = weights(run.model)
    assert personalise(run) == run.model
    assert weights(run.model) == before


def test_photos_that_are_no_toys_are_reported_before_the_embedded_model_is_opened(
    photos_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    subject = Subject(photos=photos_in(photos_dir), class_noun="dog")
    run = Run.create(tmp_path / "run", subject, Config.build({}))
    check_world(run)
    (warning,) = caplog.messages
    assert "do not look like toys" in warning and "--model" in warning
    assert WORLD_FIT.read(run.root).says == warning
    assert warning in write_report(run).read_text(encoding="utf-8").replace("These photos", "these photos")


@pytest.mark.skipif(
    not (files("dreambooth.toybox") / "weights" / "model_index.json").is_file(), reason="the weights are not made yet"
)
def test_the_embedded_model_runs(tmp_path: Path) -> None:
    words = ["--class-noun", "dog", "--output-dir", str(tmp_path / "run"), "--max-train-steps", "2"]
    small = ["--num-class-images", "1", "--class-num-inference-steps", "1", "--num-inference-steps", "1"]
    photos = ["toybox", "photos", "--class-noun", "dog", "--seed", "7", "--count", "2", "--out", str(tmp_path / "dog")]
    assert cli.main(photos, __version__) == 0
    assert cli.main(["run", str(tmp_path / "dog"), *words, *small, "--num-images-per-prompt", "1"], __version__) == 0
    run = Run(tmp_path / "run")
    assert run.report.is_file() and not WORLD_FIT.read(run.root).foreign
    rows = SAMPLES.read(run.root).rows
    assert {"dino", "clip_t"} <= rows["untuned"].numbers.keys() & rows["tuned"].numbers.keys()
