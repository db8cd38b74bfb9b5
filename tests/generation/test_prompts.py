"""The prompts are the paper's, and the toybox's are words it knows."""

import hashlib

import pytest

from dreambooth.config import World
from dreambooth.errors import PromptError
from dreambooth.generation import prompts
from dreambooth.generation.photographs import PHOTOGRAPHS
from dreambooth.toybox import captions, home
from dreambooth.toybox.world import CLASSES, WEARERS

LISTS = (prompts.PAPER_OBJECT, prompts.PAPER_LIVE, prompts.OBJECT, prompts.LIVE, home.THING, home.WEARER)
APPLICATIONS = {"recontextualization", "property modification", "novel view", "art rendition"}


@pytest.mark.parametrize("listed", LISTS)
def test_every_prompt_has_one_slot_and_is_asked_once(listed: tuple[prompts.Prompt, ...]) -> None:
    assert all(prompt.template.count("{}") == 1 for prompt in listed)
    assert len(set(listed)) == len(listed)


def test_the_papers_lists_are_made_up_as_in_its_protocol() -> None:
    def count(listed: tuple[prompts.Prompt, ...]) -> tuple[int, ...]:
        kinds = ("recontextualization", "accessorization", "property modification")
        return tuple(sum(prompt.kind == kind for prompt in listed) for kind in kinds)

    assert count(prompts.PAPER_OBJECT) == (20, 0, 5)
    assert count(prompts.PAPER_LIVE) == (10, 10, 5)


@pytest.mark.parametrize("world", [home.TOYBOX, PHOTOGRAPHS], ids=lambda world: world.name)
@pytest.mark.parametrize("class_noun", ["dog", "teapot", "robot", "stuffed animal"])
def test_the_default_covers_every_application_and_ends_with_the_class(world: World, class_noun: str) -> None:
    chosen = world.prompts(class_noun)
    assert 9 <= len(chosen) <= 13
    assert {prompt.kind for prompt in chosen} >= APPLICATIONS | {"subject"}
    assert chosen[-1] == prompts.CLASS_PROMPT
    wears = class_noun == "dog" or (world is home.TOYBOX and class_noun == "robot")
    assert any(prompt.kind == "accessorization" for prompt in chosen) == wears


def test_live_is_decided_by_the_last_words() -> None:
    assert prompts.is_live("golden retriever Puppy") and prompts.is_live("golden retriever") and prompts.is_live("owl")
    assert not prompts.is_live("dog bowl")
    assert not prompts.is_live("teddy bear") and not prompts.is_live("yellow rubber duck")
    assert not prompts.is_live("")


@pytest.mark.parametrize("world", [home.TOYBOX, PHOTOGRAPHS], ids=lambda world: world.name)
def test_a_probe_asks_for_the_subject_alone_and_in_five_places(world: World) -> None:
    kinds = [prompt.kind for prompt in world.probe_prompts]
    assert kinds == ["subject"] + 5 * ["recontextualization"]


@pytest.mark.parametrize("class_noun", CLASSES)
def test_the_toybox_is_asked_only_what_it_was_taught(class_noun: str) -> None:
    chosen = home.TOYBOX.prompts(class_noun)
    asked = {word for prompt in chosen for word in prompt.template.replace("{}", class_noun).split()}
    assert asked <= set(captions.words())
    assert any(prompt.kind == "accessorization" for prompt in chosen) == (class_noun in WEARERS)


def test_own_prompts_are_followed_by_the_class_prompt() -> None:
    assert prompts.own_prompts(["a {} on the moon"]) == (
        prompts.Prompt("own", "a {} on the moon"),
        prompts.CLASS_PROMPT,
    )


@pytest.mark.parametrize(
    "template", ["", "  ", "a {subject}", "a {", "a {{}}", "a \0 {}", "a {} \x1b[2J", "a {} \ud800"]
)
def test_an_unusable_prompt_is_named(template: str) -> None:
    with pytest.raises(PromptError, match=r"prompt|is no text"):
        prompts.own_prompts(["a {}", template])


def test_the_papers_lists_are_the_published_ones() -> None:
    """The hash is of the 50 templates of https://github.com/google/dreambooth, "{0} {1}" written "{}", a line each."""
    lines = "\n".join(prompt.template for prompt in (*prompts.PAPER_OBJECT, *prompts.PAPER_LIVE))
    assert (
        hashlib.sha256(lines.encode()).hexdigest() == "68f4abff41061d3100789cff033f1ce789fa4b0b0c51688b32dddc0c752069ea"
    )
