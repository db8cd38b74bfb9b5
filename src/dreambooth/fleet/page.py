"""One page, fleet.html: how many are finished, what failed and why, the scores, and pictures of each subject."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from dreambooth.data.pictures import open_image
from dreambooth.errors import PhotoError
from dreambooth.evaluation.names import METRIC_NAMES
from dreambooth.fleet.outcome import Outcome
from dreambooth.generation.samples import Sample, opened, read_samples
from dreambooth.probe.scoring import COLUMNS
from dreambooth.report.page import page_template
from dreambooth.report.pictures import Picture, picture
from dreambooth.run import Run
from dreambooth.support.files import write_text
from dreambooth.support.progress import duration

PAGE = "fleet.html"
SIDE, SAMPLES = 96, 4
SHOWN = 200
"""Subjects with pictures: some 4 MB of page. The others have their rows, and their own reports."""


@dataclass(frozen=True)
class Strip:
    """A photo of a subject, and samples of different prompts."""

    outcome: Outcome
    photo: Picture | None
    samples: tuple[Picture, ...]


def write_page(out: Path, outcomes: Sequence[Outcome]) -> None:
    """Write the page; the reports of single subjects are linked, so it stays in its folder."""
    counts = Counter(its.state for its in outcomes)
    finished = [its for its in outcomes if its.state == "finished"]
    facts = {
        "subjects": str(len(outcomes)),
        **{state: str(counts[state]) for state in ("finished", "failed", "waiting") if counts[state]},
        "computing time in all": duration(sum(its.seconds for its in outcomes)),
        "written": date.today().isoformat(),
    }
    measured = [name for name in COLUMNS if any(name in its.scores for its in finished)]
    page = page_template("fleet.html.j2").render(
        facts=facts,
        failed=[its for its in outcomes if its.state == "failed"],
        outcomes=outcomes,
        metrics={name: METRIC_NAMES[name] for name in measured},
        strips=list(_strips(out, finished[:SHOWN])),
        left_out=max(0, len(finished) - SHOWN),
    )
    write_text(out / PAGE, page)


def _strips(out: Path, outcomes: Sequence[Outcome]) -> Iterator[Strip]:
    for its in outcomes:
        run = Run(out / its.folder)
        first: dict[str, Sample] = {}
        for sample in read_samples(run.samples / "after"):
            first.setdefault(sample.template, sample)
        shown = [*first.values()][:SAMPLES]
        pictures = tuple(picture(opened(each), SIDE, f"{each.prompt}, seed {each.seed}") for each in shown)
        photo = None
        with suppress(PhotoError):  # moved away since
            photo = picture(open_image(run.subject.photos[0], SIDE), SIDE, f"a photo of {its.name}")
        yield Strip(its, photo, pictures)
