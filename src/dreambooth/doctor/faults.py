"""A fault: where, what, and the remedy; and many of them as one table."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from dreambooth.support.progress import log

WIDEST = 44
"""Letters of a column; longer words are wrapped."""

ALL = "all photos"
"""Where a fault is that no photo has alone."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """where: the file's name, or a part of the machine.  fatal: nothing can be done with it as it is."""

    where: str
    says: str
    remedy: str
    fatal: bool = False


def warn_of(faults: Sequence[Fault]) -> None:
    """Log them as one table, where there are any."""
    if faults:
        log.warning("the photos have faults, which would be learned too:\n%s", table(faults))


def table(faults: Sequence[Fault], first: str = "file") -> str:
    """The faults, a row each, the fatal ones first; first: what the first column is called."""
    ordered = sorted(faults, key=lambda fault: not fault.fatal)
    rows = [(first, "fault", "remedy"), *((fault.where, fault.says, fault.remedy) for fault in ordered)]
    wrapped = [[textwrap.wrap(text, WIDEST, break_on_hyphens=False) or [""] for text in row] for row in rows]
    widths = [max(len(line) for row in wrapped for line in row[column]) for column in range(3)]
    lines = []
    for row in wrapped:
        for at in range(max(map(len, row))):
            cells = [cell[at] if at < len(cell) else "" for cell in row]
            lines.append("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())
    return "\n".join(lines)
