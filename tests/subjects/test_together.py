"""One model of all subjects of a fleet's file: what each has of its own, what is refused, and the run it makes."""

import re
import shutil
from pathlib import Path

import pytest

from dreambooth import __version__, cli
from dreambooth.errors import ConfigError
from dreambooth.fleet import read_manifest
from dreambooth.generation.samples import read_samples
from dreambooth.run import Run
from dreambooth.run.companions import companions
from dreambooth.run.records import CLASS_IMAGES, MODEL
from dreambooth.subjects.together import read_together
from tiny import tiny_pipeline

SHARED = """max_train_steps = 2
probe = false
[prior]
num_class_images = 2
class_num_inference_steps = 1
[generation]
num_inference_steps = 1
num_images_per_prompt = 1
prompts = ["a {} in the snow"]
"""
REX = '[[subject]]\nphotos = "photos/rex"\nclass_noun = "dog"\nidentifier = "sks"\n'
MIA = '[[subject]]\nname = "mia"\nphotos = "photos/cat"\nclass_noun = "cat"\n'


@pytest.fixture
def place(tmp_path: Path, photos_dir: Path) -> Path:
    """Photos of two subjects."""
    for at, name in enumerate(("rex", "cat")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        shutil.copy(photos_dir / f"{at}.png", tmp_path / "photos" / name)
    return tmp_path


def written(place: Path, *tables: str, shared: str = SHARED) -> Path:
    (place / "subjects.toml").write_text("\n".join([shared, *tables]), encoding="utf-8")
    return place / "subjects.toml"


def test_the_file_of_a_fleet_makes_one_run_of_all(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_pipeline().save_pretrained(place / "model")
    monkeypatch.chdir(place)
    words = ["run", str(written(place, REX, MIA)), "--model", str(place / "model")]
    assert cli.main(words, __version__) == 0
    run = Run.open(place / "runs" / "rex-mia")
    (mia,) = companions(run)
    assert run.config.training.max_train_steps == 2 and not run.config.probe.probe
    assert run.subject.name == "sks dog" and mia.subject.class_noun == "cat"
    assert mia.subject.identifier not in (None, "sks") and run.config.naming.identifier is None
    assert [CLASS_IMAGES.read(its.root).prompt for its in (run, mia)] == ["a dog", "a cat"]
    prompts = {sample.prompt for sample in read_samples(run.samples / "together")}
    assert f"a sks dog next to a {mia.subject.name}" in prompts
    begun = (run.root / MODEL.name).stat().st_mtime_ns
    assert cli.main(words, __version__) == 0, "the same file is the same run"
    assert (run.root / MODEL.name).stat().st_mtime_ns == begun
    written(place, REX.replace("sks", "abc"), MIA)
    assert cli.main(words, __version__) == 2, "another name is another run"


def test_a_fleet_reads_the_same_file(place: Path) -> None:
    file = written(place, REX, MIA)
    names, subjects, config = read_together(file, {"seed": "3"})
    members = read_manifest(file, {"seed": "3"})
    assert names == [its.name for its in members] == ["rex", "mia"] and config.seed == 3
    assert [its.photos for its in subjects] == [its.subject.photos for its in members]
    assert [its.identifier for its in subjects] == [its.config.naming.identifier for its in members] == ["sks", None]


def test_an_identifier_that_is_given_as_a_flag_goes_before_that_of_a_single_subject(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in a fleet; over one that is for all subjects of the file, a subject's own goes."""
    tiny_pipeline().save_pretrained(place / "model")
    monkeypatch.chdir(place)
    words = ["--model", str(place / "model"), "--max-train-steps", "1"]
    file = written(place, REX, shared='identifier = "abc"\n' + SHARED)
    for given, identifier in (([], "sks"), (["--identifier", "zwx"], "zwx")):
        _, _, config = read_together(file, {"identifier": identifier} if given else {})
        (member,) = read_manifest(file, {"identifier": identifier} if given else {})
        assert member.config.naming.identifier == identifier and config.naming.identifier in ("abc", "zwx")
        out = place / f"run-{identifier}"
        assert cli.main(["run", str(file), *words, *given, "--output-dir", str(out)], __version__) == 0
        assert Run.open(out).subject.identifier == identifier
    capsys.readouterr()
    assert cli.main(["run", str(written(place, REX, MIA)), *words, "--identifier", "zwx"], __version__) == 2
    assert "identifier: each subject has its own: write it into its [[subject]]" in capsys.readouterr().err


def test_every_mistake_is_told_at_once(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shared = 'identifier = "abc"\n' + SHARED
    odd = '[[subject]]\nphotos = "photos/gone"\nclass_noun = "a dog"\nidentifier = 3\nmax_train_step = 2\n'
    file = written(place, REX, MIA + 'identifier = "SKS"\nlearning_rate = 1e-4\n', odd, shared=shared)
    assert cli.main(["run", str(file), str(place / "photos"), "--class-noun", "dog"], __version__) == 2
    printed = capsys.readouterr().err
    first, second, third = (at for at, line in enumerate(file.read_text().splitlines(), 1) if line == "[[subject]]")
    expected = [
        f"{file}: {place / 'photos'} stands beside it: write a [[subject]] for it",
        f"{file}: it has the class nouns: leave out --class-noun",
        f"{file}: identifier: each subject has its own: write it into its [[subject]]",
        f"{file}, line {second}: learning_rate: one model has one training: write it before the first [[subject]], or",
        f'{file}, line {second}: identifier: "SKS" is the identifier of the subject at {file}, line {first} too',
        f"{file}, line {third}: photos: {place / 'photos' / 'gone'}: there is no such folder",
        f"{file}, line {third}: class_noun: the class noun 'a dog' begins with \"a\"",
        f"{file}, line {third}: identifier: must be words in quotes, got 3",
        f"{file}, line {third}: max_train_step: there is no such setting. Did you mean max_train_steps?",
    ]
    for sentence in expected:
        assert sentence in printed, printed
    assert len(re.findall(r"^  - ", printed, re.MULTILINE)) == len(expected) and "Traceback" not in printed


def test_a_method_of_one_word_is_refused_for_several(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(place, REX.replace('identifier = "sks"\n', ""), MIA)
    assert cli.main(["run", str(file), "--method", "textual_inversion", "--no-probe", "--plan"], __version__) == 2
    assert "textual_inversion learns one subject: give dreambooth or lora for several" in capsys.readouterr().err


def test_a_file_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_together(tmp_path / "gone.toml", {})
