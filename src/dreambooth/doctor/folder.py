"""A folder of photos, looked at without a run: everything that a run would say before its first slow step."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from dreambooth.config import Config
from dreambooth.data.masks import check_masks, masks_beside
from dreambooth.data.photos import photos_in, unused_in
from dreambooth.data.pictures import orientation_of
from dreambooth.doctor.faults import ALL, Fault
from dreambooth.doctor.photos import examine_photos
from dreambooth.doctor.seen import examine_seen
from dreambooth.errors import ModelError, PhotoError
from dreambooth.evaluation import fit_of, load_judges
from dreambooth.subject import Subject, require_class_noun
from dreambooth.support.progress import log


def examine_folder(folder: Path, class_noun: str, config: Config) -> list[Fault]:
    """All faults of the photos in a folder; class_noun: what they are said to show, "" where nobody says.

    Logs what was not looked at, and which photos were turned. Raises PhotoError where there is no photo in the folder,
    PromptError for what is no class noun.
    """
    if class_noun:
        require_class_noun(class_noun)
    photos = photos_in(folder, quietly=True)
    stray = unused_in(folder, photos) if folder.is_dir() else []
    faults = [Fault(where=what, says=f"not used: {why}", remedy="move it away, or leave it") for what, why in stray]
    faults += examine_photos(photos, config.data.resolution or config.world.resolution)
    broken = {fault.where for fault in faults if fault.fatal}
    good = tuple(photo for photo in photos if photo.name not in broken)
    faults += _of_masks(good, config.data.masked_loss)
    if turned := [photo.name for photo in good if orientation_of(photo) in range(2, 9)]:
        log.info("turned upright by their EXIF: %s", ", ".join(turned))
    return faults + (_seen(Subject(photos=good, class_noun=class_noun), config) if good else [])


def _of_masks(photos: Sequence[Path], used: bool) -> Iterator[Fault]:
    """That masks lie beside the photos and are not used, and which of them, or of the photos, --masked-loss refuses."""
    beside = masks_beside(photos)
    if beside and not used:
        where, remedy = ", ".join(mask.name for mask in beside), "give that to the run, or leave them"
        yield Fault(where=where, says="masks are not used without --masked-loss", remedy=remedy)
    try:
        check_masks(photos, used=True)
    except PhotoError as error:
        for problem in error.problems:
            file = next((file for file in (*beside, *photos) if problem.startswith(f"{file} ")), photos[0])
            says, _, remedy = problem.removeprefix(f"{file} ").rpartition(": ")
            yield Fault(where=file.name, says=says, remedy=remedy, fatal=used)


def _seen(subject: Subject, config: Config) -> list[Fault]:
    try:
        judges = load_judges(config.evaluation, config.world)
    except ModelError as error:
        log.warning("not looked for another subject, one that is cut off, or another class: %s", error)
        return []
    fit = fit_of(subject.photos, config.world, judges)
    if fit and fit.foreign:
        return [Fault(where=ALL, says=fit.says, remedy="choose a base model that knows such things, with --model")]
    return examine_seen(subject, config.world, judges)
