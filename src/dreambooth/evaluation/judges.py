"""Which judges measure a run, and how they are opened."""

from dreambooth import config
from dreambooth.evaluation.base import Judges
from dreambooth.evaluation.clip import Clip
from dreambooth.evaluation.dino import Dino
from dreambooth.evaluation.perceptual import Lpips, PatchDistance
from dreambooth.evaluation.weights import find, to_come


def load_judges(evaluation: config.Evaluation, world: config.World) -> Judges:
    """The judges that `evaluation` names, by default those of the base model's world.

    They are on the GPU where there is one. Raises ModelError for a judge that cannot be found or opened, or that cannot
    judge what it is asked to.
    """
    wanted = _wanted(evaluation, world)
    dino, clip = Dino.open(find(*wanted["dino"], "dino")), Clip.open(find(*wanted["clip"], "clip"))
    perceptual = Lpips.open(find(*wanted["lpips"], "lpips")) if "lpips" in wanted else PatchDistance(dino)
    return Judges(dino=dino, clip=clip, perceptual=perceptual)


def judges_to_come(evaluation: config.Evaluation, world: config.World) -> int | None:
    """Bytes of these judges that are not on this machine yet; None where the hub does not say."""
    sizes = [to_come(*named) for named in _wanted(evaluation, world).values()]
    known = [size for size in sizes if size is not None]
    return sum(known) if len(known) == len(sizes) else None


def _wanted(evaluation: config.Evaluation, world: config.World) -> dict[str, tuple[str, str | None]]:
    """Model and revision of each judge; no "lpips" where DINO's patches are compared in its place."""
    found = {
        "dino": (evaluation.dino_model or world.judges["dino"], evaluation.dino_revision),
        "clip": (evaluation.clip_model or world.judges["clip"], evaluation.clip_revision),
    }
    if evaluation.perceptual_model is not None:
        found["lpips"] = (evaluation.perceptual_model, evaluation.perceptual_revision)
    return found
