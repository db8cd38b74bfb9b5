"""What the studio keeps beside the run folders, in .studio: one schema for each of its files."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from dreambooth.run.files import JsonFile

Kind = Literal["run", "continue", "generate"]
"""What a job does: the commands of the command line that the page starts."""


@dataclass(frozen=True, kw_only=True)
class Crop:
    """A square of an upright photo, in its pixels."""

    left: int
    top: int
    side: int


@dataclass(frozen=True, kw_only=True)
class Photo:
    """A photo that was uploaded. name: as it was called there, to be shown alone.

    refused: why it cannot be used and what to do; nothing of it is kept then.  cautions: what may go wrong with it.
    best: the square that the training would cut.  crop: the one that the user drew.  look: a hash of how it looks.
    """

    id: str
    name: str
    width: int = 0
    height: int = 0
    refused: str = ""
    cautions: tuple[str, ...] = ()
    best: Crop | None = None
    crop: Crop | None = None
    look: str = ""
    file: str = ""


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A run that is being put together. name: what people call the subject.  settings: as `Config.build` takes them."""

    created: float
    name: str = ""
    noun: str = ""
    photos: tuple[Photo, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Job:
    """A command that waits or runs. words: of the command line.  device: the GPU it has, by number; "" where none.

    process, started: which process it is, as the system counts them, once it runs.
    """

    id: str
    run: str
    kind: Kind
    words: tuple[str, ...]
    queued: float
    device: str = ""
    process: int = 0
    started: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Jobs:
    """All that wait, in their order, and all that run."""

    waiting: tuple[Job, ...] = ()
    running: tuple[Job, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How the last job of a run ended. code: None of one whose end nobody saw.  message: what it printed last.

    words: of its command line.
    """

    kind: Kind
    code: int | None
    message: str
    at: float
    words: tuple[str, ...] = ()


DRAFT = JsonFile("draft.json", Draft)
JOBS = JsonFile("jobs.json", Jobs)
ENDED = JsonFile("ended.json", Ended)
FAVOURITES = JsonFile("favourites.json", tuple[str, ...])
