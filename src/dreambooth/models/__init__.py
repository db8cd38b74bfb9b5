"""Section 3.1: the text-to-image models, a file per family."""

from dreambooth.models.base import Conditioning, DiffusionModel, Sampling, Stage
from dreambooth.models.loading import check, load, to_come

__all__ = ["Conditioning", "DiffusionModel", "Sampling", "Stage", "check", "load", "to_come"]
