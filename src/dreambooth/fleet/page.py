"""One page, fleet.html: how many are finished, what failed and why, the scores, and pictures of each subject."""

from collections import Counter
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from dreambooth.evaluation.names import METRIC_NAMES
from dreambooth.fleet.outcome import Outcome
from dreambooth.fleet.strips import Strip
from dreambooth.probe.scoring import COLUMNS
from dreambooth.report.page import page_template
from dreambooth.support.files import write_text
from dreambooth.support.progress import duration

PAGE = "fleet.html"
SHOWN = 200
"""Subjects with pictures: some 4 MB of page. The others have their rows, and their own reports."""


def write_page(out: Path, outcomes: Sequence[Outcome], strips: Sequence[Strip]) -> None:
    """Write the page; the reports of single subjects are linked, so it stays in its folder.

    strips: of the first SHOWN that are finished.
    """
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
        strips=strips,
        left_out=max(0, len(finished) - SHOWN),
    )
    write_text(out / PAGE, page)
