"""Section 3.2: identifiers of real small tokenizers, byte-pair and SentencePiece, and of the embedded model."""

import logging
import random
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, T5Tokenizer

import dreambooth.toybox
from dreambooth.config import Method, Naming
from dreambooth.errors import PromptError
from dreambooth.identifier import (
    candidates,
    check_identifier,
    choose_identifier,
    rare_tokens,
    with_identifier,
)
from dreambooth.models.single_file import clip_tokenizer
from dreambooth.subject import Subject
from dreambooth.support.words import is_word
from tiny import WORDS, tiny_tokenizer

TOYBOX = Path(dreambooth.toybox.__file__).parent / "weights" / "tokenizer"


def tiny_t5() -> Any:
    """A Unigram of 1000 pieces over words that get rarer and rarer, in T5's layout."""
    drawn = random.Random(0)
    syllables = [a + b for a in "bdfgjkpqvwxyz" for b in "jkquvxy"]  # none of them means much
    words = [
        "the",
        "cat",
        "dog",
        "red",
        *("".join(drawn.choices(syllables, k=drawn.choice((1, 2)))) for _ in range(900)),
    ]
    corpus = [word for rank, word in enumerate(words) for _ in range(1 + 2000 // (1 + rank))]
    backend = Tokenizer(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    letters = list("\u2581abcdefghijklmnopqrstuvwxyz")
    backend.train_from_iterator(
        corpus, trainers.UnigramTrainer(vocab_size=1000, initial_alphabet=letters, show_progress=False)
    )
    pieces = sorted(backend.get_vocab().items(), key=lambda pair: pair[1])
    scores = [(piece, -1.0 - 0.01 * rank) for rank, (piece, _) in enumerate(pieces)]
    return T5Tokenizer(vocab=[("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *scores], extra_ids=0)


@pytest.fixture(scope="module", params=["clip", "t5", "toybox"])
def tokenizer(request: pytest.FixtureRequest) -> Any:
    if request.param == "clip":
        return tiny_tokenizer()
    if request.param == "t5":
        return tiny_t5()
    if not TOYBOX.is_dir():
        pytest.skip("the embedded weights are not here")
    return AutoTokenizer.from_pretrained(TOYBOX)


def test_rare_tokens_are_rare_short_and_no_words(tokenizer: Any) -> None:
    rare = rare_tokens(tokenizer)
    texts = [tokenizer.decode([token]).strip() for token in rare]
    assert len(rare) == len(set(rare)) >= 4
    assert all(2 <= len(text) <= 3 and text.isalpha() and text.islower() for text in texts)
    assert not {"cat", "dog", "red", "car"} & set(texts) and not any(map(is_word, texts))
    assert not set(rare) & set(tokenizer.all_special_ids)
    dog = tokenizer("dog", add_special_tokens=False)["input_ids"]
    assert len(dog) > 1 or dog[0] < min(rare)


def test_t5_uses_the_window_of_the_paper() -> None:
    tokenizer = tiny_t5()
    size = len(tokenizer)
    assert all(size * 5 // 32 <= token <= size * 10 / 32 for token in rare_tokens(tokenizer))


@pytest.mark.parametrize("inside", [True, False], ids=["sentinels in the vocabulary", "added to it"])
def test_t5s_window_is_that_of_its_pieces_and_not_of_its_sentinels(inside: bool) -> None:
    """The paper's ids 5000 to 10000 of 32 000; T5's tokenizer.json and spiece.model both come out as 32 100 rows."""
    drawn = random.Random(1)
    texts = dict.fromkeys("\u2581" + "".join(drawn.choices("bcdfghjkpqvwxz", k=3)) for _ in range(5000))
    pieces = ["<pad>", "</s>", "<unk>", "\u2581", *(f"{number}z" for number in range(32_000))][:32_000]
    for number, text in enumerate([text for text in texts if not is_word(text[1:])][:1000]):
        pieces[4990 + number] = text  # rare texts, from before the window on
        pieces[9500 + number] = text[1:]  # and to behind it
    sentinels = [f"<extra_id_{number}>" for number in reversed(range(100))] if inside else []
    vocabulary = [(piece, -float(at)) for at, piece in enumerate([*pieces, *sentinels])]
    tokenizer = T5Tokenizer(vocab=vocabulary, extra_ids=100)
    assert len(tokenizer) == 32_100 and tokenizer.vocab_size == (32_100 if inside else 32_000)
    rare = rare_tokens(tokenizer)
    assert (rare[0], rare[-1]) == (5000, 9999)
    tokenizer.add_tokens(["<toy-car>", "<toy-car>_1"])
    assert rare_tokens(tokenizer) == rare, "a word that is learned moves nothing"


def test_the_choice_of_clips_tokenizers_is_what_it_was() -> None:
    """Runs that were begun with these are resumed with them, and figures in docs/ are of them."""
    clip = clip_tokenizer("<|endoftext|>")
    assert [choose_identifier([clip], 1, seed) for seed in range(4)] == ["vx", "szn", "ygk", "laq"]
    clip.add_tokens([f"<toy-car>_{at}" for at in range(30)])
    assert [choose_identifier([clip], 1, seed) for seed in range(4)] == ["vx", "szn", "ygk", "laq"]
    if TOYBOX.is_dir():
        toybox = AutoTokenizer.from_pretrained(TOYBOX)
        assert [choose_identifier([toybox], 1, seed) for seed in range(4)] == ["jyk", "dwq", "rvj", "zwx"]


def test_the_identifier_comes_back_through_the_tokenizer(tokenizer: Any) -> None:
    rare = set(rare_tokens(tokenizer))
    before, after = (tokenizer(words, add_special_tokens=False)["input_ids"] for words in ("a", "a dog"))
    seen = set()
    for seed in range(12):
        identifier = choose_identifier([tokenizer], 1, seed)
        seen.add(identifier)
        whole = tokenizer(f"a {identifier} dog", add_special_tokens=False)["input_ids"]
        (token,) = whole[len(before) : len(whole) - (len(after) - len(before))]
        assert token in rare
        assert tokenizer.decode([token]).strip() == identifier
        assert choose_identifier([tokenizer], 1, seed) == identifier
        assert check_identifier([tokenizer], identifier) == []
    assert len(seen) > 2


@pytest.mark.parametrize("length", [2, 3])
def test_longer_identifiers_have_that_many_tokens(length: int) -> None:
    tokenizer = tiny_t5()
    for seed in range(5):
        identifier = choose_identifier([tokenizer], length, seed)
        assert identifier.isalpha()
        assert len(tokenizer(f" {identifier}", add_special_tokens=False)["input_ids"]) == length
        assert len(identifier) <= 3 * length


def test_where_all_of_a_length_are_taken_a_longer_one_is_chosen() -> None:
    """T5's real vocabulary has one of a single token, "vu"; a second subject in the model needs another."""
    tokenizer = tiny_t5()
    ones = candidates([tokenizer], 1, 0, 10_000)
    assert choose_identifier([tokenizer], 1, 0, ones[:-1]) == ones[-1]
    longer = choose_identifier([tokenizer], 1, 0, ones)
    assert len(tokenizer(f" {longer}", add_special_tokens=False)["input_ids"]) == 2


def test_a_tokenizer_without_rare_tokens_says_so() -> None:
    tokenizer = T5Tokenizer(
        vocab=[("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -1.0), ("a", -2.0)], extra_ids=0
    )
    with pytest.raises(PromptError, match="--identifier"):
        choose_identifier([tokenizer], 1, 0)


@pytest.mark.parametrize("identifier", ["", " ", "two words", "tab\t", "line\n", "x" * 33, "{}", "\u200b"])
def test_an_identifier_that_cannot_work_is_an_error(identifier: str) -> None:
    with pytest.raises(PromptError, match="the identifier"):
        check_identifier([tiny_tokenizer()], identifier)


@pytest.mark.parametrize(
    ("identifier", "said"),
    [
        ("xxy5syt00", "splits into"),
        ("dog", "is a word that the model knows"),
        ("photo", "is a word that the model knows"),
        ("sks", "rifle"),
        ("ZWX", "the same as 'zwx'"),
        ("zwx", ""),
    ],
)
def test_doubts_about_a_users_identifier(identifier: str, said: str) -> None:
    assert "zwx" in WORDS
    doubts = check_identifier([tiny_tokenizer()], identifier)
    assert (len(doubts) == 1 and said in doubts[0]) if said else not doubts


def test_unknown_letters_are_doubted_or_refused() -> None:
    tokenizer = tiny_t5()
    assert any("does not know" in doubt for doubt in check_identifier([tokenizer], "ba\u65e5"))
    with pytest.raises(PromptError, match="does not know"):
        check_identifier([tokenizer], "\u65e5")


def test_the_user_goes_first(caplog: pytest.LogCaptureFixture) -> None:
    tokenizer, subject = tiny_tokenizer(), Subject(photos=(Path("a.png"),), class_noun="dog")
    chosen = with_identifier(subject, [tokenizer], Naming(), seed=3)
    assert chosen.identifier == choose_identifier([tokenizer], 1, 3)
    assert not caplog.records
    with caplog.at_level(logging.WARNING, "dreambooth"):
        assert with_identifier(subject, [tokenizer], Naming(identifier="sks"), seed=3).name == "sks dog"
    assert "rifle" in caplog.text
    assert with_identifier(subject.named("grb"), [tokenizer], Naming(identifier="sks"), seed=3).name == "grb dog"


def test_a_caption_that_the_model_cannot_read_whole_is_an_error() -> None:
    subject = Subject(photos=(Path("a.png"),), class_noun="very " * 20 + "small dog")
    with pytest.raises(PromptError, match="tokens long and the model reads 16"):
        with_identifier(subject, [tiny_tokenizer()], Naming(), seed=0)


def test_a_method_that_learns_a_word_gets_one_that_the_tokenizer_lacks() -> None:
    tokenizer, subject = tiny_tokenizer(), Subject(photos=(Path("a.png"),), class_noun="toy car")
    inverted = with_identifier(subject, [tokenizer], Naming(), 0, Method(method="textual_inversion"))
    assert (inverted.identifier, inverted.prompt) == ("<toy-car>", "a <toy-car>")
    assert inverted.fill("a photo of a {} in the snow") == "a photo of a <toy-car> in the snow"
    pivotal = with_identifier(subject, [tokenizer], Naming(), 0, Method(method="pivotal"))
    assert pivotal.prompt == "a <toy-car> toy car"
    own = with_identifier(subject, [tokenizer], Naming(identifier="<mine>"), 0, Method(method="textual_inversion"))
    assert own.name == "<mine>"
    assert with_identifier(inverted, [tokenizer], Naming(), 0, Method(method="textual_inversion")) == inverted
    long = Subject(photos=(Path("a.png"),), class_noun="black and white springer spaniel puppy")
    tokenizer.model_max_length = 77
    told = with_identifier(long, [tokenizer], Naming(), 0, Method(method="textual_inversion"))
    assert told.identifier == "<white-springer-spaniel-puppy>"


def test_a_word_that_the_tokenizer_has_cannot_be_learned_again() -> None:
    subject = Subject(photos=(Path("a.png"),), class_noun="dog")
    with pytest.raises(PromptError, match="--identifier <sks>"):
        with_identifier(subject, [tiny_tokenizer()], Naming(identifier="sks"), 0, Method(method="pivotal"))


def test_the_vectors_of_a_word_count_as_tokens() -> None:
    subject = Subject(photos=(Path("a.png"),), class_noun="dog")
    with pytest.raises(PromptError, match="the model reads 16"):
        with_identifier(subject, [tiny_tokenizer()], Naming(), 0, Method(method="textual_inversion", num_vectors=20))


@pytest.mark.parametrize(
    ("description", "prompt"), [("orange dog", "an orange dog"), ("red dog with blue ears", "a red dog with blue ears")]
)
def test_a_description_stands_for_the_name_with_its_article(description: str, prompt: str) -> None:
    subject = Subject(photos=(Path("a.png"),), class_noun="dog")
    named = with_identifier(
        subject, [tiny_tokenizer()], Naming(), 0, Method(method="prompt_only", description=description)
    )
    assert named.prompt == prompt
    assert named.fill("a photo of a {}") == f"a photo of {prompt}"
    assert named.class_prompt == "a dog"


def test_candidates_begin_with_the_choice_and_do_not_repeat() -> None:
    tokenizers = [tiny_t5()]
    found = candidates(tokenizers, 1, 3, 6)
    assert found[0] == choose_identifier(tokenizers, 1, 3)
    assert len(found) == len(set(found)) == 6 and found == candidates(tokenizers, 1, 3, 6)
