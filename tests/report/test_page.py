"""The report is one file that shows what there is, whatever the words, and nothing that should stay private."""

import base64
import hashlib
import io
import re
from collections.abc import Iterable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dreambooth.config import Config
from dreambooth.errors import RunError
from dreambooth.generation.samples import save_sample
from dreambooth.report.page import write_report
from dreambooth.run import Run
from dreambooth.run.files import JsonLines
from dreambooth.run.records import (
    CLASS_IMAGES,
    DIAGNOSIS,
    LOSSES,
    PLAN,
    RECOMMENDATION,
    SCORES,
    TIMINGS,
    WORLD_FIT,
    Check,
    Diagnosis,
    Loss,
    Probed,
    PromptScores,
    Recommendation,
    Variety,
    WorldFit,
)
from dreambooth.subject import Subject
from written import class_images

SECTIONS = [
    "The photos",
    "Before and after",
    "Your own prompts",
    "Measured while it trained",
    "Diagnosis",
    "Has the class drifted?",
    "While it trained",
    "Class images",
    "Use the model",
    "Time",
    "Settings",
]
FINDING = Check(
    failure="context not synthesised",
    metric="clip_t",
    value=0.8123,
    threshold=0.9,
    says='Worst is "a {} in the snow".',
    change="Train fewer steps.",
)
DRIFT = replace(FINDING, failure="overfitting to the photos", metric="pres", value=0.2, threshold=0.65, at_most=True)
CAMERA, GPS, COMMENT = "SecretCam 3000", (52.0, 31.0, 12.0), b"taken at home"


class Page(HTMLParser):
    """The tags of a page, each with its attributes, and its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    @property
    def headings(self) -> list[str]:
        return re.findall(r"<h2>(.*?)</h2>", self.source)


def photo(path: Path) -> Path:
    exif = Image.Exif()
    exif[0x0110] = CAMERA
    exif.get_ifd(0x8825)[2] = GPS
    Image.radial_gradient("L").convert("RGB").save(path, exif=exif, comment=COMMENT)
    return path


def begun(root: Path, class_noun: str = "dog", identifier: str | None = "sks", **settings: Any) -> Run:
    subject = Subject(photos=(photo(root / "photo.jpg"),), class_noun=class_noun, identifier=identifier)
    return Run.create(root / "run", subject, Config.build({"model": "toybox", **settings}))


def write(file: JsonLines[Any], run: Run, lines: Iterable[Any]) -> None:
    for line in lines:
        file.append(run.root, line)


def loss(step: int, subject: float = 0.2, prior: float | None = None) -> Loss:
    return Loss(step=step, loss=0.3, subject=subject, prior=prior, lr=1e-4, grad_norm=1.0, seconds=0.1)


def finished(root: Path, **settings: Any) -> Run:
    run = begun(root, **settings)
    for stage, colour in (("before", 60), ("step-000100", 120), ("step-000020", 90), ("after", 200), ("own", 220)):
        for index, (kind, template) in enumerate([("recontextualization", "a {} in the snow"), ("class", "a {}")]):
            text = {"prompt": template.replace("{}", "it"), "template": template, "kind": kind, "seed": "7"}
            picture = Image.new("RGB", (64, 64), (colour, index * 100, 0))
            if stage != "own" or index == 0:
                save_sample(picture, run.samples / stage / f"{index}-x-7.png", text)
    write(LOSSES, run, [loss(step, prior=0.1 + step / 1000) for step in range(1, 101)])
    with run.losses.open("a", encoding="utf-8") as file:
        file.write('{"step": 101, "lo')
    Image.new("RGB", (64, 64), (1, 2, 3)).save(root / "000000.png")
    CLASS_IMAGES.write(run.root, class_images(root, "000000.png", "gone.png"))
    TIMINGS.write(run.root, {"prior": 12.0, "finetune": 188.0})
    run.model.mkdir()
    (run.model / "model_index.json").write_text("{}", encoding="utf-8")
    return run


def measured(root: Path, findings: tuple[Check, ...] = (), **settings: Any) -> Run:
    """A finished run with probes at 0, 20 and 100, of which 20 is recommended."""
    run = finished(root, **settings)
    snow, of_class = "a {} in the snow", {"template": "a {}", "kind": "class", "seed": "7"}
    for index, text in enumerate([{"template": snow, "kind": "class", "seed": "7"}, of_class]):
        picture = Image.new("RGB", (64, 64), (60, index * 100, 0))
        save_sample(picture, run.samples / "step-000000" / f"{index}-x-7.png", {"prompt": "untuned", **text})
    SCORES.append(run.root, Probed(step="real", dino=0.8, clip_i=0.9, seconds=0.5))
    for step, dino, clip_t, pres in ((0, 0.4, 0.32, 0.41), (20, 0.7, 0.31, 0.52), (100, 0.75, 0.25, 0.63)):
        prompts = {snow: PromptScores(dino=dino, clip_i=dino + 0.1, clip_t=clip_t)}
        varied = {"subject": Variety(div=0.3, scenes=1.5 if step else 5.0, pictures=8)}
        probed = Probed(step=step, dino=dino, clip_i=dino + 0.1, clip_t=clip_t, pres=pres)
        SCORES.append(run.root, replace(probed, prompts=prompts, variety=varied, seconds=1.0))
    verdict = Recommendation(
        step=20,
        rule="the <best> step",
        reason="It is best.",
        last=100,
        stopped_early=True,
        judges={"dino": "a <small> DINO", "clip": "a CLIP"},
        ways={"dino": 0.75, "clip_i": None, "pres": -0.004, "unheard of": 1.0},
        way="0% is <untuned>",
        kept={"clip_t": 0.97, "subject_scenes": 0.3},
    )
    RECOMMENDATION.write(run.root, verdict)
    DIAGNOSIS.write(run.root, Diagnosis(findings=findings, checked=()))
    return run


def test_a_finished_run_shows_every_section_once(tmp_path: Path) -> None:
    page = Page(write_report(measured(tmp_path)))
    assert page.headings == SECTIONS
    assert page.text.index("step 20") < page.text.index("step 100")
    assert "200.0 s" in page.text and "3 min 20 s" in page.text
    shown = [attrs["alt"] for tag, attrs in page.tags if tag == "img"]
    assert shown == [
        *("one of the photos", "a dog in the snow"),  # the hero
        "photo 1 of 1",
        *(f"a it in the snow, {stage}, seed 7" for stage in ("before", "after", "after")),
        *(f"a it, {stage}, seed 7" for stage in ("before", "after")),
        "untuned, base model, seed 7",
        *(f"a it, {stage}, seed 7" for stage in ("step 20", "step 100")),
        "untuned, base model, seed 7",
        *(f"a it in the snow, {stage}, seed 7" for stage in ("step 20", "step 100")),
        "a dog, drawn by the base model",
    ]


def test_every_number_of_a_probe_stands_where_it_was_drawn(tmp_path: Path) -> None:
    page = Page(write_report(measured(tmp_path)))
    beneath = re.findall(
        r'<figcaption( class="chosen")?>(.*?)</figcaption>.*?(?=<figcaption|</section)', page.source, re.S
    )
    assert [label for marked, label in beneath if marked] == ["step 20", "step 20"]
    numbers = [
        re.findall(r"[-A-Z]+ \d\.\d+", re.sub("<.*?>", "", part)) for part in page.source.split('"beneath">')[1:]
    ]
    assert [found[:2] for found in numbers] == [
        ["PRES 0.410"],
        ["PRES 0.520"],
        ["PRES 0.630"],
        ["DINO 0.400", "CLIP-T 0.320"],
        ["DINO 0.700", "CLIP-T 0.310"],
        ["DINO 0.750", "CLIP-T 0.250"],
    ]


def test_the_recommended_checkpoint_is_marked_in_every_figure(tmp_path: Path) -> None:
    page = Page(write_report(measured(tmp_path, max_train_steps=400)))
    marks = [attrs for tag, attrs in page.tags if tag == "circle"]
    assert sum(attrs["class"] == "dot chosen" for attrs in marks) == 7  # six numbers over the training, the scatter
    assert len(marks) == 7 * 3
    lines = [attrs["class"] for tag, attrs in page.tags if tag == "line"]
    assert lines.count("level photos") == 3 and lines.count("level base") == 6 and lines.count("chosen") == 6
    assert (
        "It is best." in page.text
        and "The rule: the <best> step. The judges: dino is a <small> DINO; clip is a CLIP." in page.text
        and "100 steps of 400, stopped early" in page.text
    )
    rows = re.findall(r'<tr class="chosen">(.*?)</tr>', page.source)
    assert [re.findall("<td.*?>(.*?)</td>", row) for row in rows] == [
        ["20", "0.700", "0.800", "0.310", "0.520", "1.500", "0.300"]
    ]


def test_the_way_gone_stands_between_its_ends(tmp_path: Path) -> None:
    source = Page(write_report(measured(tmp_path))).source
    rows = [re.findall("<td.*?>(.*?)</td>", row) for row in re.findall("<tr>(.*?)</tr>", source)]
    assert ["DINO", "0.800", "0.400", "0.700", "75%"] in rows
    assert ["CLIP-I", "0.900", "0.500", "0.800", "cannot be told"] in rows
    assert ["PRES", "0.800", "0.410", "0.520", "0%"] in rows
    assert ["CLIP-T", "", "0.320", "0.310", "97% kept"] in rows
    assert ["scenes, subject", "", "5.000", "1.500", "30% kept"] in rows
    assert "0% is &lt;untuned&gt;." in source


def test_a_diagnosis_names_what_it_saw_or_the_numbers_it_looked_at(tmp_path: Path) -> None:
    run = measured(tmp_path, (replace(FINDING, says="<b>worse</b>"),))
    bad = Page(write_report(run)).text
    assert "One sign of the failures" in bad and "<b>worse</b>" in bad and "Train fewer steps." in bad
    assert "context not synthesised: seen in CLIP-T: 0.81, where the limit is at least 0.90." in bad
    assert bad.index("Train fewer steps.") < bad.index("The photos"), "failures are told before anything else"
    DIAGNOSIS.write(run.root, Diagnosis(findings=(), checked=(replace(FINDING, threshold=0.6), DRIFT)))
    good = Page(write_report(run))
    assert "No failure found: all 2 numbers looked at" in good.text
    section = good.source[good.source.index("<h2>Diagnosis") :]
    rows = [re.findall("<td.*?>(.*?)</td>", row) for row in re.findall("<tr>(.*?)</tr>", section)]
    assert ["context not synthesised", "the probe", "CLIP-T", "0.81", "at least 0.60", "within"] in rows
    assert ["overfitting to the photos", "the probe", "PRES", "0.20", "at most 0.65", "within"] in rows


def test_photos_that_the_base_model_cannot_draw_are_flagged_and_no_failure_is_no_praise(tmp_path: Path) -> None:
    run = measured(tmp_path)
    DIAGNOSIS.write(run.root, Diagnosis(findings=(), checked=(DRIFT,)))
    fit = WorldFit(likeness=0.5, limit=0.6, judge="a CLIP", foreign=True, says="these photos <are> no toys.")
    WORLD_FIT.write(run.root, fit)
    page = Page(write_report(run))
    assert "These photos <are> no toys." in page.text and "No failure found" not in page.text
    assert "mean little" in page.text
    WORLD_FIT.write(run.root, replace(fit, foreign=False))
    page = Page(write_report(run))
    assert "no toys" not in page.text and "No failure found" in page.text


def test_no_failure_is_found_where_nothing_was_looked_at(tmp_path: Path) -> None:
    page = Page(write_report(measured(tmp_path)))
    assert "Nothing could be looked at." in page.text and "No failure found" not in page.text


def test_what_a_kill_left_of_the_scores_is_shown(tmp_path: Path) -> None:
    run = measured(tmp_path)
    for name in ("recommendation.json", "diagnosis.json"):
        (run.root / name).unlink()
    with run.scores.open("a", encoding="utf-8") as file:
        file.write('{"step": 120, "dino": NaN, "clip_t": null, "pres": 0.7}\n[1]\nnull\n{"step": 140, "dino": 0.')
    page = Page(write_report(run))
    assert "Measured while it trained" in page.headings and "Diagnosis" not in page.headings
    assert sum(tag == "circle" for tag, _ in page.tags) == 7 * 3 + 1 and 'class="dot chosen"' not in page.source
    assert "nan" not in page.text.lower() and ">140<" not in page.source
    run.scores.write_text("", encoding="utf-8")
    assert "Measured while it trained" not in Page(write_report(run)).headings


@pytest.mark.parametrize("content", ['{"step": 20', '{"step": "twenty"}', "[]"])
def test_a_damaged_verdict_is_named(content: str, tmp_path: Path) -> None:
    run = measured(tmp_path)
    (run.root / "recommendation.json").write_text(content, encoding="utf-8")
    with pytest.raises(
        RunError, match=r"recommendation\.json is damaged \(.*delete it, and give the run's first command"
    ):
        write_report(run)


def test_a_long_run_makes_no_endless_page(tmp_path: Path) -> None:
    run = finished(tmp_path)
    text = {"prompt": "a dog", "template": "a {}", "kind": "class", "seed": "7"}
    for step in range(10, 1010, 10):
        save_sample(Image.new("RGB", (64, 64)), run.samples / f"step-{step:06d}" / "1-x-7.png", text)
    write(SCORES, run, [Probed(step=step, dino=0.5, clip_t=0.3, pres=0.5) for step in range(0, 1010, 10)])
    write(LOSSES, run, [loss(step, 1 / step, 0.1) for step in range(1, 20001)])
    page = Page(write_report(run))
    alts = [attrs["alt"] or "" for tag, attrs in page.tags if tag == "img"]
    assert [alt.split(", ")[1] for alt in alts if alt.startswith("a dog, step")] == [
        f"step {step}" for step in (10, 120, 230, 340, 450, 560, 670, 780, 890, 1000)
    ]
    assert len(page.source) < 250_000


@pytest.mark.parametrize(
    ("settings", "subject", "said"),
    [
        ({}, {"identifier": "sks"}, "a sks dogtoybox was fine-tuned on 1 photo of one dog, so that “sks dog” means"),
        ({"method": "lora"}, {"identifier": "sks"}, "toybox was fine-tuned with LoRA on 1 photo of one dog, so that"),
        (
            {"method": "prompt_only", "description": "orange dog"},
            {"identifier": "orange dog", "with_class_noun": False},
            "an orange dogtoybox was trained on nothing: words alone tell it what is in 1 photo of one dog.",
        ),
    ],
    ids=["dreambooth", "lora", "prompt_only"],
)
def test_the_page_says_what_each_method_did(
    settings: dict[str, Any], subject: dict[str, Any], said: str, tmp_path: Path
) -> None:
    run = begun(tmp_path, **settings)
    run.save_subject(Subject(photos=run.subject.photos, class_noun="dog", **subject))
    run.model.mkdir()
    (run.model / "model_index.json").write_text("{}", encoding="utf-8")
    assert said in re.sub(r"\s*\n\s*", "", Page(write_report(run)).text)


def test_a_run_that_has_only_begun_shows_what_there_is(tmp_path: Path) -> None:
    run = begun(tmp_path, identifier=None)
    page = Page(write_report(run))
    assert page.headings == ["The photos", "Settings"]
    (tmp_path / "photo.jpg").unlink()
    assert Page(write_report(run)).headings == ["Settings"]


def test_nothing_is_fetched_and_nothing_runs(tmp_path: Path) -> None:
    page = Page(write_report(measured(tmp_path)))
    assert not {"link", "iframe", "object", "base"} & {tag for tag, _ in page.tags}
    (script,) = re.findall(r"<script>(.*?)</script>", page.source, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in page.source
    assert not re.search(r"fetch\(|XMLHttp|import\b|https?:|innerHTML|eval", script)
    targets = [value for _, attrs in page.tags for name, value in attrs.items() if name in ("src", "href")]
    assert targets and all((value or "").startswith(("data:image/webp;base64,", "#")) for value in targets)
    ids = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    assert {(value or "")[1:] for value in targets if (value or "").startswith("#")} <= ids
    assert "url(" not in page.source.replace("url(#plot)", "") and "@import" not in page.source
    assert all(not name.startswith("on") for _, attrs in page.tags for name in attrs)


def test_pictures_carry_nothing_but_pixels(tmp_path: Path) -> None:
    page = Page(write_report(finished(tmp_path)))
    for tag, attrs in page.tags:
        if tag == "img":
            data = base64.b64decode((attrs["src"] or "").partition(",")[2])
            with Image.open(io.BytesIO(data)) as image:
                assert not image.getexif() and "comment" not in image.info and "icc_profile" not in image.info
            assert CAMERA.encode() not in data and COMMENT not in data
    assert str(tmp_path) not in page.source


def test_pictures_are_as_large_as_they_were_drawn_and_keep_their_colour(tmp_path: Path) -> None:
    page = Page(write_report(finished(tmp_path)))
    source = next(attrs["src"] for tag, attrs in page.tags if tag == "img" and "after" in (attrs["alt"] or "")) or ""
    with Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) as image:
        assert image.size == (64, 64)
        assert image.getpixel((32, 32)) == pytest.approx((200, 0, 0), abs=3)


@pytest.mark.parametrize(
    "word", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ 7 * 7 }}", "O'x&y"]
)
def test_words_are_shown_as_they_are(word: str, tmp_path: Path) -> None:
    finding = replace(FINDING, metric=word, says=word, change=word)
    run = measured(tmp_path, (finding,), class_noun=word, identifier=word, prompts=(word,))
    page = Page(write_report(run))
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert all("onerror" not in attrs for _, attrs in page.tags)
    assert f"a {word} {word}" in page.text


def test_the_snippet_is_python_with_the_runs_own_settings(tmp_path: Path) -> None:
    page = Page(write_report(finished(tmp_path, identifier='s"ks', guidance_scale=4.5)))
    snippet = page.text[page.text.index("from diffusers") : page.text.index("image.save")]
    compile(snippet, "snippet", "exec")
    assert 'from_pretrained("model")' in snippet
    assert "(prompt=prompt, num_inference_steps=15, guidance_scale=4.5)" in snippet
    assert "pipeline.scheduler = DPMSolverMultistepScheduler.from_config(" in snippet


def test_changed_settings_come_first_with_their_default(tmp_path: Path) -> None:
    page = Page(write_report(begun(tmp_path, learning_rate=2e-4, prior_loss_weight=0.5)))
    rows = re.findall(r'<tr><td class="name">(\w+)</td><td>(.*?)</td><td>(.*?)</td>', page.source)
    assert rows[:2] == [("prior_loss_weight", "0.5", "1"), ("learning_rate", "0.0002", "0.0003")]
    assert {default for _, _, default in rows[2:]} == {"same"}
    assert len(rows) == len(Config().flat())


def test_a_report_replaces_the_last_one_whole(tmp_path: Path) -> None:
    run = begun(tmp_path)
    assert write_report(run) == run.report
    first = run.report.read_bytes()
    assert write_report(run).read_bytes() == first
    assert not list(run.root.glob(".*"))


def test_what_was_planned_stands_beside_what_it_took(tmp_path: Path) -> None:
    run = finished(tmp_path)
    assert "was planned when the run began" not in write_report(run).read_text(encoding="utf-8")
    PLAN.write(run.root, {"prior": 10.0, "finetune": 150.5, "memory": 1e9, "disk": 1e8})
    page = write_report(run).read_text(encoding="utf-8")
    assert ">150.5 s</td>" in page and ">160.5 s</td>" in page
    (run.root / PLAN.name).write_text("{")
    assert "150.5" not in write_report(run).read_text(encoding="utf-8")
