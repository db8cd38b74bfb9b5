"""What the executors of the tests carry out: small things that end, fail, or take their process with them."""

import os
import signal
from pathlib import Path

from dreambooth.errors import RunError


def note(file: Path) -> None:
    """Leave a line for each time that it is called."""
    with file.open("a") as lines:
        lines.write("called\n")


def refuse() -> None:
    """Fail as the user's mistake."""
    raise RunError("there is no such thing")


def stumble() -> None:
    """Fail as a fault of the package."""
    raise ZeroDivisionError("by nothing")


def die(file: Path, times: int) -> None:
    """Be killed the first few times."""
    note(file)
    if len(file.read_text().splitlines()) <= times:
        os.kill(os.getpid(), signal.SIGKILL)
