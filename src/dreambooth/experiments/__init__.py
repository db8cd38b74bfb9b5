"""Section 4: the paper's tables, of methods x subjects x prompts x seeds."""

from dreambooth.experiments.conduct import experiment
from dreambooth.experiments.planning import Plan, plan
from dreambooth.experiments.pool import default_jobs

__all__ = ["Plan", "default_jobs", "experiment", "plan"]
