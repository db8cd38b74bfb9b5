"""Base models as cards: what each draws, its licence, what it asks of the machine; the rows of config/published.py."""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from dreambooth.config.families import FAMILIES, family_of
from dreambooth.config.methods import MethodName
from dreambooth.config.published import PUBLISHED, Published
from dreambooth.config.worlds import EMBEDDED, named
from dreambooth.support.files import at_home, key_of
from dreambooth.web.machine import Gpu

WORDS: tuple[MethodName, ...] = ("textual_inversion", "pivotal")
"""Methods that teach a text encoder a word."""
LONGEST_TITLE = 3
"""Parts of the path of a model of this machine that may stand on its card."""


@dataclass(frozen=True, kw_only=True)
class BaseCard:
    """A base model to choose. model: as --model takes it.  side: pixels it learns at.  size: GB of its weights.

    needs: GB that a GPU has at least.  asks: the hub wants its terms accepted first.  unfit: methods it does not learn
    by.  is_first: shown without being asked for.
    """

    id: str
    model: str
    title: str
    draws: str
    licence: str
    side: int = 512
    size: float = 0.0
    needs: float = 0.0
    asks: bool = False
    is_here: bool = True
    is_first: bool = True
    is_demo: bool = False
    unfit: tuple[MethodName, ...] = ()


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
)


def cards(own: Sequence[str] = ()) -> list[BaseCard]:
    """All of them. own: models on this machine that whoever started the studio named, as --model takes them."""
    mine = [
        BaseCard(
            id=_id(model),
            model=model,
            title=title,
            draws="A model of this machine; the studio knows no more of it.",
            licence="as its maker says",
            unfit=_unfit(model),
        )
        for model, title in _titles(own).items()
    ]
    return [*mine, *(_card(model, row) for model, row in PUBLISHED.items()), TOY]


def shown(card: BaseCard, found: Sequence[Gpu]) -> dict[str, object]:
    """A card as the page has it. found: the GPUs of this machine."""
    return {**asdict(card), "fits": _fits(card, found)}


def _place(model: str) -> Path:
    """Where it is, whatever path it was offered by; a name of the hub as it is."""
    return Path(os.path.abspath(model)) if Path(model).exists() else Path(model)


def _id(model: str) -> str:
    """Of a model of this machine: the same wherever among the others it is offered, for drafts keep it."""
    return f"own-{key_of(str(_place(model)), 6)}"


def _titles(own: Sequence[str]) -> dict[str, str]:
    """What each is called: its name, or as much of its path's end as tells it from the others; never all of a path."""
    once = {_id(model): model for model in own}.values()
    parts = {model: [part for part in _place(model).parts if part != os.sep] for model in once}
    titles = {}
    for model, mine in parts.items():
        others = [theirs for other, theirs in parts.items() if other != model]
        most = max(1, min(LONGEST_TITLE, len(mine) - _place(model).is_absolute()))
        ends = (mine[-size:] for size in range(1, most + 1))
        end = next((end for end in ends if all(theirs[-len(end) :] != end for theirs in others)), None)
        titles[model] = "/".join(end) if end else f"{_place(model).name} ({_id(model)[-4:]})"
    return titles


def _card(model: str, row: Published) -> BaseCard:
    return BaseCard(
        id=model.rpartition("/")[2].lower().replace(".", "-"),
        model=model,
        title=row.title,
        draws=row.draws,
        licence=row.terms,
        side=row.side,
        size=round(row.size, 1),
        needs=2 * row.denoiser,
        asks=row.asks,
        is_here=_is_cached(model),
        is_first=row.first,
        unfit=_unfit(model),
    )


def _unfit(model: str) -> tuple[MethodName, ...]:
    """Families whose settings leave the text encoders alone learn no word."""
    family = family_of(model)
    return WORDS if family and not FAMILIES[family].preset.get("train_text_encoder", True) else ()


def _fits(card: BaseCard, found: Sequence[Gpu]) -> str:
    """How its weights go with the GPUs of this machine, in a sentence; a training needs more, which the plan tells."""
    if not card.needs:
        return ""
    if not found:
        return "No GPU was found here: without one expect days."
    largest = max(found, key=lambda gpu: gpu.memory)
    if card.needs > largest.memory:
        return (
            f"Too large for your {largest.name}: it has {largest.memory:.0f} GB, and the weights take {card.needs:.0f}."
        )
    return ""


def _is_cached(model: str) -> bool:
    """Whether the hub's own cache holds it (https://huggingface.co/docs/huggingface_hub/guides/manage-cache)."""
    home = at_home(os.environ.get("HF_HOME") or "~/.cache/huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    return any(cache.glob(f"models--{model.replace('/', '--')}/snapshots/*/model_index.json"))
