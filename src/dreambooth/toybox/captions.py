"""Words for pictures: lowercase captions in varied wordings, and the vocabulary they are made of."""

from __future__ import annotations

import random
from collections import Counter
from functools import lru_cache

from dreambooth.toybox import famous
from dreambooth.toybox.colours import COLOURS
from dreambooth.toybox.world import (
    ACCESSORIES,
    CLASSES,
    MATERIALS,
    PATTERNS,
    SCENES,
    STYLES,
    VIEWS,
    Shot,
    Toy,
)

_OPENINGS = ("", "a photo of", "photo of", "a picture of", "an image of")
_WEARING = ("wearing", "with")
_SIDED = {"": 0.5, "from the side": 0.5, "from above": 0.5}  # how often a view's caption says which way the toy faces
_ALONE = 0.12  # of captions say nothing but the subject


def article(phrase: str) -> str:
    """The phrase with "a" or "an" before it."""
    return ("an " if phrase[0] in "aeiou" else "a ") + phrase


def _noun_phrase(toy: Toy, colour: bool, pattern: bool, material: bool, name: str = "") -> str:
    words = [name, toy.class_noun] if name else [toy.class_noun]
    if colour:
        words.insert(0, toy.colour)
    if pattern and toy.pattern != PATTERNS[0]:
        words.insert(0, toy.pattern)
    if material and toy.material != MATERIALS[0]:
        words.insert(0, toy.material)
    return " ".join(words)


def description(toy: Toy) -> str:
    """All that words can say of a toy, as a noun phrase without an article: "striped red dog"."""
    return _noun_phrase(toy, True, True, True)


def caption(toy: Toy, shot: Shot, rng: random.Random, name: str = "", changed: frozenset[str] = frozenset()) -> str:
    """One wording of what a picture shows; it always names the class and the style, the rest mostly.

    name: of a famous toy, which stands before the class noun and makes its looks go without saying.
    changed: which of "colour" and "material" are not as the named toy's own, and must be said.
    """
    usual = 0.12 if name else 1.0
    said = [rng.random() < share * usual for share in (0.65, 0.65, 0.75)]
    phrase = _noun_phrase(toy, said[0] or "colour" in changed, said[1], said[2] or "material" in changed, name)
    if rng.random() < _ALONE and not (shot.style or shot.accessory or shot.view):
        return article(phrase)
    opening = shot.style or rng.choices(_OPENINGS, (0.4, 0.25, 0.1, 0.15, 0.1))[0]
    scene = shot.scene if rng.random() < 0.9 else ""
    worn = f"{rng.choices(_WEARING, (0.8, 0.2))[0]} {shot.accessory}"
    worn = worn if shot.accessory and rng.random() < 0.95 else ""
    view = f"seen {shot.view}" if rng.random() < 0.5 else shot.view
    view = view if shot.view and rng.random() < 0.9 else ""
    subject = f"{opening} {article(phrase)}".strip()
    if rng.random() < _SIDED.get(shot.view, 0):
        subject += " facing right" if shot.yaw > 0 else " facing left"
    if scene and not opening and rng.random() < 0.2:
        order = [scene, subject, worn, view]
    elif rng.random() < 0.5:
        order = [subject, scene, worn, view]
    else:
        order = [subject, worn, view, scene]
    return " ".join(part for part in order if part)


def _vocabulary() -> set[str]:
    phrases = [*CLASSES, *COLOURS, *PATTERNS[1:], *MATERIALS[1:], *SCENES, *ACCESSORIES, *VIEWS, *STYLES]
    return {
        word
        for phrase in [*phrases, *_OPENINGS, *_WEARING, "a", "an", "seen", "facing", "left", "right"]
        for word in phrase.split()
    }


@lru_cache(maxsize=1)
def _ranked() -> tuple[str, ...]:
    rng = random.Random("words")
    use: Counter[str] = Counter()
    for _ in range(2000):
        class_noun = rng.choice(CLASSES)
        use.update(caption(Toy.sample(class_noun, rng), Shot.sample(class_noun, rng), rng).split())
    return (*sorted(_vocabulary(), key=lambda word: (-use[word], word)), *famous.words())


def words() -> list[str]:
    """Every word a caption can contain, lowercase, the most used first, those of names last."""
    return list(_ranked())
