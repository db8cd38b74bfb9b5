"""Which short strings are words."""

from dreambooth.support.words import is_word, per_million


def test_short_words_are_known_by_how_often_the_web_says_them() -> None:
    assert per_million("the") > 1e4 > per_million("dog") > per_million("emu") > per_million("zwx") == 0
    assert all(map(is_word, ["cat", "fbi", "jpg", "ewe", "sks", "tv"]))
    assert not any(map(is_word, ["zwx", "xjy", "qvu", "ohwx", "", "TV", "backpack"]))
