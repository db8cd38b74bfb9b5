"""Section 3.1: the text-to-image models, a file per family."""

from dreambooth.support.libraries import hushed

with hushed():  # diffusers imports what gives advice as it is imported
    from dreambooth.models.base import Conditioning, DiffusionModel, Sampling, Stage
    from dreambooth.models.loading import check, load, to_come

__all__ = ["Conditioning", "DiffusionModel", "Sampling", "Stage", "check", "load", "to_come"]
