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
    dino = Dino.open(find(evaluation.dino_model or world.judges["dino"], evaluation.dino_revision, "dino"))
    clip = Clip.open(find(evaluation.clip_model or world.judges["clip"], evaluation.clip_revision, "clip"))
    if evaluation.perceptual_model is None:
        return Judges(dino=dino, clip=clip, perceptual=PatchDistance(dino))
    lpips = Lpips.open(find(evaluation.perceptual_model, evaluation.perceptual_revision, "lpips"))
    return Judges(dino=dino, clip=clip, perceptual=lpips)


def judges_to_come(evaluation: config.Evaluation, world: config.World) -> int | None:
    """Bytes of these judges that are not on this machine yet; None where the hub does not say."""
    wanted = [
        (evaluation.dino_model or world.judges["dino"], evaluation.dino_revision),
        (evaluation.clip_model or world.judges["clip"], evaluation.clip_revision),
    ]
    if evaluation.perceptual_model is not None:
        wanted.append((evaluation.perceptual_model, evaluation.perceptual_revision))
    size = 0
    for model, revision in wanted:
        if (its := to_come(model, revision)) is None:
            return None
        size += its
    return size
