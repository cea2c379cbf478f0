"""Find the words of a vocabulary that no text can reach, because the text rules split, change or drop them."""

from __future__ import annotations

import json
import logging
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from pocketrnn.errors import short_repr
from pocketrnn.text import SubwordRules, TextEncoder, TextRules
from pocketrnn_export.progress import ABOUT_MARKS, ABOUT_WORDS, AFTER_AN_ERROR
from pocketrnn_export.vocabularies.candidate_text_rules import (
    describe_rules,
    list_candidate_rules,
    list_rules_with_sos_and_eos,
)
from pocketrnn_export.vocabularies.vocabulary import PLACEHOLDER

_log = logging.getLogger(__name__)

_NAMED_WORDS: Final = 5
_LONGEST_WORD: Final = 20
# The marks of tokenizers of subwords for the start, the middle or the end of a word.
SUBWORD_MARKS: Final = ("##", "@@", "\u2581", "\u0120", "</w>")
_SPECIAL: Final = re.compile(r"\W.*\W|\W*", re.DOTALL)
# With fewer words, single characters may be words, as in an example of four words a, b, c and d.
_FEW_WORDS: Final = 16
# The words of five English data sets (258 to 27,234 words) have 0.002 to 0.093 single characters.
_CHARACTERS: Final = 0.5
_MARKED: Final = 0.1
# Up to 0.05 of the words of 30 vocabularies that basic_english made, or a tokenizer like it, are in no text; of those
# with capitals, or with the signs that stood beside a word, 0.14 to 0.39.
_UNREACHABLE: Final = 0.125
# So many words of one length are parts of words.
_MANY_WORDS: Final = 100
_OF_ONE_LENGTH: Final = 0.9
# A half of the words of Chinese and Japanese vocabularies have several of these signs.
_UNSPACED: Final = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]{2,}")
_WITHOUT_SPACES: Final = 0.4
# Frequent English words, and the stems of Porter's algorithm in their place.
_STEMS: Final = {"veri": "very", "onli": "only", "becaus": "because", "peopl": "people", "everi": "every"}
_FEW_STEMS: Final = 3
# A vocabulary of 100,000 words would take seconds.
_MOST_TRIED: Final = 1_000


class DoubtfulDefault(NamedTuple):
    """The reason why text rules that no option states cannot be the owner's.

    Attributes:
        problem: the reason, as a sentence.
        rules: the usual rules that find the vocabulary's words; None if there are none.
    """

    problem: str
    rules: TextRules | None


def find_reason_against_default_rules(rules: TextRules, tokens: Sequence[str]) -> DoubtfulDefault | None:
    """Return the reason why the default tokenizer cannot have made a vocabulary. Return None if it can. Reasons are:
    most tokens are single characters or have one length; many are parts of words, stems, or words of a script without
    spaces; or too many can occur in no text.

    Args:
        rules: the default rules.
        tokens: the tokens of the vocabulary.
    """
    special = {value for name, value in vars(rules).items() if name.endswith("_id")}
    words = [token for i, token in enumerate(tokens) if i not in special and not token.startswith(PLACEHOLDER)]
    words = [token for token in words if len(token) == 1 or not _SPECIAL.fullmatch(token)]
    words = words[:: len(words) // _MOST_TRIED + 1]
    number, splits = len(words), f"{rules.tokenizer} splits a text into whole words"
    if number >= _FEW_WORDS and sum(len(one) == 1 for one in words) >= _CHARACTERS * number:
        has_capitals = any(one != one.lower() for one in words)
        return DoubtfulDefault(
            f"Most tokens of the vocabulary are single characters, but {splits}.",
            replace(rules, tokenizer="characters", lowercase=not has_capitals),
        )
    marked = [one for one in words if any(one.strip() != mark and (one.startswith(mark) or one.endswith(mark))
                                          for mark in SUBWORD_MARKS)]  # fmt: skip
    unspaced = [one for one in words if _UNSPACED.fullmatch(one)]
    lengths = Counter(len(one) for one in words if one.replace(" ", "").isalpha())
    of_length = [one for one in words if lengths and len(one) == lengths.most_common(1)[0][0]]
    stems = [one for one in {*_STEMS} & {*tokens} if _STEMS[one] not in tokens]
    for these, least, what in (
        (marked, max(_MARKED * number, _MARKED * _FEW_WORDS), f"are pieces of words, but {splits}"),
        (of_length, max(_OF_ONE_LENGTH * number, _MANY_WORDS), f"all have one length, but {splits}"),
        (stems, _FEW_STEMS - 1, f"are stems, but {splits}"),
        (unspaced, max(_WITHOUT_SPACES * number, _FEW_WORDS), f"are words of texts without spaces, but {splits}"),
    ):
        if len(these) > least:
            named = ", ".join(short_repr(one, _LONGEST_WORD) for one in these[:_NAMED_WORDS])
            return DoubtfulDefault(f"Tokens of the vocabulary, such as {named}, {what}.", None)
    never = find_unreachable_words(TextEncoder(rules, tokens), enumerate(words, len(tokens)))
    if number < _FEW_WORDS or len(never) <= _UNREACHABLE * number:
        return None
    best, counted = None, len(never) / 4
    for one in list_candidate_rules(rules):
        if one.steps:
            break
        found = len(find_unreachable_words(TextEncoder(one, tokens), enumerate(words, len(tokens))))
        if found < counted:
            best, counted = one, found
    named = ", ".join(short_repr(one, _LONGEST_WORD) for one in never[:_NAMED_WORDS])
    return DoubtfulDefault(
        f"The default rules ({describe_rules(rules)}) find {len(never) / number:.0%} of the vocabulary's words in no "
        f"text, such as {named}.",
        best,
    )


def find_unreachable_words(encoder: TextEncoder, words: Iterable[tuple[int, str]]) -> list[str]:
    """Return the words of a vocabulary that the text rules can find in no text, since the rules split, change or drop
    these words. Return an empty list for a subword tokenizer.

    Args:
        encoder: splits texts by the rules.
        words: pairs (id, word) of the vocabulary.
    """
    if isinstance(encoder.rules, SubwordRules):
        # A piece need not come from a text of its own: it occurs inside words.
        return []
    special = {value for name, value in vars(encoder.rules).items() if name.endswith("_id")}
    return [
        token
        for i, token in words
        if i not in special
        and not token.startswith(PLACEHOLDER)
        and not any(token in encoder.tokens(text) for text in _list_spellings(token))
    ]


def warn_of_unreachable_words(encoder: TextEncoder, tokens: Sequence[str]) -> None:
    """Log a warning with the words of the vocabulary that the text rules can find in no text. Also log tokens such as
    `<s>` that the rules do not put around a text. Log nothing for a subword tokenizer."""
    never = find_unreachable_words(encoder, enumerate(tokens))
    if not isinstance(encoder.rules, TextRules):
        return
    marked = list_rules_with_sos_and_eos(encoder.rules, tokens)[:1]
    marks = [(name, tokens[number]) for one in marked for name in ("first_id", "last_id")
             if (number := getattr(one, name)) is not None]  # fmt: skip
    never = [one for one in never if one not in {word for _, word in marks}]
    if marks:
        _log.warning(
            "The rules do not put %s around a text. If your code does, add this to --rules: %s",
            " or ".join(short_repr(word) for _, word in marks), json.dumps(dict(marks)),
            extra={AFTER_AN_ERROR: ABOUT_MARKS},
        )  # fmt: skip
    if never:
        words = ", ".join(short_repr(one, _LONGEST_WORD) for one in never[:_NAMED_WORDS]) + (
            " and others" if len(never) > _NAMED_WORDS else ""
        )
        is_cured = False
        if encoder.rules.lowercase and encoder.rules.tokenizer != "basic_english":
            kept = TextEncoder(replace(encoder.rules, lowercase=False), tokens)
            is_cured = 2 * len(find_unreachable_words(kept, enumerate(tokens))) < len(never)
        if encoder.rules.tokenizer == "characters" and 2 * len(never) > len(tokens):
            _log.warning(
                "The tokenizer gives single characters, but the vocabulary holds words: %s of %s are in no text",
                f"{len(never):,}", f"{len(tokens):,}", extra={AFTER_AN_ERROR: ABOUT_WORDS},
            )  # fmt: skip
            return
        _log.warning(
            "The rules (%s) find %d %s of the vocabulary in no text, not even in one with capitals only: %s.%s",
            describe_rules(encoder.rules), len(never), "word" if len(never) == 1 else "words", words,
            ' With "lowercase": false in --rules, they are found.' * is_cured,
            extra={AFTER_AN_ERROR: ABOUT_WORDS},
        )  # fmt: skip


def _list_spellings(word: str) -> Iterator[str]:
    """Yield a word, and the spellings that cleaning steps or lower-casing may turn into this word.

    A cleaning step before lower-casing may keep only capitals, or drop the dot U+0307. The dot of a word then comes
    only from U+0130, the only letter whose lower case has two code points.
    """
    yield word
    upper = word.upper()
    yield from (upper, word[:1].upper() + word[1:], word.title(), word.swapcase())
    for written, composed in (("i\u0307", "\u0130"), ("I\u0307", "\u0130"), ("ss", "\xdf"), ("ss", "\u1e9e")):
        for spelling in (word, upper):
            if written in spelling:
                yield spelling.replace(written, composed)
    yield unicodedata.normalize("NFC", upper)
    # A blank may be a token between letters only.
    if word != word.strip():
        yield f"a{word}b"
