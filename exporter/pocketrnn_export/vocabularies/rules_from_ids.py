"""Find the text rules that agree best with the owner's ids. First try usual rules, then change the members that the ids
show: also a first id, a last id and one width for all texts.

A text that rules miss often shows by its ids which member is wrong: the id of an unknown word, that of a text without a
token, the width at which one long text was cut.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import Any, Final

from pocketrnn.text import AnyTextRules, TextEncoder, TextRules
from pocketrnn_export.vocabularies.candidate_text_rules import (
    LONGEST_SHORT_WORD,
    list_candidate_rules,
    make_short_word_steps,
)
from pocketrnn_export.vocabularies.owner_texts_and_answers import Pair

# All candidates are tried on the first texts, the best are completed on some texts, and the best of these on all.
_FIRST_TEXTS: Final = 20
_TEXTS_TO_COMPLETE_ON: Final = 100
_BEST: Final = 12
_ROUNDS: Final = 4
# How many ids are tried for one member: the most frequent ones.
_IDS: Final = 2
# Words are left out if all texts agree then, or so many more.
_TEXTS_TO_DROP_BY: Final = 20
# An id from 1 on is that of unknown words if this many texts show it: in one or two it is a word that code changed.
_TEXTS_TO_TELL_BY: Final = 3


def find_rules_from_ids(
    rules: TextRules,
    tokens: Sequence[str],
    pairs: Sequence[Pair],
    *,
    tried_first: Sequence[TextRules] = (),
    try_usual_rules: bool = True,
    may_have_outer_ids: bool = True,
    may_have_stop_words: bool = True,
) -> tuple[TextRules, int]:
    """Return the text rules that give the owner's ids to the most texts, and the number of these texts.

    Args:
        rules: the rules to begin with; their stop words, n-grams and widths are kept.
        tokens: the tokens of the vocabulary, in the order of their ids.
        pairs: texts with the ids that the owner's pipeline gives.
        tried_first: rules to try before all others.
        try_usual_rules: whether to try the usual rules after those.
        may_have_outer_ids: whether the ids of a text may include a first id, a last id or padding.
        may_have_stop_words: whether words that the ids never contain may become stop words.
    """
    rows = [ids for _, ids in pairs]
    tried = [
        one
        for begun in tried_first
        for one in (list_rules_with_first_and_last_ids(begun, rows) if may_have_outer_ids else [begun])
    ]
    tried += [
        one
        for frame in (list_rules_with_first_and_last_ids(rules, rows) if may_have_outer_ids else [rules])
        for one in (list_candidate_rules(frame, tokens) if try_usual_rules else ())
    ]
    some_texts, longest = pairs[:_FIRST_TEXTS], max(len(ids) for _, ids in pairs)

    def score_rules(one: TextRules) -> int:
        encoder = TextEncoder(one, tokens)
        return -sum(
            gives_owner_ids(encoder, *pair) + _gives_owner_ids_of_known_words(encoder, *pair, longest)
            for pair in some_texts
        )

    ranked = sorted(tried, key=score_rules)[:_BEST]
    some = _choose_texts_to_complete_on(pairs)
    widest = longest if may_have_outer_ids else None
    complete = functools.partial(
        _complete_rules, tokens=tokens, longest=widest, may_have_stop_words=may_have_stop_words
    )
    completed = [(one, *complete(one, pairs=some)) for one in ranked]
    begun, best, _ = max(completed, key=lambda found: found[2])
    whole = [complete(best, pairs=pairs)]
    if best.stop_words and not begun.stop_words:
        # The other texts may hold words that only seemed to be left out.
        whole.insert(0, complete(replace(best, stop_words=()), pairs=pairs))
    return max(whole, key=lambda found: found[1])


def gives_owner_ids(encoder: TextEncoder, text: str, ids: Sequence[int]) -> bool:
    """Return whether the encoder gives a text the owner's `ids`. If both find no token in the text, return True even if
    the ids differ: the owner's module cannot take such a text."""
    return encoder.encode(text) == list(ids) or not (ids or encoder.look_up(encoder.tokens(text)))


def _gives_owner_ids_of_known_words(encoder: TextEncoder, text: str, ids: Sequence[int], longest: int) -> bool:
    """Return whether the rules give the owner's ids to the known words of a text. The id 0, the padding id and the id
    of unknown words are ignored. Only the first `longest` ids by the rules are compared."""
    rules: AnyTextRules = encoder.rules
    others = {0, rules.padding_id, rules.unknown_id}
    return [i for i in encoder.encode(text)[:longest] if i not in others] == [i for i in ids if i not in others]


def _choose_texts_to_complete_on(pairs: Sequence[Pair]) -> list[Pair]:
    """Choose the texts by which further members of the rules are found: the first ones, the shortest and the longest.
    The shortest text may show the id of an empty text, and the longest one shows where texts are cut."""
    if len(pairs) <= 2 * _TEXTS_TO_COMPLETE_ON:
        return list(pairs)
    first, rest = pairs[:_TEXTS_TO_COMPLETE_ON], pairs[_TEXTS_TO_COMPLETE_ON:]
    by_length = sorted(rest, key=lambda pair: len(pair[0]))
    half = _TEXTS_TO_COMPLETE_ON // 2
    return [*first, *by_length[:half], *by_length[-half:]]


def _complete_rules(
    rules: TextRules,
    tokens: Sequence[str],
    pairs: Sequence[Pair],
    longest: int | None,
    *,
    may_have_stop_words: bool,
) -> tuple[TextRules, int]:
    """Change one member of the text rules after another, such as a width or a stop word, as long as each change gives
    the owner's ids to more texts. Return the rules and the number of these texts.

    Args:
        rules: the rules to begin with.
        tokens: the tokens of the vocabulary.
        pairs: texts with the owner's ids.
        may_have_stop_words: whether words that the ids never contain may become stop words.
        longest: the length of the longest row of ids, at which texts may be cut; None if the ids were computed from the
            owner's tokens, which show no widths.
    """

    def count_agreeing_texts(tried: TextRules) -> int:
        encoder = TextEncoder(tried, tokens)
        return sum(gives_owner_ids(encoder, *pair) for pair in pairs)

    best, agreed = rules, count_agreeing_texts(rules)
    for _ in range(_ROUNDS):
        if agreed == len(pairs):
            break
        encoder = TextEncoder(best, tokens)
        missed = [pair for pair in pairs if not gives_owner_ids(encoder, *pair)]
        changed = [(count_agreeing_texts(one), one) for one in _list_changed_rules(encoder, best, missed, longest)]
        # A list of words can be made to fit any few texts.
        drop = [
            one
            for one in _list_rules_that_drop_words(encoder, best, pairs)
            if may_have_stop_words or one.stop_words == best.stop_words
        ]
        dropped = [(count_agreeing_texts(one), one) for one in drop]
        changed += [one for one in dropped if one[0] == len(pairs) or one[0] >= agreed + _TEXTS_TO_DROP_BY]
        more, found = max(changed, key=lambda one: one[0], default=(agreed, best))
        if more <= agreed:
            break
        best, agreed = found, more
    return best, agreed


def _list_changed_rules(
    encoder: TextEncoder, rules: TextRules, missed: Sequence[Pair], longest: int | None
) -> Iterator[TextRules]:
    """Yield copies of the text rules with one or two changed members. The texts `missed`, to which the rules give other
    ids than the owner, show which changes may help. `longest` is the length of the longest row of ids; None to yield
    nothing."""
    if longest is None:
        return
    empty: Counter[int] = Counter()
    unknown: Counter[int] = Counter()
    for text, ids in missed:
        ours = encoder.encode(text)
        if not encoder.look_up(encoder.tokens(text)):
            # Where unknown words are dropped, the id may also be that of an unknown word.
            empty.update([ids[0]] if len(ids) == 1 else [])
        different = [(own, theirs) for own, theirs in zip([*ours, None], ids, strict=False) if own != theirs]
        if different and (rules.unknown_id is None or different[0][0] == rules.unknown_id):
            unknown[different[0][1]] += 1
    for id_, _ in empty.most_common(_IDS):
        yield replace(rules, empty_id=id_)
    for id_, count in unknown.most_common(_IDS):
        if count < _TEXTS_TO_TELL_BY and id_ not in (0, rules.padding_id):
            continue
        yield replace(rules, unknown_id=id_)
        yield replace(rules, unknown_id=id_, empty_id=id_)
    if rules.unknown_id is not None:
        yield replace(rules, unknown_id=None)
    if rules.max_width is None and rules.max_tokens is None and any(len(ids) == longest for _, ids in missed):
        around = (rules.first_id is not None) + (rules.last_id is not None)
        for side in ("right", "left"):
            cut = replace(rules, cut_side=side)
            if longest > around:
                yield replace(cut, max_width=longest)
            if around and longest > around:
                yield replace(cut, max_tokens=longest - around)


def _list_rules_that_drop_words(encoder: TextEncoder, rules: TextRules, pairs: Sequence[Pair]) -> Iterator[TextRules]:
    """Yield rules that drop the words that the owner's ids never contain: as stop words, or as short words."""
    dropped, kept = _find_dropped_and_kept_words(encoder, pairs)
    if not dropped or rules.stop_words:
        return
    longest = max(map(len, dropped))
    if 0 < longest <= LONGEST_SHORT_WORD and all(len(word) > longest for word in kept):
        yield replace(rules, steps=(*rules.steps, *make_short_word_steps(longest)))
    yield replace(rules, stop_words=tuple(sorted(dropped)))


def _find_dropped_and_kept_words(encoder: TextEncoder, pairs: Sequence[Pair]) -> tuple[set[str], set[str]]:
    """Return two sets of words of the texts: those that the owner's pipeline drops, since the ids of their texts lack
    them, and those that it keeps.

    All unknown words have one id, so they are counted: if a text has none of it, its unknown words are dropped; if it
    has one for each, they are all present. Each word that is decided helps with other texts. In a text that may be cut,
    a missing word is not taken for dropped.
    """
    rules: AnyTextRules = encoder.rules
    unknown = rules.unknown_id
    rows: list[tuple[list[str], list[list[int]], Counter[int]]] = []
    limits = [limit for limit in (rules.max_width, rules.max_tokens) if limit is not None]
    cut = set[int]()
    for text, ids in pairs:
        tokens = encoder.tokens(text)
        if limits and len(tokens) > min(limits) - len(rules.first_ids) - len(rules.last_ids):
            cut.add(len(rows))
        rows.append((tokens, [encoder.look_up([token]) for token in tokens], Counter(ids)))
    dropped, kept = set[str](), set[str]()
    for _ in range(_ROUNDS):
        before = len(dropped) + len(kept)
        for number, (tokens, each, theirs) in enumerate(rows):
            known = {token: ids[0] for token, ids in zip(tokens, each, strict=True) if ids and ids[0] != unknown}
            kept.update(token for token, id_ in known.items() if theirs[id_])
            if number in cut:
                continue
            dropped.update(token for token, id_ in known.items() if not theirs[id_])
            others = [token for token, ids in zip(tokens, each, strict=True) if ids == [unknown]]
            unsure = [token for token in others if token not in dropped and token not in kept]
            left = theirs[unknown] - sum(token in kept for token in others) if unknown is not None else -1
            if left in (0, len(unsure)):
                (dropped if left == 0 else kept).update(unsure)
        if len(dropped) + len(kept) == before:
            break
    return dropped - kept, kept


def list_rules_with_first_and_last_ids(rules: TextRules, rows: Sequence[Sequence[int]]) -> list[TextRules]:
    """Return the text rules, and copies with each combination of a first id, a last id, a width and a padding that the
    owner's ids show.

    Args:
        rules: the rules to complete. Their own widths, first id and last id are kept.
        rows: the ids that the owner's pipeline gives for some texts.
    """
    rows = [row for row in rows if row]
    if len(rows) < 2 or (rules.first_id, rules.last_id, rules.max_width, rules.min_width) != (None,) * 4:
        return [rules]
    widths = {len(row) for row in rows}
    # Code that pads short texts may leave longer ones as they are.
    shortest = [row for row in rows if len(row) == min(widths)]
    padded = shortest if 2 * len(shortest) >= len(rows) else []
    other = _find_padding_id(padded) if padded else None
    tried = [rules] if other in (None, rules.padding_id) else [rules, replace(rules, padding_id=other)]
    return [one for some in tried for one in _list_rules_by_shown_members(some, rows, widths, padded)]


def _list_rules_by_shown_members(
    rules: TextRules, rows: Sequence[Sequence[int]], widths: set[int], padded: Sequence[Sequence[int]]
) -> list[TextRules]:
    """Return copies of the text rules with each combination of a first id, a last id and a width that the rows show.
    `widths` has the different lengths of the rows, and `padded` has the rows that may be padded to one width."""
    padding, found = rules.padding_id, [rules]
    if any(padding in (row[0], row[-1]) for row in padded):
        # A row of padding only, as of an empty text, shows no side.
        begun, ended = (sum(row[end] == padding for row in padded) for end in (0, -1))
        side: Any = "left" if begun > ended else "right"
        only_padded = replace(rules, min_width=min(widths), pad_side=side)
        both = [replace(only_padded, max_width=min(widths), cut_side=cut) for cut in ("right", "left")]
        found += both if len(widths) == 1 else [only_padded]
    elif max(widths) > 1 and sum(len(row) == max(widths) for row in rows) > 1:
        # Several texts have the largest length: they are cut there.
        found += [replace(rules, max_width=max(widths), cut_side=cut) for cut in ("right", "left")]
    cores = [core for row in rows if (core := strip_padding_ids(row, padding))]
    firsts, lasts = ([None, *_list_most_frequent_id_if_half([core[end] for core in cores])] for end in (0, -1))
    return [replace(some, first_id=f, last_id=e) for f, e in product(firsts, lasts) for some in found]


def _find_padding_id(rows: Sequence[Sequence[int]]) -> int | None:
    """Return the id with which at least half of the rows begin or end twice. Return None if there is none."""
    ends = (row[at] for row in rows if len(row) > 1 for at, beside in ((0, 1), (-1, -2)) if row[at] == row[beside])
    return next((id_ for id_, count in Counter(ends).most_common(1) if 2 * count >= len(rows)), None)


def strip_padding_ids(row: Sequence[int], padding: int) -> list[int]:
    """Return a row of ids without the ids `padding` at its beginning and its end. Return an empty list if the row has
    only padding."""
    kept = [i for i, id_ in enumerate(row) if id_ != padding]
    return list(row[kept[0] : kept[-1] + 1]) if kept else []


def _list_most_frequent_id_if_half(ids: Sequence[int]) -> list[int]:
    """Return a list with the id that makes up at least half of `ids`. Return an empty list if there is none. A cut text
    may lack its first or last id, so that not all rows need to have the id."""
    return [number for number, count in Counter(ids).most_common(1) if 2 * count >= len(ids)]
