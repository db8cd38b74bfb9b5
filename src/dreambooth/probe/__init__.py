"""Measuring while it trains: which step to keep, when to stop, and which of the paper's failures it sees."""

from dreambooth.probe.diagnosis import checks, diagnose
from dreambooth.probe.observer import Probe, observing
from dreambooth.probe.rule import RULE, shares
from dreambooth.probe.verdict import restore_verdict

__all__ = ["RULE", "Probe", "checks", "diagnose", "observing", "restore_verdict", "shares"]
