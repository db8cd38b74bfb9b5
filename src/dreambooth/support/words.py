"""Which strings of two or three letters are words of the web, by how often it has them."""

import lzma
from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path
from string import ascii_lowercase

SHORT_WORDS = Path(__file__).with_name("short_words.xz")
"""How often each string of two or three letters is a word of the web; benchmarks/short_words.py made it."""

LEAST_PER_MILLION = 12_711 / 588_117.98
"""Words in a million that the rarest word of the table is; a level is twice the one below."""

KNOWN_PER_MILLION = {2: 10.0, 3: 0.1}
"""By its letters: a string that is a word more often means something; any two letters are short for something."""


def short_strings() -> Iterator[str]:
    """All strings of two and of three small letters, in the table's order."""
    return ("".join(letters) for length in (2, 3) for letters in product(ascii_lowercase, repeat=length))


@cache
def _levels() -> dict[str, int]:
    return dict(zip(short_strings(), lzma.decompress(SHORT_WORDS.read_bytes()), strict=True))


def per_million(text: str) -> float:
    """How often `text` is a word, in a million words of the web; 0 where it is rarer than all that were counted.

    Of two or three small letters; 0 for any other text.
    """
    level = _levels().get(text, 0)
    return LEAST_PER_MILLION * 2.0 ** (level - 1) if level else 0.0


def is_word(text: str) -> bool:
    """Whether a string of two or three small letters means something, being a word often enough."""
    return per_million(text) > KNOWN_PER_MILLION.get(len(text), 0)
