"""Section 4: the paper's tables, of methods x subjects x prompts x seeds."""

from dreambooth.experiments.conduct import experiment
from dreambooth.experiments.planning import Plan, plan

__all__ = ["Plan", "experiment", "plan"]
