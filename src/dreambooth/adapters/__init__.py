"""Which weights of the model the photos change."""

from dreambooth.adapters.base import Adapter
from dreambooth.adapters.full import Full
from dreambooth.config import Training
from dreambooth.models.base import DiffusionModel

__all__ = ["Adapter", "attach"]


def attach(model: DiffusionModel, training: Training) -> Adapter:
    """Make the weights that `training` asks for trainable; nothing else of the model changes."""
    return Full(model, training)
