"""Section 4: the prompts that show what a personalised model can do."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dreambooth.errors import PromptError

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


def _of(kind: Kind, *templates: str) -> tuple[Prompt, ...]:
    return tuple(Prompt(kind, template) for template in templates)


_PLACES = _of(
    "recontextualization",
    "a {} in the jungle",
    "a {} in the snow",
    "a {} on the beach",
    "a {} on a cobblestone street",
    "a {} on top of pink fabric",
    "a {} on top of a wooden floor",
    "a {} with a city in the background",
    "a {} with a mountain in the background",
    "a {} with a blue house in the background",
    "a {} on top of a purple rug in a forest",
)
_PROPERTIES = _of("property modification", "a red {}", "a purple {}", "a shiny {}", "a wet {}", "a cube shaped {}")

PAPER_OBJECT: tuple[Prompt, ...] = (
    *_PLACES,
    *_of(
        "recontextualization",
        "a {} with a wheat field in the background",
        "a {} with a tree and autumn leaves in the background",
        "a {} with the Eiffel Tower in the background",
        "a {} floating on top of water",
        "a {} floating in an ocean of milk",
        "a {} on top of green grass with sunflowers around it",
        "a {} on top of a mirror",
        "a {} on top of the sidewalk in a crowded street",
        "a {} on top of a dirt road",
        "a {} on top of a white rug",
    ),
    *_PROPERTIES,
)
"""The 25 prompts for objects of the paper's evaluation (https://github.com/google/dreambooth)."""

PAPER_LIVE: tuple[Prompt, ...] = (
    *_PLACES,
    *_of(
        "accessorization",
        "a {} wearing a red hat",
        "a {} wearing a santa hat",
        "a {} wearing a rainbow scarf",
        "a {} wearing a black top hat and a monocle",
        "a {} in a chef outfit",
        "a {} in a firefighter outfit",
        "a {} in a police outfit",
        "a {} wearing pink glasses",
        "a {} wearing a yellow shirt",
        "a {} in a purple wizard outfit",
    ),
    *_PROPERTIES,
)
"""The 25 prompts for live subjects of the paper's evaluation (https://github.com/google/dreambooth)."""

CLASS_PROMPT = Prompt("class", "a {}")
""" "a [class noun]": drawn before and after, it shows whether the class has drifted towards the subject."""

_FURTHER = (
    *_of("novel view", "a {} seen from the top", "a {} seen from behind"),
    *_of(
        "art rendition",
        "a painting of a {} in the style of Vincent van Gogh",
        "a statue of a {} in the style of Michelangelo",
    ),
    CLASS_PROMPT,
)

OBJECT: tuple[Prompt, ...] = (
    *_of("subject", "a {}"),
    *_of(
        "recontextualization",
        "a {} in the snow",
        "a {} with a mountain in the background",
        "a {} with a tree and autumn leaves in the background",
        "a {} floating in an ocean of milk",
    ),
    *_of("property modification", "a purple {}", "a shiny {}"),
    *_FURTHER,
)
"""A short list of every application of section 4.3, for objects."""

LIVE: tuple[Prompt, ...] = (
    *_of("subject", "a {}"),
    *_of("recontextualization", "a {} in the snow", "a {} on the beach"),
    *_of("accessorization", "a {} wearing a red hat", "a {} in a chef outfit"),
    *_of("property modification", "a purple {}", "a shiny {}"),
    *_FURTHER,
)
"""A short list of every application of section 4.3, for live subjects."""

_TOYBOX_FURTHER = (
    *_of("property modification", "a purple {}", "a shiny {}"),
    *_of("novel view", "a {} seen from behind", "a {} seen from above"),
    *_of("art rendition", "a pencil drawing of a {}", "a cartoon of a {}"),
    CLASS_PROMPT,
)

TOYBOX: tuple[Prompt, ...] = (
    *_of("subject", "a {}"),
    *_of("recontextualization", "a {} in the snow", "a {} on the beach", "a {} in the jungle", "a {} at night"),
    *_TOYBOX_FURTHER,
)
"""The same kinds in the embedded model's own words, for toys that wear nothing."""

TOYBOX_WEARER: tuple[Prompt, ...] = (
    *_of("subject", "a {}"),
    *_of("recontextualization", "a {} in the snow", "a {} on the beach"),
    *_of("accessorization", "a {} wearing a red hat", "a {} wearing a yellow scarf"),
    *_TOYBOX_FURTHER,
)
"""The same for toys that can wear something."""

PROBE: tuple[Prompt, ...] = (
    *_of("subject", "a {}"),
    *_of("recontextualization", "a {} in the snow", "a {} in the jungle", "a {} on top of a wooden floor"),
    *_of("recontextualization", "a {} on top of pink fabric", "a {} with a blue house in the background"),
)
"""The subject alone and in five of the paper's places, far apart: few, because they are drawn again and again."""

TOYBOX_PROBE: tuple[Prompt, ...] = (
    *_of("subject", "a {}"),
    *_of("recontextualization", "a {} in the snow", "a {} in the jungle", "a {} on a wooden floor"),
    *_of("recontextualization", "a {} on pink fabric", "a {} at night"),
)
"""The same in the embedded model's own words."""

_TOYBOX_WEARERS = frozenset({"dog", "cat", "duck", "bear", "robot"})

_LIVE = """
    dog puppy cat kitten bird duck parrot chicken horse pony cow pig sheep goat rabbit hamster fox wolf bear lion tiger
    elephant monkey fish turtle lizard snake frog person man woman boy girl child baby
"""


def is_live(class_noun: str) -> bool:
    """Whether a class noun names a person or an animal, by its last word: "dog", "golden retriever puppy"."""
    return not set(_LIVE.split()).isdisjoint(class_noun.lower().split()[-1:])


def prompts_for(model_name: str, class_noun: str) -> tuple[Prompt, ...]:
    """About ten prompts of every kind that fits the class, in words that the model knows."""
    if model_name == "toybox":
        return TOYBOX_WEARER if class_noun in _TOYBOX_WEARERS else TOYBOX
    return LIVE if is_live(class_noun) else OBJECT


def probe_prompts(model_name: str) -> tuple[Prompt, ...]:
    """What is drawn again and again while a model trains, in words that it knows."""
    return TOYBOX_PROBE if model_name == "toybox" else PROBE


def own_prompts(templates: Sequence[str]) -> tuple[Prompt, ...]:
    """The user's own prompts, then the class prompt; raises PromptError for an empty one or a stray brace."""
    for template in templates:
        if not template.strip():
            raise PromptError('a prompt is empty: write what to draw, such as "a {} in the snow".')
        if set("{}") & set(template.replace("{}", "")):
            raise PromptError(
                f"the prompt {template!r} has a stray brace: "
                'write {} where the subject goes, as in "a {} in the snow".'
            )
    return (*_of("own", *templates), CLASS_PROMPT)
