"""Toys with a name of their own: what the embedded model has heard of by name, as real models have of famous things.

Because of them a rare word before a class noun means "a certain one" already. Names are two words of four letters;
identifiers are rare tokens of at most three characters, so none is ever part of a name.
"""

from __future__ import annotations

import random
from functools import lru_cache

from dreambooth.toybox.world import CLASSES, Toy

A_CLASS = 32  # famous toys of each class

FIRST_NAMES: tuple[str, ...] = (
    "zorl", "quav", "vexi", "druk", "plim", "kwez", "ombu", "tyxo", "hobz", "jurv", "glyf", "nezz", "wumo", "skay",
    "fipo", "rhuk", "xand", "beqo",
)  # fmt: skip
LAST_NAMES: tuple[str, ...] = (
    "mibu", "tosk", "yarv", "vull", "dabo", "kret", "ziph", "onno", "lurx", "quil", "gatz", "hemq", "pruk", "siwo",
    "ubel", "fozz",
)  # fmt: skip


@lru_cache(maxsize=1)
def famous_toys() -> dict[str, Toy]:
    """Every famous toy by its two-word name; a toy of each class in turn."""
    rng = random.Random("famous")
    names = [f"{first} {last}" for first in FIRST_NAMES for last in LAST_NAMES]
    rng.shuffle(names)
    return {name: Toy.sample(CLASSES[i % len(CLASSES)], rng) for i, name in enumerate(names[: A_CLASS * len(CLASSES)])}


def words() -> list[str]:
    """Every word of a name."""
    return [*FIRST_NAMES, *LAST_NAMES]
