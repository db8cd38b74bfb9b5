"""The report is one file that shows what there is, whatever the words, and nothing that should stay private."""

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dreambooth.chart import BOTTOM, TOP, loss_chart
from dreambooth.config import Config
from dreambooth.report import write_report
from dreambooth.run import Run
from dreambooth.samples import save_sample
from dreambooth.subject import Subject

SECTIONS = [
    "The photos",
    "Before and after",
    "Your own prompts",
    "Has the class drifted?",
    "While it trained",
    "Class images",
    "Use the model",
    "Time",
    "Settings",
]
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


def finished(root: Path, **settings: Any) -> Run:
    run = begun(root, **settings)
    for stage, colour in (("before", 60), ("step-000100", 120), ("step-000020", 90), ("after", 200), ("own", 220)):
        for index, (kind, template) in enumerate([("recontextualization", "a {} in the snow"), ("class", "a {}")]):
            text = {"prompt": template.replace("{}", "it"), "template": template, "kind": kind, "seed": "7"}
            picture = Image.new("RGB", (64, 64), (colour, index * 100, 0))
            if stage != "own" or index == 0:
                save_sample(picture, run.samples / stage / f"{index}-x-7.png", text)
    lines = [{"step": step, "loss": 0.3, "subject": 0.2, "prior": 0.1 + step / 1000} for step in range(1, 101)]
    run.losses.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 101, "lo', encoding="utf-8")
    Image.new("RGB", (64, 64), (1, 2, 3)).save(root / "000000.png")
    prior = {"folder": str(root), "files": [{"name": "000000.png"}, {"name": "gone.png"}]}
    (run.root / "prior.json").write_text(json.dumps(prior), encoding="utf-8")
    (run.root / "timings.json").write_text('{"prior": 12.0, "finetune": 188.0}', encoding="utf-8")
    run.model.mkdir()
    (run.model / "model_index.json").write_text("{}", encoding="utf-8")
    return run


def test_a_finished_run_shows_every_section_once(tmp_path: Path) -> None:
    page = Page(write_report(finished(tmp_path)))
    assert page.headings == SECTIONS
    assert page.text.index("step 20") < page.text.index("step 100")
    assert "3 min 20 s" in page.text
    assert sum(tag == "polyline" for tag, _ in page.tags) == 4
    shown = [attrs["alt"] for tag, attrs in page.tags if tag == "img"]
    assert shown == [
        "photo 1 of 1",
        *(f"a it in the snow, {stage}, seed 7" for stage in ("before", "after", "after")),
        *(f"a it, {stage}, seed 7" for stage in ("before", "step 20", "step 100", "after")),
        *(f"a it in the snow, {stage}, seed 7" for stage in ("step 20", "step 100")),
        "a dog, drawn by the base model",
    ]


def test_a_run_that_has_only_begun_shows_what_there_is(tmp_path: Path) -> None:
    run = begun(tmp_path, identifier=None)
    page = Page(write_report(run))
    assert page.headings == ["The photos", "Settings"]
    (tmp_path / "photo.jpg").unlink()
    assert Page(write_report(run)).headings == ["Settings"]


def test_nothing_is_fetched_and_nothing_runs(tmp_path: Path) -> None:
    page = Page(write_report(finished(tmp_path)))
    assert not {"script", "link", "iframe", "object", "base"} & {tag for tag, _ in page.tags}
    targets = [value for _, attrs in page.tags for name, value in attrs.items() if name in ("src", "href")]
    assert targets and all((value or "").startswith("data:image/jpeg;base64,") for value in targets)
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


def test_small_pictures_are_enlarged_and_keep_their_colour(tmp_path: Path) -> None:
    page = Page(write_report(finished(tmp_path)))
    source = next(attrs["src"] for tag, attrs in page.tags if tag == "img" and "after" in (attrs["alt"] or "")) or ""
    with Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) as image:
        assert image.size == (256, 256)
        assert image.getpixel((128, 128)) == pytest.approx((200, 0, 0), abs=3)


@pytest.mark.parametrize(
    "word", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ 7 * 7 }}", "O'x&y"]
)
def test_words_are_shown_as_they_are(word: str, tmp_path: Path) -> None:
    run = finished(tmp_path, class_noun=word, identifier=word, prompts=(word,))
    page = Page(write_report(run))
    assert "script" not in {tag for tag, _ in page.tags}
    assert all("onerror" not in attrs for _, attrs in page.tags)
    assert f"a {word} {word}" in page.text


def test_the_snippet_is_python_with_the_runs_own_settings(tmp_path: Path) -> None:
    page = Page(write_report(finished(tmp_path, identifier='s"ks', guidance_scale=4.5)))
    snippet = page.text[page.text.index("from diffusers") : page.text.index("image.save")]
    compile(snippet, "snippet", "exec")
    assert 'from_pretrained("model")' in snippet
    assert "25, 4.5" in snippet


def test_changed_settings_come_first_with_their_default(tmp_path: Path) -> None:
    page = Page(write_report(begun(tmp_path, learning_rate=2e-4, prior_loss_weight=0.5)))
    rows = re.findall(r'<tr><td class="name">(\w+)</td><td>(.*?)</td><td>(.*?)</td>', page.source)
    assert rows[:2] == [("prior_loss_weight", "0.5", "1"), ("learning_rate", "0.0002", "0.0001")]
    assert {default for _, _, default in rows[2:]} == {"same"}
    assert len(rows) == len(Config().flat())


def test_a_report_replaces_the_last_one_whole(tmp_path: Path) -> None:
    run = begun(tmp_path)
    assert write_report(run) == run.report
    first = run.report.read_bytes()
    assert write_report(run).read_bytes() == first
    assert not list(run.root.glob(".*"))


def test_the_chart_puts_values_where_they_belong() -> None:
    chart = loss_chart([0, 50, 100], {"subject": [0.0, 1.0, 2.0]})
    assert chart is not None
    points = [tuple(map(float, point.split(","))) for point in chart.curves[0].raw.split()][::-1]
    assert points == [(64.0, BOTTOM), (382.0, (BOTTOM + TOP) / 2), (700.0, TOP)]
    assert [tick.label for tick in chart.x_ticks] == ["0", "20", "40", "60", "80", "100"]
    assert [tick.label for tick in chart.y_ticks] == ["0", "0.5", "1", "1.5", "2"]


def test_the_curve_is_the_running_mean_and_outliers_do_not_flatten_it() -> None:
    values = [0.1] * 200
    values[50] = 100.0
    chart = loss_chart(range(1, 201), {"subject": values})
    assert chart is not None and chart.window == 10
    heights = [float(point.split(",")[1]) for point in chart.curves[0].smooth.split()]
    assert heights.count(TOP) == 200 - 11
    assert loss_chart([1], {"subject": [0.1]}) is None
    assert loss_chart([1, 2], {}) is None
