"""What remains of a run: its folder, its records, its checkpoints, and the one process that may write."""

from dreambooth.run.folder import Run

__all__ = ["Run"]
