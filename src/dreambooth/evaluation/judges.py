"""Which judges measure a run, and how they are opened."""

from dreambooth import config
from dreambooth.evaluation.base import Judges
from dreambooth.evaluation.clip import Clip
from dreambooth.evaluation.dino import Dino
from dreambooth.evaluation.perceptual import Lpips, PatchDistance
from dreambooth.evaluation.weights import EMBEDDED, find

PAPER = {"dino": "facebook/dino-vits16", "clip": "openai/clip-vit-base-patch32"}
"""DINO ViT-S/16 is the paper's; it names no CLIP (see metrics.CHOICES)."""


def load_judges(evaluation: config.Evaluation, base_model: str) -> Judges:
    """The judges that `evaluation` names; by default the embedded ones for the toybox, else the paper's from the hub.

    base_model: what the user calls it, as in `config.base.model`. They are on the GPU where there is one. Raises
    ModelError for a judge that cannot be found or opened, or that cannot judge what it is asked to.
    """
    defaults = dict.fromkeys(PAPER, EMBEDDED) if base_model == EMBEDDED else PAPER
    dino = Dino.open(find(evaluation.dino_model or defaults["dino"], evaluation.dino_revision, "dino"))
    clip = Clip.open(find(evaluation.clip_model or defaults["clip"], evaluation.clip_revision, "clip"))
    if evaluation.perceptual_model is None:
        return Judges(dino=dino, clip=clip, perceptual=PatchDistance(dino))
    lpips = Lpips.open(find(evaluation.perceptual_model, evaluation.perceptual_revision, "lpips"))
    return Judges(dino=dino, clip=clip, perceptual=lpips)
