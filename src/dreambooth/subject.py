"""Section 3.2: a subject is a few photos, a rare-token identifier and a class noun; a prompt leaves room for it."""

import re
import unicodedata
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

from dreambooth.errors import PromptError

IDENTIFIER_SLOT = "{}"
"""Where the subject's name goes in a prompt template: "a {} in the snow" becomes "a sks dog in the snow"."""

MAX_CHARACTERS = 32
"""Of an identifier."""

Kind = Literal[
    "subject",
    "recontextualization",
    "accessorization",
    "property modification",
    "novel view",
    "art rendition",
    "class",
    "own",
]
"""What a prompt asks for: the paper's applications (section 4.3), the subject alone, its class, or the user's own."""


@dataclass(frozen=True)
class Prompt:
    """A sentence with "{}" for the subject: "a {} in the snow".

    "{}" stands for "[identifier] [class noun]". In a prompt of kind "class" it stands for the class noun alone, so that
    the same words are asked without the subject: that is how language drift (section 3.3) becomes visible.
    """

    kind: Kind
    template: str


def prompts_of(kind: Kind, *templates: str) -> tuple[Prompt, ...]:
    """Prompts of one kind."""
    return tuple(Prompt(kind, template) for template in templates)


CLASS_PROMPT = Prompt("class", "a {}")
""" "a [class noun]": drawn before and after, it shows whether the class has drifted towards the subject."""


_DETERMINERS = "a an the my your our his her its their this that these those"
DETERMINERS = frozenset(_DETERMINERS.split())
"""What does not belong to a class noun: every prompt has its own article."""


LONGEST = 10_000
"""Letters of a prompt; no model reads so many, and to cut some hundred thousand of them into tokens takes seconds."""


def require_text(words: str) -> None:
    """Raise PromptError for words that are no text: no UTF-8, as other terminals send, or control characters; or far
    too many."""
    if len(words) > LONGEST:
        raise PromptError(
            f"{words[:40]!r}... has {len(words)} letters, and no model reads more than a few hundred words."
        )
    if strange := next((c for c in words if unicodedata.category(c) in ("Cc", "Cs") and not c.isspace()), None):
        raise PromptError(f"{words[:80]!r} has a character that is no text, {strange!r}: write it again, in UTF-8.")


def require_one_word(identifier: str) -> None:
    """Raise PromptError for what no model can read as a word."""
    usable = 0 < len(identifier) <= MAX_CHARACTERS and identifier.isprintable() and not set(" {}") & set(identifier)
    if not usable:
        raise PromptError(
            f"the identifier {identifier!r} cannot work: it must be one word of 1 to {MAX_CHARACTERS} characters "
            "without spaces or braces. Leave --identifier away to have one chosen."
        )


def require_class_noun(words: str) -> None:
    """Raise PromptError unless `words` can be a class noun: "dog", "toy car"."""
    if not isinstance(words, str) or not words.strip() or not words.isprintable() or set(IDENTIFIER_SLOT) & set(words):
        raise PromptError(f'{words!r} is no class noun: say what kind of thing it is, such as "dog".')
    first, _, rest = words.strip().partition(" ")
    if first.lower() in DETERMINERS:
        noun = rest.strip() or "dog"
        raise PromptError(
            f'the class noun {words!r} begins with "{first}", and the prompts have an article of their own '
            f'("a [identifier] {noun}"): give the noun alone, --class-noun "{noun}".'
        )


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One particular thing, e.g. this dog: its photos, and the words that will name it.

    photos: one or more image files, three to five in the paper.  class_noun: what kind of thing it is, "dog".
    identifier: a rare token with a weak prior (section 3.2), or None until the model's tokenizer has been asked; a new
    word, or a description, where the method is not DreamBooth.  with_class_noun: whether the class noun follows it; not
    where the identifier says all: Textual Inversion's "S*" (Gal et al. 2022, arXiv:2208.01618), or a description.
    """

    photos: tuple[Path, ...]
    class_noun: str
    identifier: str | None = None
    with_class_noun: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.photos, str | Path):
            raise TypeError(f"photos must be a sequence of files, such as photos_in({str(self.photos)!r})")
        object.__setattr__(self, "photos", tuple(map(Path, self.photos)))

    @property
    def name(self) -> str:
        """The identifier and the class noun, "sks dog"; raises PromptError while there is no identifier."""
        if self.identifier is None:
            raise PromptError("this subject has no identifier yet: give it one, such as subject.named('zwx')")
        return f"{self.identifier} {self.class_noun}" if self.with_class_noun else self.identifier

    @property
    def prompt(self) -> str:
        """ "a [identifier] [class noun]": the caption of every photo (section 3.2)."""
        return self.fill(f"a {IDENTIFIER_SLOT}")

    @property
    def class_prompt(self) -> str:
        """ "a [class noun]": the prompt whose meaning the prior term keeps (section 3.3)."""
        return f"a {self.class_noun}"

    def fill(self, template: str) -> str:
        """The template with the subject's name in its slot: "a {} in the snow" -> "a sks dog in the snow".

        A description gets its article: "a {}" -> "an orange cat".
        """
        if not self.with_class_noun and self.name[0].lower() in "aeiou":
            template = re.sub(r"\b([Aa]) (?=\{\})", r"\1n ", template)
        return template.replace(IDENTIFIER_SLOT, self.name)

    def unnamed(self, template: str) -> str:
        """The template with the class noun alone wherever the subject is named: in its slot, in full or by identifier.

        "a {} at night" -> "a dog at night", and so "a sks dog at night", and "my sks at night" -> "my dog at night".
        """
        sentence = template.replace(IDENTIFIER_SLOT, self.class_noun)
        for name in (self.name, self.identifier) if self.identifier else ():
            sentence = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", lambda _: self.class_noun, sentence)
        return sentence

    def named(self, identifier: str) -> Self:
        """The same subject with `identifier`."""
        return replace(self, identifier=identifier)
