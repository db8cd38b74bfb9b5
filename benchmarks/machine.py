"""What a result was measured on."""

import os
import platform
import time
from importlib.metadata import version


def machine() -> dict[str, str]:
    """Processor, cores, date and the versions that matter."""
    import torch

    device = (
        torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else f"{os.cpu_count()} CPU cores, {platform.machine()}"
    )
    packages = ("dreambooth", "torch", "diffusers", "transformers")
    return {"device": device, "date": time.strftime("%Y-%m-%d")} | {name: version(name) for name in packages}
