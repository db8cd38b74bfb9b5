"""All that a run shows in the end: the contact sheet, the picture to share, the cards of what it made, and the page."""

from pathlib import Path

from dreambooth.generation.generate import contact_sheet
from dreambooth.generation.samples import read_samples
from dreambooth.report.best import best
from dreambooth.report.card import write_cards
from dreambooth.report.page import write_report
from dreambooth.report.share import SAMPLES, share_picture
from dreambooth.run import Run
from dreambooth.run.measured import read_measured


def write_all(run: Run) -> Path:
    """Write them from what the run has made so far; returns the page. Raises as `write_report` and `write_cards` do."""
    before, after = (read_samples(run.samples / stage) for stage in ("before", "after"))
    contact_sheet(run.contact_sheet, run.subject.photos, before, after)
    shown = best(after, read_measured(run), SAMPLES)
    share_picture(run.share, run.subject, shown, tuned=run.config.training.max_train_steps > 0)
    write_cards(run)
    return write_report(run)
