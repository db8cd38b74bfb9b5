"""What this machine has, and what is wrong with it: libraries, GPU and driver, disks, caches, the way to the hub."""

import importlib.metadata
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import Requirement

from dreambooth.doctor.faults import Fault
from dreambooth.support.cache import default_library
from dreambooth.support.hub import out_of_reach

OPTIONAL = ("torchvision", "xformers", "bitsandbytes")
"""What other libraries import where it is installed; a broken one breaks their imports."""

IMPORTED = (
    *("PIL", "safetensors", "huggingface_hub", "torch"),
    *OPTIONAL,
    *("accelerate", "transformers", "peft", "diffusers"),
)
"""What a run imports, each after those that it imports itself."""

ROOM = 10e9
"""Bytes that a run of Stable Diffusion takes: checkpoints, the best step, the model."""

PATIENCE = 3.0
"""Seconds to wait for the hub."""


def examine_installation(folder: Path) -> tuple[list[tuple[str, str]], list[Fault]]:
    """What is here, by name, and what is wrong; folder: where runs would be written. Takes a few seconds."""
    facts = [("Python", f"{platform.python_version()}, {platform.system()} {platform.machine()}")]
    faults = [*_libraries(facts), *_broken_imports()]
    if not any(fault.where == "torch" for fault in faults):
        faults += _gpu(facts)
    return facts, [*faults, *_places(folder, facts), *_hub(facts)]


def _libraries(facts: list[tuple[str, str]]) -> Iterator[Fault]:
    for line in importlib.metadata.requires("dreambooth") or ():
        wanted = Requirement(line)
        if wanted.marker and not wanted.marker.evaluate({"extra": ""}):
            continue
        remedy = f"pip install '{wanted.name}{wanted.specifier}'"
        try:
            version = importlib.metadata.version(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            yield Fault(where=wanted.name, says="is not installed", remedy=remedy, fatal=True)
            continue
        facts.append((wanted.name, version))
        if not wanted.specifier.contains(version, prereleases=True):
            yield Fault(where=wanted.name, says=f"is {version}, and {wanted.specifier} is needed", remedy=remedy)


def _broken_imports() -> Iterator[Fault]:
    for name in (name for name in IMPORTED if name not in OPTIONAL or find_spec(name)):
        try:
            import_module(name)
        except Exception as error:  # whatever a half-installed library raises
            reason = str(error).strip().rpartition("\n")[2] or type(error).__name__
            remedy = f"pip install --force-reinstall {name}"
            remedy += f", or pip uninstall {name}" if name in OPTIONAL else ""
            yield Fault(where=name, says=f"cannot be imported: {reason}", remedy=remedy, fatal=True)
            return  # those that import it would fail by it, in other words


def _gpu(facts: list[tuple[str, str]]) -> Iterator[Fault]:
    import torch

    driver = _nvidia_smi("driver_version")
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            free, whole = torch.cuda.mem_get_info(number)
            room = f"{free / 2**30:.1f} of {whole / 2**30:.1f} GiB free"
            facts.append((f"GPU {number}", f"{torch.cuda.get_device_name(number)}, {room}"))
        facts.append(("driver", f"{driver or 'unknown'}, torch for CUDA {torch.version.cuda}"))
    elif torch.backends.mps.is_available():
        facts.append(("GPU", "Apple's, by mps"))
    else:
        facts.append(("GPU", "none that torch can use: it computes on the CPU, minutes a step for Stable Diffusion"))
        if name := _nvidia_smi("name"):
            build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "the CPU alone"
            says = f"{name} is here (driver {driver}), and torch, which was built for {build}, cannot use it"
            remedy = (
                "install the build of torch that fits the driver, see https://pytorch.org/get-started, or a newer one"
            )
            yield Fault(where="GPU", says=says, remedy=remedy)


def _nvidia_smi(field: str) -> str:
    """What NVIDIA's own tool says of the first GPU; "" without it."""
    if not (tool := shutil.which("nvidia-smi")):
        return ""
    try:
        words = [tool, f"--query-gpu={field}", "--format=csv,noheader"]
        said = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
    return said.strip().partition("\n")[0]


def _places(folder: Path, facts: list[tuple[str, str]]) -> Iterator[Fault]:
    from huggingface_hub.constants import HF_HUB_CACHE

    places = {
        "runs": (folder, "start the command in another folder, or give --output-dir"),
        "class images": (default_library(), "set DREAMBOOTH_CACHE to a folder that you may write to"),
        "models of the hub": (Path(HF_HUB_CACHE), "set HF_HOME to a folder that you may write to"),
        "temporary files": (Path(tempfile.gettempdir()), "set TMPDIR to a folder that you may write to"),
    }
    for what, (place, remedy) in places.items():
        there = place.absolute()
        while not there.exists():
            there = there.parent
        free = shutil.disk_usage(there).free
        facts.append((what, f"{place}, {free / 1e9:.1f} GB free"))
        try:
            with tempfile.TemporaryFile(dir=there):
                pass
        except OSError as error:
            says = f"cannot be written to {place}: {error.strerror or error}"
            yield Fault(where=what, says=says, remedy=remedy, fatal=what == "runs")
            continue
        if what in ("runs", "models of the hub") and free < ROOM:
            says = f"only {free / 1e9:.1f} GB are free, and a run of Stable Diffusion takes about {ROOM / 1e9:.0f}"
            yield Fault(where=what, says=says, remedy="free some space")


def _hub(facts: list[tuple[str, str]]) -> Iterator[Fault]:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        facts.append(("hub", "not asked: HF_HUB_OFFLINE is set"))
    elif why := out_of_reach("openai/clip-vit-base-patch32", "config.json", None, PATIENCE):
        facts.append(("hub", "out of reach"))
        remedy = "what is in the cache or on this disk works; HF_HUB_OFFLINE=1 saves the waiting"
        yield Fault(where="hub", says=f"cannot be reached: {why}", remedy=remedy)
    else:
        facts.append(("hub", "answers"))
