"""The studio's folder: run folders by their ids, and in .studio what a run needs before, and beside, its own folder.

    <root>/<run>/                    a run folder, whoever made it
    <root>/.studio/drafts/<id>/      photos and wishes of a run that is being put together
    <root>/.studio/runs/<run>/       the same of one that was started here, its log, how it ended, favourites
    <root>/.studio/jobs.json         what waits and what runs

A page names a run by its id, never by a path: an id is looked up among what is there.
"""

import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from dreambooth.errors import DreamBoothError
from dreambooth.run.contents import CONFIG
from dreambooth.support.files import key_of
from dreambooth.web.records import DRAFT, Draft
from dreambooth.web.refusal import Refusal

ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,79}")
MOST_DRAFTS = 200
INCOMING = "incoming"
"""The folder of a draft with uploads that are arriving."""


class Studio:
    """All runs and drafts below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.own = self.root / ".studio"
        for folder in (self.own / "drafts", self.own / "runs"):
            folder.mkdir(parents=True, exist_ok=True)

    def runs(self) -> dict[str, Path]:
        """Every run folder by its id: those at the top, and one level down; also those that have only been started."""
        found = {_id(folder.relative_to(self.root)): folder for folder in self._folders()}
        for started in _folders_in(self.own / "runs"):
            if ID.fullmatch(started.name):
                found.setdefault(started.name, self.root / started.name)
        return found

    def run(self, id: str) -> Path:
        """The folder of a run; raises Refusal where there is none."""
        folder = self.root / id
        if not ID.fullmatch(id) or not ((folder / CONFIG).is_file() or (self.own / "runs" / id).is_dir()):
            folder = self.runs().get(id, self.own)
        if folder == self.own or not folder.resolve().is_relative_to(self.root) or folder.is_symlink():
            raise Refusal(404, "There is no such run here. It may have been moved or deleted: look at the list.")
        return folder

    def beside(self, id: str) -> Path:
        """Where the studio keeps what it knows of a run; it need not be there."""
        if not ID.fullmatch(id):
            raise Refusal(404, "There is no such run here.")
        return self.own / "runs" / id

    def drafts(self) -> dict[str, Draft]:
        """Every draft by its id, the newest first."""
        there = {}
        for folder in _folders_in(self.own / "drafts"):
            with suppress(DreamBoothError):  # damaged: the others are there all the same
                if draft := DRAFT.find(folder):
                    there[folder.name] = draft
        return dict(sorted(there.items(), key=lambda pair: -pair[1].created))

    def draft_folder(self, id: str) -> Path:
        """The folder of a draft; raises Refusal where there is none."""
        folder = self.own / "drafts" / id
        if not ID.fullmatch(id) or folder.is_symlink() or not (folder / DRAFT.name).is_file():
            raise Refusal(404, "There is no such draft. It may have been started or thrown away: look at the list.")
        return folder

    def new_draft(self, now: float) -> str:
        """Make a draft; returns its id. Raises Refusal for too many."""
        if len(list(_folders_in(self.own / "drafts"))) >= MOST_DRAFTS:
            raise Refusal(409, f"There are {MOST_DRAFTS} drafts already: throw some away first.")
        id = secrets.token_hex(6)
        (self.own / "drafts" / id).mkdir()
        DRAFT.write(self.own / "drafts" / id, Draft(created=now))
        return id

    def start(self, draft: str, name: str) -> str:
        """Make a run of a draft, named after its subject; returns the run's id."""
        slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "subject"
        id = slug if self._is_free(slug) else f"{slug}-{secrets.token_hex(2)}"
        self.draft_folder(draft).rename(self.own / "runs" / id)
        shutil.rmtree(self.own / "runs" / id / INCOMING, ignore_errors=True)  # after it nothing can arrive there
        return id

    def sweep(self) -> None:
        """Delete what uploads left that were cut off with the server: whole photos, which say where they were taken.

        Only for whoever has the studio's folder alone, and before it takes any.
        """
        for kind in ("drafts", "runs"):
            for folder in _folders_in(self.own / kind):
                shutil.rmtree(folder / INCOMING, ignore_errors=True)

    def _is_free(self, id: str) -> bool:
        return not (self.root / id).exists() and not (self.own / "runs" / id).exists()

    def _folders(self) -> Iterator[Path]:
        for folder in _folders_in(self.root):
            if _is_run(folder):
                yield folder
            else:
                yield from filter(_is_run, _folders_in(folder))


def _is_run(folder: Path) -> bool:
    try:
        return (folder / CONFIG).is_file()
    except OSError:  # it may not be read, such as lost+found
        return False


def _folders_in(folder: Path) -> Iterator[Path]:
    """Real folders, without hidden ones and links."""
    try:
        inside = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError:  # it was removed, or may not be read
        return
    yield from (path for path in inside if path.is_dir() and not path.is_symlink())


def _id(inside: Path) -> str:
    """A run at the top whose name can stand in an address is called so, another by a hash of its place."""
    name = inside.as_posix()
    return name if ID.fullmatch(name) else key_of(name, 6)
