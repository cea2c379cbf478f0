"""Check the ids and tokens of texts that only the owner's code can split. They may show cut texts, padding or another
vocabulary.

A bundle that takes tokens cuts and pads by its rules, and looks words up in its vocabulary. Tokens that the owner has
already cut do not show the whole text, whatever their answers are; but cut texts all end at one length. If the owner
gives ids only, the vocabulary is not compared; ids of another vocabulary name words that are not in the texts.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from pocketrnn.errors import InputError, short_repr
from pocketrnn.text import EXTERNAL, AnyTextRules, TextEncoder, TextRules
from pocketrnn_export.vocabularies.external_tokenizer_advice import collect_width_members, write_external_options
from pocketrnn_export.vocabularies.rules_from_ids import strip_padding_ids
from pocketrnn_export.vocabularies.unreachable_words import SUBWORD_MARKS

_log = logging.getLogger(__name__)

# Shorter texts may have one length by chance; longer ones may if its probability is above _CHANCE.
_LONG: Final = 20
_CHANCE: Final = 0.1
# With fewer words, the share of them that occurs in the texts shows nothing.
_WORDS: Final = 12
# If at least this share of the words occurs in the texts, nothing is doubted. For stems, few of which occur in texts,
# the share is above a half; for the letters of any vocabulary it is up to 0.87.
_MOST: Final = 0.9
# Below it, the share must be this large, and this much larger than in the other texts.
_LEAST: Final = 0.3
_LARGER: Final = 2.0
_OTHERS: Final = 8
# With this many texts, all of which begin or end with one id, the id may be a word.
_FEW: Final = 3
_TEXTS: Final = 200
_TOKENS: Final = 'give pairs that have their tokens too ("tokens" in a file of pairs)'


def refuse_doubtful_ids(
    rules: AnyTextRules,
    vocabulary: Sequence[str],
    ids_by_text: Mapping[str, Sequence[int]],
    token_lists: Sequence[Sequence[str]] = (),
) -> None:
    """Check that the text rules and the vocabulary fit the ids and tokens that the owner's code gives to texts.

    Args:
        rules: the text rules, whose tokenizer is external.
        vocabulary: the tokens.
        ids_by_text: the ids of texts whose tokens are not known.
        token_lists: the tokens of the other texts, one list for each text.

    Raises:
        InputError: many texts have the same largest number of tokens, so the owner's code seems to cut texts, but the
            rules do not; the ids are padded, but the rules do not pad; or the words of the ids occur in other texts as
            often as in their own, so the ids seem to belong to another vocabulary.
    """
    # For tokens, only the padding id matters here.
    padding = vocabulary[rules.padding_id] if rules.padding_id < len(vocabulary) else None
    of_tokens = [[rules.padding_id if token == padding else -1 for token in tokens] for tokens in token_lists]
    if rows := [*ids_by_text.values(), *of_tokens]:
        _refuse_padded_texts(rules, vocabulary, rows)
        around = len(rules.first_ids) + len(rules.last_ids)
        lengths = [*(len(ids) - around for ids in ids_by_text.values()), *map(len, token_lists)]
        _refuse_cut_texts(rules, lengths, "tokens" if token_lists or around else "ids")
    if ids_by_text:
        _refuse_foreign_words(rules, vocabulary, dict(list(ids_by_text.items())[:_TEXTS]))


def _refuse_cut_texts(rules: AnyTextRules, lengths: Sequence[int], unit: str) -> None:
    """Raise an InputError if the owner's code seems to cut texts although the rules do not, since more texts have the
    largest length than chance explains. If chance may explain it, log a warning. `unit` is the word for what the
    lengths count, such as "tokens"."""
    most = max(lengths)
    if rules.sizes[1] is not None or lengths.count(most) < 2 or most < 2:
        return
    said = f"{lengths.count(most):,} pairs have {most:,} {unit}, the largest number, but the rules do not cut texts."
    longer = "If it does not cut texts, add a pair with a longer text"
    if most >= _LONG and _compute_chance_probability(most, lengths) < _CHANCE:
        here = f"If your pipeline cuts texts there, give --max-tokens {most} (max_tokens={most} in the rules)."
        raise InputError(said, f"{here} {longer}.")
    _log.warning(
        "%s If your pipeline cuts texts at some length N, give --max-tokens N (max_tokens=N in the rules). %s",
        said,
        longer,
    )


def warn_of_cut_that_no_text_shows(rules: AnyTextRules, vocabulary: Sequence[str], texts: Sequence[str]) -> None:
    """Log a warning if the rules cut texts at a length, but none of the owner's texts is longer. The comparison of the
    texts then does not show whether the owner's code also cuts at this length."""
    cut = rules.sizes[1]
    if cut is None or not texts or not isinstance(rules, TextRules) or rules.tokenizer == EXTERNAL:
        return
    encoder = TextEncoder(replace(rules, max_tokens=None, max_width=None, min_width=None), vocabulary)
    longest = max(len(encoder.encode(text)) for text in texts)
    if longest <= cut:
        _log.warning(
            "The bundle cuts texts to %d ids, but none of your texts has more than %d: what your code does with longer "
            "ones was not compared. If it reads them whole, leave max_width out of the rules",
            cut, longest,
        )  # fmt: skip


def _refuse_padded_texts(rules: AnyTextRules, vocabulary: Sequence[str], rows: Sequence[Sequence[int]]) -> None:
    """Raise an InputError if rows of ids begin or end with the padding id, but the rules do not pad texts."""
    padding = rules.padding_id
    if rules.min_width is not None or padding == rules.unknown_id or padding >= len(vocabulary):
        return
    # Without a token named so, the padding id may be a word, which can end a text once, but not twice.
    times = 1 if "pad" in vocabulary[padding].casefold() else 2
    counts = {
        side: sum(
            len(row) > times and set(row[-times:] if side == "right" else row[:times]) == {padding} for row in rows
        )
        for side in ("right", "left")
    }
    # A row of padding only, as of an empty text, counts for both sides.
    side = max(counts, key=counts.__getitem__)
    if not counts[side]:
        return
    remedy = "Give the ids without padding."
    if len({len(row) for row in rows}) == 1:
        option = write_external_options(
            {**collect_width_members(rules), **_find_rule_members_of_padded_rows(rows, padding, side)}
        )
        remedy = (
            f"Give {option} in place of --tokenizer external (the same members of TextRules in Python), with "
            "unknown_id if unknown words have an id of their own. Or give the ids without padding."
        )
    raise InputError(
        f"The ids of {counts[side]:,} of {len(rows):,} texts {'end' if side == 'right' else 'begin'} with the padding "
        f"id {padding} ({vocabulary[padding]!r}), but the text rules do not pad texts.",
        remedy,
    )


def _find_rule_members_of_padded_rows(rows: Sequence[Sequence[int]], padding: int, side: str) -> dict[str, Any]:
    """Return a dict of the members of text rules that padded rows of ids show: the width, the side of the padding, and
    the first id and the last id if they are the same in all texts. `padding` is the padding id."""
    cores = [core for row in rows if (core := strip_padding_ids(row, padding))]
    found: dict[str, Any] = {}
    for name, end in (("first_id", 0), ("last_id", -1)):
        if len(cores) > _FEW and len({core[end] for core in cores}) == 1:
            found[name] = cores[0][end]
    return {**found, "max_width": len(rows[0]), "min_width": len(rows[0]), "pad_side": side}


def _compute_chance_probability(longest: int, lengths: Sequence[int]) -> float:
    """Return the probability that as many texts as in `lengths`, or more, have the length `longest` by chance. It is
    computed from the number of texts that are up to a tenth shorter. `lengths` has the length of each text."""
    tenth = longest // 10
    expected = max(sum(longest - tenth <= length < longest for length in lengths), 0.5) / tenth
    more = lengths.count(longest) - 1
    return 1 - sum(math.exp(-expected) * expected**i / math.factorial(i) for i in range(min(more, 100)))


def _refuse_foreign_words(
    rules: AnyTextRules, vocabulary: Sequence[str], ids_by_text: Mapping[str, Sequence[int]]
) -> None:
    """Raise an InputError if ids seem to belong to another vocabulary: the words with these ids occur in the other
    texts about as often as in their own."""
    texts = list(ids_by_text)
    special = {rules.unknown_id, rules.empty_id, rules.padding_id, *rules.first_ids, *rules.last_ids}
    words = [
        Counter(
            word for i in ids if i not in special and i < len(vocabulary) if (word := _normalize_word(vocabulary[i]))
        )
        for ids in ids_by_text.values()
    ]
    number = sum(some.total() for some in words)
    if number < _WORDS:
        return
    lower = [text.casefold() for text in texts]
    own = sum(_count_found_words(some, text) for some, text in zip(words, lower, strict=True)) / number
    apart = range(1, min(_OTHERS + 1, len(texts)))
    crossed = [
        sum(_count_found_words(some, lower[(i + step) % len(texts)]) for i, some in enumerate(words)) / number
        for step in apart
    ]
    others = sum(crossed) / len(crossed) if crossed else 0.0
    if own >= _MOST or (own > _LARGER * others and own > _LEAST):
        return
    worst = min(range(len(texts)), key=lambda i: _count_found_words(words[i], lower[i]) / max(words[i].total(), 1))
    absent = sorted(word for word in words[worst] if word not in lower[worst])
    such = f": {', '.join(map(short_repr, absent[:5]))} not in {short_repr(texts[worst], 60)}" if absent else ""
    raise InputError(
        f"Only {own:.0%} of the words that the ids name occur in the texts of these ids, but {others:.0%} occur "
        f"in other texts, as if the ids were of another vocabulary{such}.",
        f"Give the vocabulary that made these ids. If your tokens are not part of a text, {_TOKENS}.",
    )


def _count_found_words(words: Counter[str], text: str) -> int:
    """Return how many of some words occur in a text. `words` has the number of each word; a word counts at most as
    often as it occurs in the text."""
    return sum(min(number, text.count(word)) for word, number in words.items())


def _normalize_word(token: str) -> str:
    """Return a token in the form in which lower-cased texts contain it. Return an empty string for a token that proves
    nothing, such as "<sep>" or a number."""
    for mark in SUBWORD_MARKS:
        token = token.removeprefix(mark).removesuffix(mark)
    # Byte-level tokens write each byte as a letter, which texts do not contain.
    may_be_bytes = all(ord(character) < 0x144 for character in token)
    tells = token.isalnum() and not token.isdigit() and (token.isascii() or not may_be_bytes)
    return token.casefold() if tells else ""
