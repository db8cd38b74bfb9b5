"""Base models as cards: what each draws, its licence, what it asks of the machine."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dreambooth.config.worlds import EMBEDDED, named


@dataclass(frozen=True, kw_only=True)
class BaseCard:
    """A base model to choose. model: as --model takes it.  download: GB, 0 where it is here.

    side: pixels it learns at.  trained, frozen: millions of numbers in denoiser and text encoders, and in the rest.
    """

    id: str
    model: str
    title: str
    draws: str
    licence: str
    licence_url: str = ""
    download: float = 0.0
    side: int = 512
    trained: int = 0
    frozen: int = 0
    is_here: bool = True
    is_demo: bool = False


_PUBLISHED = (
    BaseCard(
        id="sd15",
        model="stable-diffusion-v1-5/stable-diffusion-v1-5",
        title="Stable Diffusion 1.5",
        draws="Photographs, paintings and drawings of nearly everything, at 512 pixels. The smallest real one.",
        licence="CreativeML Open RAIL-M",
        licence_url="https://huggingface.co/stable-diffusion-v1-5/stable-diffusion-v1-5",
        download=4.3,
        side=512,
        trained=983,
        frozen=84,
    ),
    BaseCard(
        id="sdxl",
        model="stabilityai/stable-diffusion-xl-base-1.0",
        title="Stable Diffusion XL",
        draws="The same in more detail, at 1024 pixels, and closer to the words. It needs three times as much of all.",
        licence="CreativeML Open RAIL++-M",
        licence_url="https://huggingface.co/stabilityai/stable-diffusion-xl-base-1.0",
        download=13.9,
        side=1024,
        trained=3385,
        frozen=84,
    ),
)

TOY = BaseCard(
    id=EMBEDDED,
    model=EMBEDDED,
    title="Toy demo",
    draws=(
        f"Only little rendered toys ({', '.join(named(EMBEDDED).nouns)}), at 128 pixels. It is here to try everything "
        "within minutes, without a GPU; of your own photos it makes smears."
    ),
    licence="Apache-2.0",
    side=128,
    is_demo=True,
    trained=11,
    frozen=1,
)


def cards(own: Sequence[str] = ()) -> list[BaseCard]:
    """All of them. own: models on this machine that whoever started the studio named, as --model takes them."""
    mine = [
        BaseCard(
            id=f"own{number}",
            model=model,
            title=Path(model).name,
            draws="A model of this machine; the studio knows no more of it.",
            licence="as its maker says",
        )
        for number, model in enumerate(own, start=1)
    ]
    return [*mine, *(card if not _is_cached(card) else _here(card) for card in _PUBLISHED), TOY]


def card_of(model: str, own: Sequence[str] = ()) -> BaseCard | None:
    """The card of a model; None of one that has none."""
    return next((card for card in cards(own) if card.model == model), None)


def _here(card: BaseCard) -> BaseCard:
    return BaseCard(**{**vars(card), "download": 0.0})


def _is_cached(card: BaseCard) -> bool:
    """Whether the hub's own cache holds it (https://huggingface.co/docs/huggingface_hub/guides/manage-cache)."""
    home = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface").expanduser()
    cache = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    return any(cache.glob(f"models--{card.model.replace('/', '--')}/snapshots/*/model_index.json"))
