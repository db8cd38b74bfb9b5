"""Section 3.2: a rare-token identifier, looked up in the model's own tokenizer.

The paper draws ids f(V^) of rare tokens and inverts them through the de-tokenizer f to get the text V^ of the
identifier. Whether f(V^) gives the ids back is checked here, in the sentence the identifier will stand in.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import Any

import torch

from dreambooth.config import Method, Naming
from dreambooth.errors import PromptError
from dreambooth.subject import MAX_CHARACTERS, Subject, require_one_word, require_text
from dreambooth.support import rng
from dreambooth.support.progress import log
from dreambooth.support.words import is_word

MAX_TOKENS = 3  # of an identifier
TRIES = 20_000

SENTENCEPIECE_WINDOW = (5 / 32, 10 / 32)
"""The paper's ids 5000 to 10000 of T5's 32 000; later ids are mostly long words, other languages and single letters."""

BYTE_PAIR_WINDOW = (0.9, 1.0)
"""The last merges of a byte-pair encoding, such as CLIP's; the paper gives no range for it."""


def with_identifier(
    subject: Subject,
    tokenizers: Sequence[Any],
    naming: Naming,
    seed: int,
    method: Method | None = None,
    taken: Collection[str] = (),
) -> Subject:
    """The subject with what names it: its own identifier, the user's, or one of the method's kind.

    That is a rare token of the tokenizer, a new word where the method (default: DreamBooth's) learns one, or the
    description; the class noun follows it except in Textual Inversion and a description.  tokenizers: transformers'
    tokenizers, all that read the prompt.  taken: identifiers of other subjects, not to be chosen again. Doubts about
    the user's own are logged as warnings. Raises PromptError for an identifier that cannot work, and where the caption
    is longer than the model reads.
    """
    method = method or Method()
    given = naming.identifier if subject.identifier is None else subject.identifier
    require_text(f"{given} {method.description} {method.initializer_token}")
    match method.method:
        case "prompt_only":
            subject = replace(subject, identifier=method.description, with_class_noun=False)
        case "textual_inversion":
            subject = replace(subject, identifier=_new_word(tokenizers, given, subject), with_class_noun=False)
        case "pivotal":
            subject = subject.named(_new_word(tokenizers, given, subject))
        case "dreambooth" | "lora":
            subject = subject.named(_rare_identifier(tokenizers, given, naming.identifier_tokens, seed, taken))
    require_free(subject.identifier or "", taken)
    for tokenizer in tokenizers:
        length, limit = len(tokenizer(subject.prompt)["input_ids"]) + method.num_vectors - 1, tokenizer.model_max_length
        if length > limit:
            raise PromptError(
                f'"{subject.prompt}" is {length} tokens long and the model reads {limit}: choose fewer words.'
            )
    return subject


def _rare_identifier(
    tokenizers: Sequence[Any], given: str | None, length: int, seed: int, taken: Collection[str]
) -> str:
    if given is None:
        return choose_identifier(tokenizers, length, seed, taken)
    for warning in check_identifier(tokenizers, given):
        log.warning(warning)
    return given


def _new_word(tokenizers: Sequence[Any], given: str | None, subject: Subject) -> str:
    """The user's word or <class-noun>, of a long noun its last words.

    Raises PromptError where a tokenizer has it already.
    """
    word = given or _word_for(subject.class_noun)
    require_one_word(word)
    if any(len(_tokens_of(tokenizer, word)) == 1 for tokenizer in tokenizers):
        raise PromptError(
            f"the model already knows the word {word!r}, which was to be learned: give a new one, "
            f"--identifier <{word}>."
        )
    return word


def _word_for(class_noun: str) -> str:
    words = class_noun.split()
    while len(words) > 1 and len("-".join(words)) > MAX_CHARACTERS - 2:  # the last ones say what it is
        words = words[1:]
    return f"<{'-'.join(words)[: MAX_CHARACTERS - 2]}>"


def rare_tokens(tokenizer: Any) -> list[int]:
    """Ids of rare tokens of two or three small letters that are no known word.

    Ids run from frequent to rare in both kinds of tokenizer, so rare is a window of them.
    """
    special = set(tokenizer.all_special_ids)
    return [i for i in _rare_window(tokenizer) if i not in special and _is_rare_text(_detokenise(tokenizer, [i]))]


def choose_identifier(tokenizers: Sequence[Any], length: int, seed: int, taken: Collection[str] = ()) -> str:
    """The text of `length` (1 to 3) rare tokens, drawn uniformly among those that every tokenizer reads back unchanged.

    Rare tokens are those of the first tokenizer; to another the text must be no known word, and 3 tokens at most.
    The same seed gives the same text, but for those that are taken; where all of that length are, it is longer: T5 has
    a single one of one token. Raises PromptError where there is none.
    """
    others = {word.casefold() for word in taken}  # many models ignore capitals
    drawn = chain.from_iterable(_drawn(tokenizers, count, seed) for count in range(length, MAX_TOKENS + 1))
    identifier = next((text for text in drawn if text.casefold() not in others), None)
    if identifier is None:
        raise PromptError(
            f"this model's tokenizer has no rare identifier of {length} tokens or more: ask for fewer with "
            "--identifier-tokens, or give your own with --identifier."
        )
    return identifier


def candidates(tokenizers: Sequence[Any], length: int, seed: int, count: int) -> list[str]:
    """Up to `count` identifiers as `choose_identifier` draws them; its own choice is the first."""
    return list(islice(dict.fromkeys(islice(_drawn(tokenizers, length, seed), 10 * count)), count))


def _drawn(tokenizers: Sequence[Any], length: int, seed: int) -> Iterator[str]:
    first, *others = tokenizers
    rare = rare_tokens(first)
    draws = torch.randint(max(len(rare), 1), (TRIES, length), generator=rng.generator(seed, "identifier"))
    for drawn in chain.from_iterable(some.tolist() for some in draws.split(100)) if rare else ():
        ids = [rare[at] for at in drawn]
        text = _detokenise(first, ids)
        usable = text.isalpha() and not is_word(text) and _tokens_of(first, text) == ids
        if usable and all(_reads_back(other, text) for other in others):
            yield text


def check_identifier(tokenizers: Sequence[Any], identifier: str) -> list[str]:
    """What speaks against an identifier that the user chose, a sentence each; raises PromptError if it cannot work."""
    require_one_word(identifier)
    doubts = dict.fromkeys(doubt for tokenizer in tokenizers for doubt in _doubts(tokenizer, identifier))
    advice = "Leave --identifier away to have a rare token chosen."
    return [f"the identifier {identifier!r} {doubt}. {advice}" for doubt in doubts]


def _doubts(tokenizer: Any, identifier: str) -> list[str]:
    ids = _tokens_of(tokenizer, identifier)
    if not _detokenise(tokenizer, [i for i in ids if i not in tokenizer.all_special_ids]):
        raise PromptError(
            f"this model's tokenizer does not know the identifier {identifier!r}: choose one of small Latin letters."
        )
    doubts = []
    if tokenizer.unk_token_id in ids:
        doubts.append("has characters that the tokenizer does not know")
    if len(ids) > 3:
        doubts.append(f"splits into {len(ids)} tokens, and each letter or syllable has a meaning of its own")
    if identifier.lower() == "sks":
        doubts.append("is a rifle to many models")
    elif _is_known(tokenizer, identifier, ids):
        doubts.append("is a word that the model knows, and its meaning will mix with your subject")
    if identifier != identifier.lower() and ids == _tokens_of(tokenizer, identifier.lower()):
        doubts.append(f"is the same as {identifier.lower()!r} to this model, which ignores capitals")
    return doubts


def _reads_back(tokenizer: Any, text: str) -> bool:
    ids = _tokens_of(tokenizer, text)
    return len(ids) <= 3 and _detokenise(tokenizer, ids) == text and not _is_known(tokenizer, text, ids)


def require_free(identifier: str, taken: Collection[str]) -> None:
    """Raise PromptError where another subject is called so, also where capitals alone differ."""
    if alike := [word for word in taken if word.casefold() == identifier.casefold()]:
        both = " and ".join(dict.fromkeys(map(repr, (identifier, *alike))))
        raise PromptError(f"two subjects are called {both}: give each an identifier of its own, also in small letters.")


def _rare_window(tokenizer: Any) -> range:
    size = tokenizer.vocab_size  # without words that were added to it, which are later than the rarest
    if not any(piece.startswith("\u2581") for piece in tokenizer.get_vocab()):
        low, high = BYTE_PAIR_WINDOW
    else:
        low, high = SENTENCEPIECE_WINDOW
        added = tokenizer.added_tokens_decoder
        while size - 1 in added:  # T5's vocabulary has 100 sentinels, <extra_id_0> and so on, after its 32 000 pieces
            size -= 1
    return range(round(size * low), round(size * high))


def _is_known(tokenizer: Any, identifier: str, ids: list[int]) -> bool:
    """A word of the web, or one token that is more frequent than rare ones."""
    return is_word(identifier.lower()) or (len(ids) == 1 and ids[0] < _rare_window(tokenizer).start)


def _is_rare_text(text: str) -> bool:
    # small ASCII letters: can be typed anywhere, and read the same by tokenizers that ignore capitals
    return 2 <= len(text) <= 3 and text.isascii() and text.isalpha() and text.islower() and not is_word(text)


def _detokenise(tokenizer: Any, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, clean_up_tokenization_spaces=False)).strip()


def _tokens_of(tokenizer: Any, text: str) -> list[int]:
    """The ids of `text` where it will stand: in "a [text] dog"."""
    before, after, whole = (
        tokenizer(words, add_special_tokens=False)["input_ids"] for words in ("a", "a dog", f"a {text} dog")
    )
    tail = len(after) - len(before)
    return list(whole[len(before) : len(whole) - tail])
