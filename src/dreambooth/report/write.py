"""All that a run shows in the end: the contact sheet, the picture to share, the cards of what it made, and the page."""

from pathlib import Path

from dreambooth.generation.generate import contact_sheet
from dreambooth.generation.samples import read_samples
from dreambooth.report.best import best
from dreambooth.report.card import write_cards
from dreambooth.report.page import write_report
from dreambooth.report.share import SAMPLES, share_picture
from dreambooth.run import Run
from dreambooth.run.companions import companions
from dreambooth.run.measured import read_measured


def write_all(run: Run) -> Path:
    """Write them from what the run has made so far; returns the page. Raises as `write_report` and `write_cards` do.

    Of a further subject of a run all but the cards, which are the run's.
    """
    before, after = (read_samples(run.samples / stage) for stage in ("before", "after"))
    contact_sheet(run.contact_sheet, run.subject.photos, before, after)
    shown = best(after, read_measured(run), SAMPLES)
    share_picture(run.share, run.subject, shown, tuned=run.config.training.max_train_steps > 0)
    if run.whole is None:
        write_cards(run)
    return write_report(run)


def results(run: Run) -> str:
    """Where the results of a finished run are, a line each; of several subjects each report."""
    reports = [("report", its.report) for its in (run, *companions(run))]
    share = [("share picture", run.share)] if run.share.is_file() else []
    places = [*reports, ("contact sheet", run.contact_sheet), *share, ("model", run.model)]
    return "\n".join(f"{what:<13}  {path}" for what, path in places)
