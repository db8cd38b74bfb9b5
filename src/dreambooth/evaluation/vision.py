"""What the judges of transformers share: opened by their own configuration, fed by their own pre-processing."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import transformers
from PIL import Image
from torch import Tensor

from dreambooth.errors import ModelError
from dreambooth.evaluation.base import Pictures
from dreambooth.evaluation.weights import Found
from dreambooth.models.bounds import PIXELS, require_part_in_bounds, require_small
from dreambooth.support.device import device
from dreambooth.support.libraries import hushed
from dreambooth.support.tensor_files import require_finite
from dreambooth.support.variants import variant_of

TRANSFORMERS: Any = transformers  # only half typed

FROM_DISK = {"local_files_only": True, "trust_remote_code": False}
"""For every call that opens a judge's folder: without the second, transformers asks whether to run code in it."""

TOGETHER = 32
"""Pictures or texts that are embedded at a time."""


@hushed()
def opened(found: Found, architectures: Mapping[str, Callable[..., Any]], task: str) -> tuple[Any, Any]:
    """The model in float32, frozen, on the GPU where there is one; and its image processor.

    architectures: how each `model_type` that can do the task is opened.  Raises ModelError where it is of another type,
    where a file is missing or damaged, or where weights and configuration differ.
    """
    given = str(found.config.get("model_type"))
    if given not in architectures:
        raise ModelError(
            f"the judge {found.name} is a {given}: {task} takes a {' or '.join(architectures)}. Choose another."
        )
    variant = _variant(found)
    read = [file for file in sorted(found.folder.glob("*.safetensors")) if variant_of(file.name) == (variant or "")]
    require_part_in_bounds(f"the judge {found.name}", found.folder / "config.json", read)
    require_small(f"the judge {found.name}", found.folder / "preprocessor_config.json", PIXELS)
    require_finite(f"the judge {found.name}", read)
    try:
        model, loading = architectures[given](
            found.folder,
            dtype=torch.float32,
            use_safetensors=True,
            variant=variant,
            output_loading_info=True,
            **FROM_DISK,
        )
        processor = TRANSFORMERS.AutoImageProcessor.from_pretrained(
            found.folder,
            backend="pil",  # the other one needs torchvision
            **FROM_DISK,
        )
    except Exception as error:  # three libraries raise a dozen kinds for a missing or damaged file
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ModelError(f"the judge {found.name} could not be opened: {reason} Copy or download it again.") from error
    if lacking := sorted(loading["missing_keys"]) or ["some shapes"] * bool(loading["mismatched_keys"]):
        raise ModelError(
            f"the weights of the judge {found.name} are not those that its config.json describes ({lacking[0]}): "
            "copy or download it again."
        )
    for parameter in model.parameters():  # a mapped file's alignment changes the last bits of what SIMD computes
        parameter.data = parameter.data.clone()
    return model.requires_grad_(False).eval().to(device()), processor


def _variant(found: Found) -> str | None:
    """None for the plain weights; where there are none, the first of the others, such as "fp16"."""
    there = {variant for file in found.folder.glob("*.safetensors") if (variant := variant_of(file.name)) is not None}
    return min(there, default=None) or None


def pixel_values(processor: Any, pictures: Pictures, device: torch.device, *, uncut: bool = False) -> Iterator[Tensor]:
    """The pictures as the judge takes them, TOGETHER at a time: (<= TOGETHER, 3, H, W).

    uncut: of a judge that cuts out the middle, the whole picture squeezed to that size instead.
    """
    how: dict[str, Any] = {}
    if uncut and getattr(processor, "do_center_crop", False):
        side = {name: processor.crop_size[name] for name in ("height", "width")}
        how = {"do_center_crop": False, "size": side}
    for at in range(0, len(pictures), TOGETHER):
        rgb = [picture.convert("RGB") for picture in pictures[at : at + TOGETHER]]
        yield processor(images=rgb, return_tensors="pt", **how).pixel_values.to(device)


def try_out(name: str, embed: Callable[[Pictures], Tensor]) -> None:
    """Embed one blank picture; raises ModelError where the pre-processing does not fit the model."""
    try:
        embed([Image.new("RGB", (64, 64))])
    except ValueError as error:
        raise ModelError(
            f"the judge {name} cannot take the pictures that its own preprocessor_config.json makes: {error}"
        ) from error
