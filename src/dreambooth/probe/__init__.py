"""Measuring while it trains: which step to keep, when to stop, and which of the paper's failures it sees."""

from dreambooth.probe.diagnosis import Finding, diagnose
from dreambooth.probe.lines import Probed, Prompted, read_probes
from dreambooth.probe.observer import Draw, Probe
from dreambooth.probe.rule import RULE, shares

__all__ = ["RULE", "Draw", "Finding", "Probe", "Probed", "Prompted", "diagnose", "read_probes", "shares"]
