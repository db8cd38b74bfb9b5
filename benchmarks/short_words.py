"""Make src/dreambooth/support/short_words.xz: how often each string of two or three letters is a word of the web.

    python -m benchmarks.short_words unigrams.txt

unigrams.txt: lines of a word and its count in a trillion words, of https://pypi.org/project/wordsegment (Apache 2.0),
Peter Norvig's http://norvig.com/ngrams. The file holds a byte for each of aa ... zz, aaa ... zzz: 0 where the word is
not among the 333,000 most frequent, else 1 + log2(count / least count).
"""

import argparse
import lzma
import math
from pathlib import Path

from dreambooth.support.words import SHORT_WORDS, short_strings


def table(counts: dict[str, int]) -> bytes:
    """The bytes of the file."""
    least = min(counts.values())
    return bytes(1 + round(math.log2(counts[text] / least)) if text in counts else 0 for text in short_strings())


def main() -> None:
    """Write the file that the package reads."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("unigrams", type=Path)
    lines = parser.parse_args().unigrams.read_text(encoding="utf-8").splitlines()
    counts = {word: int(float(count)) for word, count in (line.split("\t") for line in lines)}
    SHORT_WORDS.write_bytes(lzma.compress(table(counts), preset=9 | lzma.PRESET_EXTREME))


if __name__ == "__main__":
    main()
