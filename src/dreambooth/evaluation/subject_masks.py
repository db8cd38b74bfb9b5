"""The masks that a run trains by: those that its owner gave, and found ones for the other photos."""

from pathlib import Path

from PIL import Image

from dreambooth.data.masks import MASK, mask_of
from dreambooth.data.photos import names_of
from dreambooth.data.pictures import open_image, upright_size
from dreambooth.errors import ModelError
from dreambooth.evaluation.base import Judges, PatchEmbedder, Pictures
from dreambooth.evaluation.judges import load_judges
from dreambooth.evaluation.masks import look_of, masks
from dreambooth.evaluation.scores import LOOKED_AT
from dreambooth.run import Run
from dreambooth.support.files import atomic_write
from dreambooth.support.progress import log


def subject_masks(run: Run, judges: Judges | None = None) -> dict[Path, Path]:
    """By photo, the file of its mask; none without --masked-loss.

    judges: opened where they are needed and not given; DINO finds the subject where the photo says nothing. What it
    finds is written once, to the run's masks/, to be looked at: a better one, put beside the photo before a run, goes
    before it. Raises PhotoError, and ModelError for judges that cannot be found or opened.
    """
    if not run.config.data.masked_loss:
        return {}
    photos = run.subject.photos
    given = {photo: mask for photo in photos if (mask := mask_of(photo))}
    names = (name.replace("/", "-") for name in names_of(photos))
    files = {photo: run.masks / f"{name}{MASK}" for photo, name in zip(photos, names, strict=True)}
    if any(not files[photo].exists() for photo in photos if photo not in given):
        found = _found(_opened(run, judges).dino, [open_image(photo, at_least=LOOKED_AT) for photo in photos])
        log.info("found by DINO, see whether they are right: the masks in %s", run.masks)
        run.masks.mkdir(exist_ok=True)
        for photo, its in zip(photos, found, strict=True):
            if photo not in given and not files[photo].exists():
                with atomic_write(files[photo]) as aside:
                    its.resize(upright_size(photo)).save(aside, format="PNG")  # large photos were looked at smaller
    return {photo: given.get(photo, files[photo]) for photo in photos}


def _opened(run: Run, judges: Judges | None) -> Judges:
    try:
        return judges or load_judges(run.config.evaluation, run.config.world)
    except ModelError as error:
        instead = f"To need no judge, put NAME{MASK} beside each photo, white on the subject."
        raise ModelError(f"{error} {instead}") from error


def _found(judge: PatchEmbedder, pictures: Pictures) -> list[Image.Image]:
    """One channel of 8 bits each; white all over where no subject is found."""
    patches = judge.patches(pictures)
    found = masks(pictures, look_of(patches).evidence(patches))
    return [mask.convert("L") if mask.getbbox() else Image.new("L", mask.size, 255) for mask in found]
