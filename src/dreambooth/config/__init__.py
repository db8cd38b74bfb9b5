"""Every setting, once; what a base model and a method change of it; and the flags made from it."""

from dreambooth.config.presets import METHOD_ONLY, PRESETS, USED_BY, MethodName, preset_of
from dreambooth.config.settings import (
    Base,
    Config,
    Data,
    Evaluation,
    Generation,
    Method,
    Naming,
    Prior,
    Probe,
    Training,
    settings_reference,
)

__all__ = [
    "METHOD_ONLY",
    "PRESETS",
    "USED_BY",
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
    "preset_of",
    "settings_reference",
]
