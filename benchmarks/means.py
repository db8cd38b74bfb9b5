"""Means that benchmarks print, each with its interval."""

from collections.abc import Sequence
from statistics import mean
from typing import Any

from dreambooth.evaluation.bootstrap import interval


def over(values: Sequence[float]) -> dict[str, Any]:
    """The mean of one value a toy or pair, and its 95 % interval."""
    return {"mean": mean(values), "interval": interval(values)}
