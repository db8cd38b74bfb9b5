"""Finished pictures are scored: a run's samples from untuned to tuned, any folder against any photos."""

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dreambooth import __version__, cli
from dreambooth.config import Config
from dreambooth.data.photos import photos_in
from dreambooth.evaluation import Judges, load_judges
from dreambooth.generation.samples import read_samples, save_sample, text_of
from dreambooth.probe.measuring import Reference
from dreambooth.probe.scoring import score_run
from dreambooth.recipe import dreambooth
from dreambooth.report.pictures import on_request
from dreambooth.run import Run
from dreambooth.run.measured import read_measured
from dreambooth.run.records import DIAGNOSIS, SAMPLES, Diagnosis, SampleScores
from dreambooth.subject import Subject
from small_judges import clip_parts, dino_parts, pictures, save
from tiny import tiny_pipeline

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers, dpmsolver++


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small model "base" and small judges."""
    root = tmp_path_factory.mktemp("models")
    tiny_pipeline(size=16).save_pretrained(root / "base")
    save(root / "dino", dino_parts())
    save(root / "clip", clip_parts())
    return root


@pytest.fixture(scope="module")
def judge_flags(folders: Path) -> list[str]:
    return ["--dino-model", str(folders / "dino"), "--clip-model", str(folders / "clip")]


@pytest.fixture(scope="module")
def run(folders: Path, photos_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run; only to be read."""
    settings = {
        **{"model": str(folders / "base"), "dino_model": str(folders / "dino"), "clip_model": str(folders / "clip")},
        **{"with_prior_preservation": False, "max_train_steps": 2, "learning_rate": 1e-2, "validation_steps": 2},
        **{"probe_images_per_prompt": 1, "probe_class_images": 2, "probe_num_inference_steps": 1},
        **{"num_inference_steps": 1, "num_images_per_prompt": 2, "identifier": "sks"},
    }
    subject = Subject(photos=photos_in(photos_dir), class_noun="dog")
    return dreambooth(subject, Config.build(settings), tmp_path_factory.mktemp("runs") / "dog")


@pytest.fixture(scope="module")
def judges(run: Run) -> Judges:
    return load_judges(run.config.evaluation, run.config.world)


@pytest.fixture
def drawn(tmp_path: Path) -> Iterator[Path]:
    """A folder with three pictures by an unknown tool."""
    folder = tmp_path / "drawn"
    folder.mkdir()
    for at, picture in enumerate(pictures(3)):
        picture.save(folder / f"{at}.png")
    yield folder


def evaluate(*words: str) -> int:
    """`dreambooth evaluate WORDS`: its exit status."""
    return cli.main(["evaluate", *words], __version__)


def test_a_run_scores_its_final_samples(run: Run, photos_dir: Path) -> None:
    scored = SAMPLES.read(run.root)
    assert scored.rows.keys() == {"real", "untuned", "tuned"} and scored.photos == 4
    untuned, tuned = scored.rows["untuned"], scored.rows["tuned"]
    assert untuned.pictures == tuned.pictures == 2 * len(tuned.prompts) > 2
    assert untuned.prompts.keys() == tuned.prompts.keys()
    assert {"dino", "clip_i", "clip_t", "pres", "div", "nearest_photo"} <= tuned.numbers.keys()
    at, start, end = (scored.rows[row].numbers["dino"] for row in ("tuned", "untuned", "real"))
    assert scored.ways["dino"] == (pytest.approx((at - start) / (end - start)) if end - start >= 0.1 else None)
    assert scored.kept["clip_t"] == pytest.approx(tuned.numbers["clip_t"] / untuned.numbers["clip_t"])
    assert {"subject_div", "class_div"} <= scored.kept.keys()


def test_the_untuned_samples_are_of_the_class_noun_alone_from_the_same_seeds(run: Run) -> None:
    untuned, after = (read_samples(run.samples / folder) for folder in ("untuned", "after"))
    assert {sample.kind for sample in untuned} == {"class"}
    assert all(sample.prompt == sample.template.replace("{}", "dog") for sample in untuned)
    asked, drawn = ({(one.template, one.seed) for one in those} for those in (after, untuned))
    assert asked - drawn == {("a {}", one.seed) for one in after}  # that one is among the samples before


def test_the_untuned_row_is_of_the_same_prompts_as_the_tuned_one(run: Run, judges: Judges, tmp_path: Path) -> None:
    """Of a run with prompts of the user's own, which ask for the subject nowhere alone."""
    its = Run(shutil.copytree(run.root, tmp_path / "run"))
    for sample in read_samples(its.samples / "after"):
        if sample.template == "a {}" and sample.kind != "class":
            sample.path.unlink()
    rows = score_run(its, Reference.of(judges, its.subject, its.config.world)).rows
    assert rows["untuned"].prompts.keys() == rows["tuned"].prompts.keys() and rows["untuned"].pres is not None


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("a {} at night", "a dog at night"),
        ("a sks dog at night", "a dog at night"),
        ("my sks at night", "my dog at night"),
        ("a skswag on sks", "a skswag on dog"),
    ],
)
def test_a_subject_is_named_by_its_identifier_alone_too(template: str, said: str) -> None:
    assert Subject(photos=(), class_noun="dog", identifier="sks").unnamed(template) == said


def test_places_are_told_apart_from_other_prompts(run: Run) -> None:
    judges = load_judges(run.config.evaluation, run.config.world)
    scored = score_run(run, Reference.of(judges, run.subject, run.config.world))
    kinds = {sample.template: sample.kind for sample in read_samples(run.samples / "after")}
    assert set(scored.places) == {template for template, kind in kinds.items() if kind == "recontextualization"}
    prompts = scored.rows["tuned"].prompts
    assert {template for template, its in prompts.items() if its.elsewhere is not None} == set(scored.places)
    assert "div" not in {check.metric for check in scored.checked}


def test_the_report_shows_the_samples_beside_the_probe(run: Run) -> None:
    page, rows_of = run.report.read_text(encoding="utf-8"), SAMPLES.read(run.root).rows
    assert "samples, untuned" in page
    rows = [re.findall("<td.*?>(.*?)</td>", row) for row in re.findall("<tr>(.*?)</tr>", page)]
    (following,) = [row for row in rows if row[:1] == ["CLIP-T"] and len(row) == 8]
    assert following[5:7] == [f"{rows_of[row].clip_t:.3f}" for row in ("untuned", "tuned")]


def test_what_shows_in_the_samples_alone_is_a_finding(run: Run, tmp_path: Path) -> None:
    copy = Run(Path(shutil.copytree(run.root, tmp_path / "run")))
    scored = SAMPLES.read(copy.root)
    lost = [replace(its, threshold=its.value + (its.failure == "variety lost")) for its in scored.checked]
    SAMPLES.write(copy.root, replace(scored, checked=tuple(lost)))
    DIAGNOSIS.write(copy.root, Diagnosis(findings=(), checked=()))
    findings = read_measured(copy).findings
    assert findings and {finding.failure for finding in findings} == {"variety lost"}
    assert all(finding.says.startswith("In the final samples, not in the probe's:") for finding in findings)


def test_the_samples_are_scored_once(run: Run, photos_dir: Path, tmp_path: Path) -> None:
    copy = Run(Path(shutil.copytree(run.root, tmp_path / "run")))
    other = SampleScores(judges={}, photos=0, rows={})
    SAMPLES.write(copy.root, other)
    dreambooth(run.subject, run.config, copy.root)
    assert SAMPLES.read(copy.root) == other


def test_evaluate_takes_a_run(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "numbers.json"
    assert evaluate(str(run.root), "--out", str(out)) == 0
    printed = capsys.readouterr().out
    assert out.read_text() == (run.root / SAMPLES.name).read_text()
    assert [line.split()[0] for line in printed.splitlines()[1:5]] == ["photos", "untuned", "tuned", "progress,"]
    assert "judges: dino is dino#" in printed and "0% is the untuned model's samples" in printed


def test_evaluate_takes_other_photos_for_a_run(run: Run, drawn: Path, tmp_path: Path) -> None:
    out = tmp_path / "numbers.json"
    assert evaluate(str(run.root), "--photos", str(drawn), "--out", str(out)) == 0
    own, other = json.loads((run.root / SAMPLES.name).read_text()), json.loads(out.read_text())
    assert other["photos"] == 3 and other["rows"]["tuned"]["dino"] != own["rows"]["tuned"]["dino"]
    assert other["rows"]["tuned"]["clip_t"] == pytest.approx(own["rows"]["tuned"]["clip_t"])


def test_evaluate_takes_a_folder_of_any_tool(
    drawn: Path, photos_dir: Path, judge_flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(str(drawn), "--photos", str(photos_dir), *judge_flags) == 0
    row = json.loads((drawn / "evaluation.json").read_text())["rows"]["pictures"]
    assert row["pictures"] == 3 and {"dino", "clip_i", "nearest_photo"} <= row.keys()
    assert "clip_t" not in row and "div" not in row  # nobody said what was asked for
    printed = capsys.readouterr().out
    assert "CLIP-T" not in printed and str(drawn / "evaluation.json") in printed


def test_one_prompt_is_that_of_all_pictures_and_gives_clip_t_and_div(
    drawn: Path, photos_dir: Path, judge_flags: list[str], judges: Judges
) -> None:
    words = ["--photos", str(photos_dir), "--class-noun", "dog", "--prompts", "a {} in the snow", *judge_flags]
    assert evaluate(str(drawn), *words) == 0
    row = json.loads((drawn / "evaluation.json").read_text())["rows"]["pictures"]
    assert row["div"] == pytest.approx(judges.perceptual.among(pictures(3)).mean().item(), abs=1e-6)
    text = judges.clip.texts(["a dog in the snow"])
    assert row["clip_t"] == pytest.approx((judges.clip.images(pictures(3)) @ text.T).mean().item(), abs=1e-6)


def test_pictures_say_themselves_what_was_asked_for(drawn: Path, photos_dir: Path, judge_flags: list[str]) -> None:
    for at, (kind, template) in enumerate([("own", "a red {}"), ("class", "a {}"), ("own", "a red {}")]):
        text = {"prompt": "it", "template": template, "kind": kind, "seed": "1"}
        save_sample(Image.open(drawn / f"{at}.png").copy(), drawn / f"{at}.png", text)
    assert evaluate(str(drawn), "--photos", str(photos_dir), "--class-noun", "dog", *judge_flags) == 0
    row: dict[str, Any] = json.loads((drawn / "evaluation.json").read_text())["rows"]["pictures"]
    assert row["prompts"].keys() == {"a red {}"} and "pres" in row and row["pictures"] == 2
    assert evaluate(str(drawn), "--photos", str(photos_dir), *judge_flags) == 0
    row = json.loads((drawn / "evaluation.json").read_text())["rows"]["pictures"]
    assert "clip_t" not in row  # what {} stands for was not said
    assert "pres" in row and row["pictures"] == 2  # and still a picture of the class is none of the subject


def test_pictures_are_looked_at_as_photos_are(tmp_path: Path, photos_dir: Path, judge_flags: list[str]) -> None:
    """A phone's picture that lies on its side, and one on nothing, have the scores of the upright ones on white."""
    (colours,) = pictures(1)
    half, clear = colours.resize((64, 32)), Image.new("RGBA", (64, 64), (200, 0, 0, 0))
    lying = half.getexif()
    lying[0x0112] = 6  # turned by a quarter
    found = []
    for name, (first, second), said in (
        ("upright", (half.transpose(Image.Transpose.ROTATE_270), Image.new("RGB", (64, 64), "white")), None),
        ("stored", (half, clear), lying),
    ):
        folder = tmp_path / name
        folder.mkdir()
        first.save(folder / "0.png", exif=said or Image.Exif())
        second.save(folder / "1.png")
        assert evaluate(str(folder), "--photos", str(photos_dir), *judge_flags) == 0
        found.append(json.loads((folder / "evaluation.json").read_text())["rows"]["pictures"])
    assert found[0] == found[1]


def test_no_file_but_an_older_evaluation_is_replaced(
    run: Run, drawn: Path, tmp_path: Path, judge_flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    photo, mine = drawn / "0.png", tmp_path / "numbers.json"
    mine.write_text('{"learning_rate": 1}')
    for out in (run.root / "config.toml", run.root / SAMPLES.name, photo, mine):
        before = out.read_bytes()
        assert evaluate(str(run.root), "--out", str(out)) == 2
        assert out.read_bytes() == before and "give another file with --out" in capsys.readouterr().err
    for _ in range(2):
        assert evaluate(str(run.root), "--out", str(tmp_path / "new.json")) == 0


def test_pictures_that_another_model_drew_are_not_counted_with_the_runs_own(
    run: Run, judges: Judges, tmp_path: Path
) -> None:
    its = Run(shutil.copytree(run.root, tmp_path / "run"))
    for at, weights in enumerate([text_of(read_samples(its.samples / "after")[0].path)["weights"], "others"]):
        text = {"prompt": "a sks dog", "template": "a {}", "kind": "own", "seed": "1", "weights": weights}
        save_sample(Image.new("RGB", (16, 16), "red"), its.samples / "own" / f"{at}.png", text)
    reference = Reference.of(judges, its.subject, its.config.world)
    assert score_run(its, reference).rows["own"].pictures == 1
    (shown,) = on_request(its)
    assert [(stage.label, len(stage.pictures)) for stage in shown.stages] == [("by the model before", 1), ("after", 1)]


@pytest.mark.parametrize(
    ("words", "sentences"),
    [
        (["nowhere"], ["nowhere is no folder", "give a run folder"]),
        (["{drawn}"], ["is no run folder", "--photos"]),
        (["{drawn}", "--photos", "nowhere"], ["nowhere", "there is no such folder"]),
        (["{empty}", "--photos", "{photos}"], ["holds no pictures to score"]),
        (["{damaged}", "--photos", "{photos}"], ["broken.png", "nothing was changed"]),
        (["{drawn}", "--photos", "{photos}", "--prompts", "a {}"], ["{} in a prompt", "--class-noun"]),
        (["{drawn}", "--photos", "{photos}", "--prompts", "a", "b"], ["2 prompts for 3 pictures", "one for all"]),
        (["{drawn}", "--photos", "{photos}", "--dino-model", "{empty}"], ["no .safetensors weights"]),
        (["{drawn}", "--photos", "{photos}", "--class-noun", "a dog"], ["give the noun alone"]),
        (["{run}", "--class-noun", "dog"], ["is a run and knows its class noun", "leave both out"]),
        (["{begun}"], ["has no samples yet", "dreambooth generate"]),
        (["{drawn}", "--learning-rate", "1"], ["There is no flag --learning-rate", "dreambooth evaluate --help"]),
    ],
)
def test_a_mistake_is_a_plain_sentence(
    words: list[str],
    sentences: list[str],
    run: Run,
    drawn: Path,
    photos_dir: Path,
    tmp_path: Path,
    judge_flags: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("empty", "damaged"):
        (tmp_path / name).mkdir()
    (tmp_path / "damaged" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    Run.create(tmp_path / "begun", run.subject, run.config)
    places = {name: tmp_path / name for name in ("empty", "damaged", "begun")}
    places |= {"run": run.root, "drawn": drawn, "photos": photos_dir}
    filled = [word.format(**places) if word[0] == "{" else word for word in words]
    assert evaluate(*filled, *(() if "--dino-model" in words or "--learning-rate" in words else judge_flags)) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and "Traceback" not in printed.err
    for sentence in sentences:
        assert sentence in printed.err
    assert not (drawn / "evaluation.json").exists()
