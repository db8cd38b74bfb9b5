"""Every setting, once; what a base model's world and a method change of it; and the flags made from it."""

from dreambooth.config.judging import Evaluation, Probe
from dreambooth.config.methods import MethodName, idle
from dreambooth.config.presets import preset_of
from dreambooth.config.sections import (
    Base,
    Data,
    Generation,
    Method,
    Naming,
    Prior,
    Training,
)
from dreambooth.config.settings import Config, settings_reference
from dreambooth.config.worlds import World

__all__ = [
    "Base",
    "Config",
    "Data",
    "Evaluation",
    "Generation",
    "Method",
    "MethodName",
    "Naming",
    "Prior",
    "Probe",
    "Training",
    "World",
    "idle",
    "preset_of",
    "settings_reference",
]
