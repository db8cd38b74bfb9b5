"""Which name was meant, suggested only where it is near, since a wrong suggestion is worse than none."""

import difflib
from collections.abc import Iterable

NEAR = 0.8
"""Two names that share as much of their letters, in order, are a typing error apart."""

FEW = 4
"""More names than these, with one word in common, say nothing."""


def suggestion(word: str, names: Iterable[str]) -> str:
    """A sentence with the names that `word` is a typing error of, or else a part of; empty where there are none.

    "_" and "-" are the same. A part is whole words of a name: "max-train" of "max-train-steps".
    """
    meant, plain = _plain(word), {name: _plain(name) for name in names}
    if len(meant) > 2 * max(map(len, plain.values()), default=0):  # near nothing, and long to compare
        return ""
    likeness = {name: difflib.SequenceMatcher(None, meant, its).ratio() for name, its in plain.items()}
    nearest = max(likeness.values(), default=0.0)
    if nearest >= NEAR:
        return f"Did you mean {' or '.join(name for name in likeness if likeness[name] == nearest)}?"
    longer = [name for name, its in plain.items() if f"-{meant}-" in f"-{its}-" and not its.startswith("no-")]
    return f"There is {' and '.join(longer)}." if 0 < len(longer) <= FEW else ""


def shown(name: str) -> str:
    """The name, cut where it is too long for a sentence."""
    return name if len(name) < 80 else f"{name[:40]}..."


def _plain(name: str) -> str:
    return name.lstrip("-").replace("_", "-").lower()
