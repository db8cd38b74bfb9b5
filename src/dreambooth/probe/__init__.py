"""Measuring while it trains: which step to keep, when to stop, and which of the paper's failures it sees."""

from dreambooth.probe.diagnosis import Check, checks, diagnose
from dreambooth.probe.lines import Probed, Prompted, read_probes
from dreambooth.probe.observer import Draw, Probe
from dreambooth.probe.rule import RULE, shares

__all__ = ["RULE", "Check", "Draw", "Probe", "Probed", "Prompted", "checks", "diagnose", "read_probes", "shares"]
