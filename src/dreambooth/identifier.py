"""Section 3.2: a rare-token identifier, looked up in the model's own tokenizer.

The paper draws ids f(V^) of rare tokens and inverts them through the de-tokenizer f to get the text V^ of the
identifier. Whether f(V^) gives the ids back is checked here, in the sentence the identifier will stand in.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from dreambooth import rng
from dreambooth.config import Method, Naming
from dreambooth.errors import PromptError
from dreambooth.progress import log
from dreambooth.subject import Subject

MAX_CHARACTERS = 32
TRIES = 20_000

SENTENCEPIECE_WINDOW = (5 / 32, 10 / 32)
"""The paper's ids 5000 to 10000 of T5's 32 000; later ids are mostly long words, other languages and single letters."""

BYTE_PAIR_WINDOW = (0.9, 1.0)
"""The last merges of a byte-pair encoding, such as CLIP's; the paper gives no range for it."""

_WORDS = """
ace act ad add age ago aid aim air ale all am an and ant any ape apt arc are ark arm art as ash ask ass at ate awe
axe bad bag ban bar bat bay be bed bee beg bet bib bid big bin bit bmw bow box boy bud bug bum bun bus but buy by
cab can cap car cat cd cnn cow cry cub cue cum cup cut dad dam day dc den dew did dig dim dip do dog dot dry due dug
dvd dye ear eat ebb eel egg ego elf elk elm emu end era eve ewe eye fag fan far fat fax fbi fck fed fee few fig fin
fir fit fix flu fly fog for fox fry fun fur gag gap gas gem get gif go god got gum gun gut guy gym had ham has hat
hay he hem hen her hey hid him hip his hit hop hot how hub hue hug hut ibm ice if ill in ink inn ion is it its ivy
jam jap jar jaw jet job joy jpg jug key kid kin kit kkk la lab lad lap law lay led leg let lid lie lip lit log lot
low mad man map mat may me men met mid mix mob mom moo mop mud mug my nap nba net new nfl nig nil no nod nor not now
nun nut ny nyc oak oar odd of off oh oil old on one or orb ore our out owl own pad pal pan paw pay pc pdf pea peg
pen pet pie pig pin pit png pop pot pro pub pup put rag ram ran rat raw ray red rib rid rim rip rob rod rot row rub
rug rum run rye sad sat saw say sea see set sew sex she shy sin sip sir sit six ski sks sky so son soy spa spy ssh
sub sum sun tab tag tan tap tar tax tea ten the tie tin tip tit to toe ton too top toy try tub tug tv two uk up urn
us usa use van vat vet via vow war was wax way we web wed wet who why wig win wit wok won wow wtf wwe xxx yak
yes yet you zip zoo
"""

KNOWN_WORDS = frozenset(_WORDS.split())
"""English words and internet shorthand of up to three letters: what a rare token must not be. sks is a rifle."""


def with_identifier(
    subject: Subject, tokenizers: Sequence[Any], naming: Naming, seed: int, method: Method | None = None
) -> Subject:
    """The subject with what names it: its own identifier, the user's, or one of the method's kind.

    That is a rare token of the tokenizer, a new word where the method (default: DreamBooth's) learns one, or the
    description; the class noun follows it except in Textual Inversion and a description.  tokenizers: transformers'
    tokenizers, all that read the prompt. Doubts about the user's own are logged as warnings. Raises PromptError for an
    identifier that cannot work, or where the caption is longer than the model reads.
    """
    method = method or Method()
    given = naming.identifier if subject.identifier is None else subject.identifier
    match method.method:
        case "prompt_only":
            subject = replace(subject, identifier=method.description, with_class_noun=False)
        case "textual_inversion":
            subject = replace(subject, identifier=_new_word(tokenizers, given, subject), with_class_noun=False)
        case "pivotal":
            subject = subject.named(_new_word(tokenizers, given, subject))
        case "dreambooth" | "lora":
            subject = subject.named(_rare_identifier(tokenizers, given, naming.identifier_tokens, seed))
    for tokenizer in tokenizers:
        length, limit = len(tokenizer(subject.prompt)["input_ids"]) + method.num_vectors - 1, tokenizer.model_max_length
        if length > limit:
            raise PromptError(
                f'"{subject.prompt}" is {length} tokens long and the model reads {limit}: choose fewer words.'
            )
    return subject


def _rare_identifier(tokenizers: Sequence[Any], given: str | None, length: int, seed: int) -> str:
    if given is None:
        return choose_identifier(tokenizers, length, seed)
    for warning in check_identifier(tokenizers, given):
        log.warning(warning)
    return given


def _new_word(tokenizers: Sequence[Any], given: str | None, subject: Subject) -> str:
    """The user's word or <class-noun>; raises PromptError where a tokenizer has it already."""
    word = given or f"<{'-'.join(subject.class_noun.split())}>"
    _require_one_word(word)
    if any(len(_tokens_of(tokenizer, word)) == 1 for tokenizer in tokenizers):
        raise PromptError(
            f"the word to be learned, {word!r}, is one that the model has: give a new one with --identifier <{word}>."
        )
    return word


def rare_tokens(tokenizer: Any) -> list[int]:
    """Ids of rare tokens of two or three small letters that are no known word.

    Ids run from frequent to rare in both kinds of tokenizer, so rare is a window of them.
    """
    special = set(tokenizer.all_special_ids)
    return [i for i in _rare_window(tokenizer) if i not in special and _is_rare_text(_detokenise(tokenizer, [i]))]


def choose_identifier(tokenizers: Sequence[Any], length: int, seed: int) -> str:
    """The text of `length` (1 to 3) rare tokens, drawn uniformly among those that every tokenizer reads back unchanged.

    Rare tokens are those of the first tokenizer; to another the text must be no known word, and 3 tokens at most.
    The same seed gives the same text. Raises PromptError where there is none.
    """
    first, *others = tokenizers
    rare = rare_tokens(first)
    if rare:
        for drawn in torch.randint(len(rare), (TRIES, length), generator=rng.generator(seed, "identifier")).tolist():
            ids = [rare[at] for at in drawn]
            text = _detokenise(first, ids)
            usable = text.isalpha() and text not in KNOWN_WORDS and _tokens_of(first, text) == ids
            if usable and all(_reads_back(other, text) for other in others):
                return text
    raise PromptError(
        f"this model's tokenizer has no rare identifier of {length} tokens: ask for another --identifier-tokens, "
        "or give your own with --identifier."
    )


def check_identifier(tokenizers: Sequence[Any], identifier: str) -> list[str]:
    """What speaks against an identifier that the user chose, a sentence each; raises PromptError if it cannot work."""
    _require_one_word(identifier)
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


def _require_one_word(identifier: str) -> None:
    usable = 0 < len(identifier) <= MAX_CHARACTERS and identifier.isprintable() and not set(" {}") & set(identifier)
    if not usable:
        raise PromptError(
            f"the identifier {identifier!r} cannot work: it must be one word of 1 to {MAX_CHARACTERS} characters "
            "without spaces or braces. Leave --identifier away to have one chosen."
        )


def _rare_window(tokenizer: Any) -> range:
    marks_words = any(piece.startswith("\u2581") for piece in tokenizer.get_vocab())
    low, high = SENTENCEPIECE_WINDOW if marks_words else BYTE_PAIR_WINDOW
    return range(round(len(tokenizer) * low), round(len(tokenizer) * high))


def _is_known(tokenizer: Any, identifier: str, ids: list[int]) -> bool:
    """A listed word, or one token that is more frequent than rare ones."""
    return identifier.lower() in KNOWN_WORDS or (len(ids) == 1 and ids[0] < _rare_window(tokenizer).start)


def _is_rare_text(text: str) -> bool:
    # small ASCII letters: can be typed anywhere, and read the same by tokenizers that ignore capitals
    return 2 <= len(text) <= 3 and text.isascii() and text.isalpha() and text.islower() and text not in KNOWN_WORDS


def _detokenise(tokenizer: Any, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, clean_up_tokenization_spaces=False)).strip()


def _tokens_of(tokenizer: Any, text: str) -> list[int]:
    """The ids of `text` where it will stand: in "a [text] dog"."""
    before, after, whole = (
        tokenizer(words, add_special_tokens=False)["input_ids"] for words in ("a", "a dog", f"a {text} dog")
    )
    tail = len(after) - len(before)
    return list(whole[len(before) : len(whole) - tail])
