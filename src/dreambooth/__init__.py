"""DreamBooth (Ruiz et al. 2023, https://arxiv.org/abs/2208.12242): a few photos of one thing in, new scenes out.

    from dreambooth import Config, Subject, dreambooth, generate, photos_in

    subject = Subject(photos=photos_in("my-dog"), class_noun="dog")
    config = Config.build(model="stable-diffusion-v1-5/stable-diffusion-v1-5", memory="12")
    run = dreambooth(subject, config, "runs/my-dog")
    generate(run, ["a {} on the moon"])
    print(run.report, run.model)

Names are imported when they are first used, so that `import dreambooth` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dreambooth.config import Config
    from dreambooth.data.photos import photos_in
    from dreambooth.errors import (
        ConfigError,
        DeviceMemoryError,
        DreamBoothError,
        Interrupted,
        ModelError,
        PhotoError,
        PromptError,
        RunError,
    )
    from dreambooth.personal import generate
    from dreambooth.recipe import dreambooth, resume
    from dreambooth.run import Run
    from dreambooth.subject import Subject

__version__ = "0.1.0"

__all__ = [
    "Config",
    "ConfigError",
    "DeviceMemoryError",
    "DreamBoothError",
    "Interrupted",
    "ModelError",
    "PhotoError",
    "PromptError",
    "Run",
    "RunError",
    "Subject",
    "__version__",
    "dreambooth",
    "generate",
    "photos_in",
    "resume",
]

_HOMES = {
    "Config": "config",
    "ConfigError": "errors",
    "DeviceMemoryError": "errors",
    "DreamBoothError": "errors",
    "Interrupted": "errors",
    "ModelError": "errors",
    "PhotoError": "errors",
    "PromptError": "errors",
    "Run": "run",
    "RunError": "errors",
    "Subject": "subject",
    "dreambooth": "recipe",
    "generate": "personal",
    "photos_in": "data.photos",
    "resume": "recipe",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dreambooth' has no attribute {name!r}")
    return getattr(import_module(f"dreambooth.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
