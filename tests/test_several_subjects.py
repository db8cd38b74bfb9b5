"""Two subjects in one model: turns, names, class images, measuring and resuming, on a small random pipeline."""

import re
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import torch
from huggingface_hub import ModelCard

from dreambooth import __version__, cli
from dreambooth.config import Config
from dreambooth.data.dataset import LatentDataset
from dreambooth.data.photos import photos_in
from dreambooth.data.turns import Turns, in_turns
from dreambooth.errors import ConfigError, PhotoError, PromptError, RunError
from dreambooth.generation.prompts import own_prompts, warn_of_nameless
from dreambooth.generation.samples import read_samples
from dreambooth.personal import generate
from dreambooth.recipe import dreambooth, report, resume
from dreambooth.report.page import write_report
from dreambooth.report.write import results
from dreambooth.run import Run
from dreambooth.run.companions import companions, create, each
from dreambooth.run.extend import put_away
from dreambooth.run.records import CHOSEN, CLASS_IMAGES, RECOMMENDATION, SAMPLES, SCORES
from dreambooth.subject import Subject
from small_judges import clip_parts, dino_parts, save
from tiny import SHORT, tiny_pipeline

SMALL: dict[str, Any] = {
    **SHORT,
    "prompts": ("a {} in the snow",),
    "probe_images_per_prompt": 1,
    "probe_class_images": 2,
    "probe_num_inference_steps": 1,
}


@pytest.fixture(scope="module")
def subjects(photos_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Subject]:
    """Two of the photos are a dog's, the others a cat's."""
    folders = [tmp_path_factory.mktemp(name) for name in ("rex", "mia")]
    for at, photo in enumerate(photos_in(photos_dir)):
        shutil.copy(photo, folders[at % 2])
    return [Subject(photos=photos_in(f), class_noun=noun) for f, noun in zip(folders, ("dog", "cat"), strict=True)]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    root = tmp_path_factory.mktemp("models")
    tiny_pipeline().save_pretrained(root / "base")
    save(root / "dino", dino_parts())
    save(root / "clip", clip_parts())
    models = {"model": "base", "dino_model": "dino", "clip_model": "clip"}
    return Config.build({**SMALL, **{name: str(root / folder) for name, folder in models.items()}})


@pytest.fixture(scope="module")
def run(subjects: list[Subject], config: Config, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run of both; only to be read."""
    return dreambooth(subjects[0], config, tmp_path_factory.mktemp("runs") / "both", subjects[1:])


def rows(first: int, photos: int, class_images: int, name: str) -> LatentDataset:
    total = photos + class_images
    is_prior = torch.arange(total) >= photos
    return LatentDataset(
        mean=torch.arange(first, first + total).float().reshape(total, 1, 1, 1),
        std=torch.zeros(total, 1, 1, 1),
        prompts=tuple(f"a {'' if prior else 'zwx '}{name}" for prior in is_prior.tolist()),
        is_prior=is_prior,
        names=tuple(f"{name} {at}" for at in range(total)),
    )


def test_each_subject_sees_what_it_would_see_alone_at_every_other_batch() -> None:
    dog, cat = rows(0, 3, 4, "dog"), rows(7, 2, 2, "cat")
    both = in_turns([dog, cat])
    for number in range(8):
        batch, alone = both.batch(5, number, 2, 1), (dog, cat)[number % 2].batch(5, number // 2, 2, 1)
        assert torch.equal(batch.mean, alone.mean) and batch.prompts == alone.prompts
        assert batch.mean.flatten().tolist() == [float(row) for row in batch.rows], "rows are those of all"
        assert [both.prompts[row] for row in batch.rows] == list(batch.prompts)
    assert in_turns([dog]) is dog
    masked = replace(dog, weight=torch.ones(7, 1, 1, 1))
    assert Turns((masked, dog)).weight is None
    weight = Turns((masked, masked)).weight
    assert weight is not None and len(weight) == 14


def test_one_model_has_both_and_each_is_named_drawn_and_scored(run: Run) -> None:
    (mia,) = companions(run)
    dog, cat = run.subject, mia.subject
    assert mia.root == run.root / "subjects" / next(iter((run.root / "subjects").iterdir())).name
    assert {dog.class_noun, cat.class_noun} == {"dog", "cat"} and dog.identifier != cat.identifier
    assert mia.model == run.model and run.is_personalised and not (mia.root / "model").exists()
    assert [CLASS_IMAGES.read(its.root).prompt for its in (run, mia)] == ["a dog", "a cat"]
    for its in (run, mia):
        assert [probed.step for probed in SCORES.read(its.root)] == ["real", 0, 2, 4]
        assert {"real", "untuned", "tuned"} <= set(SAMPLES.read(its.root).rows)
        assert its.subject.name in its.report.read_text(encoding="utf-8")
    assert RECOMMENDATION.read(run.root).step == RECOMMENDATION.read(mia.root).step
    prompts = Counter(sample.prompt for sample in read_samples(run.samples / "together"))
    assert f"{dog.prompt} next to {cat.prompt}" in prompts
    assert {sample.prompt for sample in read_samples(mia.samples / "after")} >= {f"a {cat.name} in the snow"}


def test_each_stage_is_of_both(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = Run(shutil.copytree(run.root, tmp_path / "both"))
    for its in each(both):
        shutil.rmtree(its.samples / "after")
    assert cli.main(["generate", str(both.root)], __version__) == 0
    for its in each(both):
        before = read_samples(run.root / its.root.relative_to(both.root) / "samples" / "after")
        assert [sample.path.name for sample in read_samples(its.samples / "after")] == [s.path.name for s in before]
    capsys.readouterr()
    assert cli.main(["identifier", str(both.root)], __version__) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [its.subject.name for its in each(both)]


def test_the_page_of_the_other_says_where_the_model_is_and_who_chose_the_step(run: Run, tmp_path: Path) -> None:
    both = Run(shutil.copytree(run.root, tmp_path / "both"))
    first, other = each(both)
    assert "in the folder <code>model</code> beside this page" in write_report(first).read_text()
    assert "two folders above this page" in write_report(other).read_text()
    CHOSEN.write(both.root, RECOMMENDATION.read(both.root).step)
    assert all("is the one that was chosen by hand" in write_report(its).read_text() for its in each(both))


def test_the_card_of_the_model_is_of_both(run: Run, tmp_path: Path) -> None:
    both = Run(shutil.copytree(run.root, tmp_path / "both"))
    (both.model / "README.md").unlink()
    report(both)
    card = ModelCard.load(both.model / "README.md")
    dog, cat = (its.subject for its in each(both))
    assert card.data.to_dict()["instance_prompt"] == f"{dog.prompt}, {cat.prompt}"
    assert f"# {dog.name}, {cat.name}\n" in card.text and "on photos of 2 subjects." in card.text
    for its in (dog, cat):
        photos = "2 photos" if len(its.photos) == 2 else "1 photo"
        assert f"| {its.name} | {its.prompt} | {photos} of one {its.class_noun} |" in card.text
    assert f"| number | {dog.name} | {cat.name} |\n|---|---|---|\n| recommended step |" in card.text
    assert "one particular dog and one particular cat: share it only where their owners agree" in card.text
    drawn = [example["text"] for example in card.data.to_dict()["widget"]]
    assert any(dog.name in prompt for prompt in drawn) and any(cat.name in prompt for prompt in drawn)
    assert all((both.model / example["output"]["url"]).is_file() for example in card.data.to_dict()["widget"])


def test_the_pages_of_both_lead_to_each_other_and_the_first_shows_both_in_one_picture(run: Run, tmp_path: Path) -> None:
    both = Run(shutil.copytree(run.root, tmp_path / "both"))
    first, other = each(both)
    moved = shutil.move(other.root, other.root.with_name("2-mía"))  # a folder of photos may be called so
    (other,) = companions(both)
    pages = {its.root: write_report(its).read_text(encoding="utf-8") for its in (first, other)}
    leads = [re.findall(r'<a href="([^"#]+report\.html)">(.*?)</a>', page) for page in pages.values()]
    assert leads == [
        [("subjects/2-m%C3%ADa/report.html", other.subject.name)],
        [("../../report.html", first.subject.name)],
    ]
    assert other.root == Path(moved) and (other.root / "../../report.html").resolve() == first.report.resolve()
    page, names = pages[first.root], f"{first.subject.prompt} next to {other.subject.prompt}"
    section = page.partition('<section id="together">')[2].partition("</section>")[0]
    samples = read_samples(first.samples / "together")
    assert section.count("data:image/webp") == len(samples) >= 2
    assert all(f"<h3>{prompt}</h3>" in section for prompt in (names, f"{names} on the beach"))
    assert 'href="#together"' in page and 'id="together"' not in pages[other.root]
    assert "#together" not in pages[other.root]
    put_away(both)
    assert not read_samples(first.samples / "together"), "the next model draws its own"


def test_the_results_have_the_page_of_each(run: Run) -> None:
    (mia,) = companions(run)
    lines = results(run).splitlines()
    assert lines[:2] == [f"report         {run.report}", f"report         {mia.report}"]
    assert lines[-1] == f"model          {run.model}" and all(Path(line[15:]).exists() for line in lines)


def test_a_prompt_may_name_any_of_them(run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    both = Run(shutil.copytree(run.root, tmp_path / "both"))
    dog, cat = (its.subject for its in each(both))
    generate(both, [f"a {cat.name} on the beach", f"a {dog.name} on sand"], count=1)
    assert "does not name" not in caplog.text
    warn_of_nameless(own_prompts(["a cow on sand"]), (dog, cat))
    assert "the prompt 'a cow on sand' does not name any of your subjects" in caplog.text


def test_a_run_of_both_that_is_cut_short_ends_the_same(run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.root, tmp_path / "again")
    again = Run.open(tmp_path / "again")
    (mia,), (its,) = companions(run), companions(again)
    shutil.rmtree(again.model)
    shutil.rmtree(again.checkpoints / "checkpoint-4")
    shutil.rmtree(its.samples / "after")
    (its.root / SAMPLES.name).unlink()
    resume(again)
    for mine, theirs in ((again, run), (its, mia)):
        scores = [[replace(probed, seconds=0) for probed in SCORES.read(one.root)] for one in (mine, theirs)]
        assert scores[0] == scores[1]
    weights = [sorted(one.model.rglob("*.safetensors")) for one in (again, run)]
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(*weights, strict=True))
    assert SAMPLES.read(its.root).rows.keys() == SAMPLES.read(mia.root).rows.keys()


def test_other_subjects_than_a_run_has_are_refused(run: Run, subjects: list[Subject], config: Config) -> None:
    with pytest.raises(RunError, match="holds a run of 2 subjects, and 1 are given"):
        create(run.root, subjects[:1], config)
    with pytest.raises(RunError, match="class_noun: 'dog', was 'cat'"):
        create(run.root, [subjects[0], replace(subjects[1], class_noun="dog")], config)
    create(run.root, subjects, config)


def test_a_command_for_one_waits_for_who_opens_a_model_for_both(
    subjects: list[Subject], config: Config, tmp_path: Path
) -> None:
    both = create(tmp_path / "run", subjects, config)
    with both.lock(), pytest.raises(RunError, match="is in use by process"):
        create(both.root, subjects[:1], config)
    assert len(each(both)) == 2
    assert len(each(create(both.root, subjects[:1], config))) == 1


def test_what_learns_one_word_or_says_one_name_is_refused(subjects: list[Subject], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="textual_inversion learns one subject"):
        dreambooth(subjects[0], Config.build(method="textual_inversion"), tmp_path / "run", subjects[1:])
    with pytest.raises(PhotoError, match="is given for two subjects"):
        dreambooth(subjects[0], Config(), tmp_path / "run", [replace(subjects[0], class_noun="cat")])
    named = [subject.named("zwx") for subject in subjects]
    tiny_pipeline(size=16).save_pretrained(tmp_path / "base")
    settings = {"model": str(tmp_path / "base"), "probe": False}
    for other in (named[1], subjects[1].named("ZWX")):  # IF and Sana read small letters alone
        with pytest.raises(PromptError, match=f"two subjects are called .*{other.identifier!r}: give each"):
            dreambooth(named[0], Config.build(settings), tmp_path / f"run {other.identifier}", [other])


def test_the_command_line_takes_an_identifier_for_each_folder(
    subjects: list[Subject], config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rex, mia = (str(subject.photos[0].parent) for subject in subjects)
    words = ["run", rex, "--class-noun", "dog", "--identifier", "zwx", mia, "--class-noun", "cat"]
    settings = {**SMALL, "model": config.base.model, "probe": False, "max_train_steps": 2, "prompts": ["a {}"]}
    (tmp_path / "settings.toml").write_text(tomli_w.dumps({**settings, "identifier": "abc"}), encoding="utf-8")
    words += ["--config", str(tmp_path / "settings.toml"), "--output-dir", str(tmp_path / "run")]
    assert cli.main(words, __version__) == 2
    assert "--identifier: 1 for 2 folders of photos. Give it once for each" in capsys.readouterr().err
    for other, problem in (("ZWX", "two subjects are called 'zwx' and 'ZWX'"), ("two words", "must be one word")):
        for plan in (["--plan"], []):
            assert cli.main([*words, "--identifier", other, *plan], __version__) == 2
            assert problem in capsys.readouterr().err and not (tmp_path / "run").exists()
    assert cli.main([*words, "--identifier", "grb"], __version__) == 0
    run = Run.open(tmp_path / "run")
    assert capsys.readouterr().out == f"{results(run)}\n"
    names = [its.subject.name for its in (run, *companions(run))]
    assert names == ["zwx dog", "grb cat"] and run.config.naming.identifier is None
    assert cli.main([*words, "--identifier", "grb"], __version__) == 0, "the same command is the same run"
    assert cli.main([*words, "--identifier", "none"], __version__) == 0, "none asks for whichever it has"
    assert cli.main([*words, "--identifier", "kqp"], __version__) == 2
    assert "identifier: 'kqp', was 'grb'" in capsys.readouterr().err
    alone = ["run", rex, "--class-noun", "dog", "--identifier", "zwx", "--identifier", "grb"]
    assert cli.main(alone, __version__) == 2
    assert "--identifier: 2 for one folder of photos" in capsys.readouterr().err


def test_one_identifier_for_several_subjects_is_refused(
    subjects: list[Subject], config: Config, tmp_path: Path
) -> None:
    naming = config.naming.model_copy(update={"identifier": "zwx"})
    one = config.model_copy(update={"naming": naming})
    with pytest.raises(ConfigError, match="identifier: 'zwx' can name one subject, and 2 are given: leave it out"):
        dreambooth(subjects[0], one, tmp_path / "run", subjects[1:])
    assert not (tmp_path / "run").exists()


def test_the_command_line_takes_a_noun_for_each_folder(
    subjects: list[Subject], config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rex, mia = (str(subject.photos[0].parent) for subject in subjects)
    assert cli.main(["run", rex, "--class-noun", "dog", mia], __version__) == 2
    assert "--class-noun: 1 for 2 folders of photos" in capsys.readouterr().err
    assert cli.main(["run", rex, "--class-noun", "dog", f"{mia}-gone"], __version__) == 2
    assert "is not expected here" in capsys.readouterr().err
    words = ["run", rex, "--class-noun", "dog", mia, "--class-noun", "cat", "--output-dir", str(tmp_path / "run")]
    words += ["--plan", "--model", config.base.model, "--no-probe", "--memory", "12"]
    assert cli.main(words, __version__) == 2
    assert "it must be 'no'; --memory 12 is for such GPUs: leave it out." in capsys.readouterr().err
    assert cli.main([*words, "--mixed-precision", "no"], __version__) == 0
    assert "fits into a card of 12 GB" in capsys.readouterr().out
