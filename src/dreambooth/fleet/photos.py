"""Photos for machines that do not see the disk of whoever gave the command: they go by way of the storage."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dreambooth.data.masks import masks_beside
from dreambooth.errors import RunError
from dreambooth.fleet.manifest import Member
from dreambooth.support.storage import Storage

PHOTOS = "photos"


def send_photos(members: Sequence[Member], storage: Storage) -> None:
    """Have the storage hold the photos of these subjects, and the masks beside them."""
    there = storage.sizes(PHOTOS)
    for member in members:
        for photo in member.subject.photos:
            kept = there.get(f"{member.folder}/{photo.name}") == photo.stat().st_size  # the folder's name has its hash
            for file in [*([] if kept else [photo]), *masks_beside([photo])]:
                storage.put(file, f"{PHOTOS}/{member.folder}/{file.name}")


def at_hand(member: Member, out: Path, storage: Storage) -> Member:
    """The subject with photos that this machine has: as they were given, or fetched into `out`.

    Raises RunError where neither shows what the command was given for.
    """
    if _shows_the_same(member):
        return member
    place = f"{PHOTOS}/{member.folder}"
    for name in storage.sizes(place):
        storage.fetch(f"{place}/{name}", out / place / name)
    photos = tuple(out / place / photo.name for photo in member.subject.photos)
    here = replace(member, subject=replace(member.subject, photos=photos))
    if not _shows_the_same(here):
        raise RunError(
            f"the photos of {member.name} are neither at {member.subject.photos[0].parent} on this machine nor in "
            f"{storage.url}/{place}, as they were when the command was given: give it again."
        )
    return here


def _shows_the_same(member: Member) -> bool:
    return Member.of(member.name, member.subject, member.config).folder == member.folder
