"""Section 4: the prompts that show what a personalised model can do."""

from collections.abc import Sequence

from dreambooth.config import World
from dreambooth.errors import PromptError
from dreambooth.subject import CLASS_PROMPT as CLASS_PROMPT
from dreambooth.subject import IDENTIFIER_SLOT, Subject, prompts_of, require_text
from dreambooth.subject import Prompt as Prompt
from dreambooth.support.progress import log

_PLACES = prompts_of(
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
_PROPERTIES = prompts_of(
    "property modification", "a red {}", "a purple {}", "a shiny {}", "a wet {}", "a cube shaped {}"
)

PAPER_OBJECT: tuple[Prompt, ...] = (
    *_PLACES,
    *prompts_of(
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
    *prompts_of(
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

_FURTHER = (
    *prompts_of("novel view", "a {} seen from the top", "a {} seen from behind"),
    *prompts_of(
        "art rendition",
        "a painting of a {} in the style of Vincent van Gogh",
        "a statue of a {} in the style of Michelangelo",
    ),
    CLASS_PROMPT,
)

OBJECT: tuple[Prompt, ...] = (
    *prompts_of("subject", "a {}"),
    *prompts_of(
        "recontextualization",
        "a {} in the snow",
        "a {} with a mountain in the background",
        "a {} with a tree and autumn leaves in the background",
        "a {} floating in an ocean of milk",
    ),
    *prompts_of("property modification", "a purple {}", "a shiny {}"),
    *_FURTHER,
)
"""A short list of every application of section 4.3, for objects."""

LIVE: tuple[Prompt, ...] = (
    *prompts_of("subject", "a {}"),
    *prompts_of("recontextualization", "a {} in the snow", "a {} on the beach"),
    *prompts_of("accessorization", "a {} wearing a red hat", "a {} in a chef outfit"),
    *prompts_of("property modification", "a purple {}", "a shiny {}"),
    *_FURTHER,
)
"""A short list of every application of section 4.3, for live subjects."""

PROBE: tuple[Prompt, ...] = (
    *prompts_of("subject", "a {}"),
    *prompts_of("recontextualization", "a {} in the snow", "a {} in the jungle", "a {} on top of a wooden floor"),
    *prompts_of("recontextualization", "a {} on top of pink fabric", "a {} with a blue house in the background"),
)
"""The subject alone and in five of the paper's places, far apart: few, because they are drawn again and again."""

_LIVE = """
    dog puppy cat kitten bird duck parrot chicken horse pony cow pig sheep goat rabbit hamster fox wolf bear lion tiger
    elephant monkey fish turtle lizard snake frog person man woman boy girl child baby squirrel hedgehog owl butterfly
    retriever shepherd terrier spaniel poodle corgi
"""
_LIKENESSES = ("teddy bear", "rubber duck", "gummy bear")
"""Things that are called by an animal's name."""


def is_live(class_noun: str) -> bool:
    """Whether a class noun names a person or an animal, by its last words: "golden retriever", not "teddy bear"."""
    words = class_noun.lower().split()
    return " ".join(words[-2:]) not in _LIKENESSES and not set(_LIVE.split()).isdisjoint(words[-1:])


def chosen_prompts(world: World, class_noun: str, own: Sequence[str] = ()) -> tuple[Prompt, ...]:
    """The user's own prompts, or those of a model's world that fit the class; either way the class prompt is the last.

    Raises PromptError for a prompt that cannot be used.
    """
    return own_prompts(own) if own else world.prompts(class_noun)


def own_prompts(templates: Sequence[str]) -> tuple[Prompt, ...]:
    """The user's own prompts, then the class prompt.

    Raises PromptError for an empty one or a stray brace, and where a shell has made several of one.
    """
    if len(templates) > 1 and not any(" " in template.strip() for template in templates):
        sentence = " ".join(templates)
        raise PromptError(
            f'these are {len(templates)} prompts of one word each: put quotes around a prompt, --prompts "{sentence}".'
        )
    for template in templates:
        if not template.strip():
            raise PromptError('a prompt is empty: write what to draw, such as "a {} in the snow".')
        require_text(template)
        if set("{}") & set(template.replace("{}", "")):
            raise PromptError(
                f"the prompt {template!r} has a stray brace: "
                'write {} where the subject goes, as in "a {} in the snow".'
            )
    return (*prompts_of("own", *templates), CLASS_PROMPT)


def warn_of_nameless(prompts: Sequence[Prompt], subjects: Sequence[Subject], identifier: str | None = None) -> None:
    """Log the prompts that name none of the subjects, by its identifier or by {}."""
    names = [name for name in (IDENTIFIER_SLOT, identifier, *(its.identifier for its in subjects)) if name]
    whom = "your subject" if len(subjects) == 1 else "any of your subjects"
    for prompt in prompts:
        if not any(name in prompt.template for name in names):
            log.warning(
                "the prompt %r does not name %s: write {} where its name belongs, as in "
                '"a {} in the snow". It is used as it is.',
                *(prompt.template, whom),
            )


def together(subjects: Sequence[Subject]) -> list[Prompt]:
    """Several subjects in one picture; nothing for one alone."""
    side_by_side = " next to ".join(subject.prompt for subject in subjects)
    return list(prompts_of("own", side_by_side, f"{side_by_side} on the beach")) if len(subjects) > 1 else []
