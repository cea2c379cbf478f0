"""Collect texts and their ids for the proof of a bundle that cannot split texts itself."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pocketrnn.errors import InputError, TextError, short_repr
from pocketrnn.text import EXTERNAL, AnyTextRules, TextEncoder, TextRules
from pocketrnn.text.text_row_encoder import Text, TextRowEncoder, Tokenizer
from pocketrnn_export.progress import log_item_progress
from pocketrnn_export.vocabularies.candidate_text_rules import write_rules_option
from pocketrnn_export.vocabularies.doubtful_ids_refusal import refuse_doubtful_ids
from pocketrnn_export.vocabularies.owner_texts_and_answers import OwnersText
from pocketrnn_export.vocabularies.rules_from_ids import find_rules_from_ids

# A text without a known token, besides the empty text; every runtime will meet one.
_UNKNOWN = "\N{REPLACEMENT CHARACTER}" * 3


class KnownTexts(TextEncoder):
    """An encoder that returns stored ids for some texts. It encodes all other texts by the text rules, or raises an
    error for them if the rules have an external tokenizer.

    Args:
        rules: the text rules.
        vocabulary: the tokens.
        known: a dict from the texts to their stored ids.
    """

    def __init__(self, rules: AnyTextRules, vocabulary: Sequence[str], known: Mapping[str, Sequence[int]]) -> None:
        super().__init__(rules, vocabulary)
        self._known = known

    def encode(self, text: str) -> list[int]:
        """Return the stored ids of a text, or else its ids by the text rules."""
        return list(self._known[text]) if text in self._known else super().encode(text)


def collect_given_ids(
    rules: AnyTextRules,
    vocabulary: Sequence[str],
    *,
    rows: int,
    tokenizer: Tokenizer | None,
    pairs: Sequence[OwnersText],
    texts: Iterable[Text],
) -> dict[str, list[int]]:
    """Return a dict from each of the owner's texts to its ids. For a list of tokens or ids, the key is the list joined
    by spaces.

    Args:
        rules: the text rules, whose tokenizer is external.
        vocabulary: the tokens.
        rows: the number of rows of the embedding, which all ids must be below.
        tokenizer: the owner's function from a text to its tokens or ids; None if there is none.
        pairs: texts with the ids, tokens or answers of the owner's pipeline.
        texts: texts for the tokenizer, or lists of tokens or ids.

    Raises:
        InputError: an id is out of range; the tokenizer fails; a text of `pairs` has other ids than its tokens or the
            tokenizer give; a text is a string, but there is no tokenizer; the owner's code seems to cut or pad texts,
            but the rules do not; or the ids seem to belong to another vocabulary.
    """
    ready = TextRowEncoder("the classifier", TextEncoder(rules, vocabulary), rows, tokenizer)
    known: dict[str, list[int]] = {}
    find_rule_members = functools.partial(_find_agreeing_rule_members, rules, vocabulary, tokenizer, pairs)
    for number, one in enumerate(pairs, 1):
        # The owner's module cannot take a text without ids, so its answer is not known.
        if one.ids or one.tokens:
            which = f"Text {number} of your pipeline, {short_repr(one.text, 40)},"
            known.setdefault(one.text, _read_pair_ids(ready, rules, one, which, find_rule_members))
    if tokenizer is None:
        split = [one.tokens for one in pairs if one.tokens]
        refuse_doubtful_ids(
            rules, vocabulary, {one.text: one.ids for one in pairs if one.ids and not one.tokens}, split
        )
    others = [*texts, *(one.text for one in pairs if one.ids is None and one.tokens is None)]
    for given in others if tokenizer is None else log_item_progress(others, "Calling your tokenizer"):
        if isinstance(given, str) and tokenizer is None:
            raise InputError(
                f"The text {short_repr(given, 40)} cannot be split, since the bundle's tokenizer is external and no "
                "function is given.",
                "Give the texts with their ids (--pairs FILE, or example_ids= in Python), or give your tokenizer as a "
                "function.",
            )
        named = given if isinstance(given, str) else " ".join(map(str, given))
        known.setdefault(named, _read_example_ids(ready, given))
    return known


def make_random_texts_with_ids(
    rules: AnyTextRules, vocabulary: Sequence[str], sizes: Iterable[int]
) -> dict[str, list[int]]:
    """Make one text of random words for each number of words in `sizes`, an empty text, and a text of one unknown word.
    Return a dict from each text to its ids by the rules."""
    encoder, generator = TextEncoder(rules, vocabulary), np.random.default_rng(0)
    drawn = [generator.choice(vocabulary, size).tolist() for size in sizes]
    made = {" ".join(tokens): encoder.encode_tokens(tokens) for tokens in drawn}
    return {**made, "": encoder.encode_tokens([]), _UNKNOWN: encoder.encode_tokens([_UNKNOWN])}


def replace_ids_without_rows(ids: Sequence[int], rules: AnyTextRules, rows: int) -> list[int]:
    """Return ids with each id that has no row in the embedding replaced by the id of unknown words, or dropped if the
    rules drop unknown words. If no id is left, return the id of an empty text. `rows` is the number of rows."""
    replaced = (i if i < rows else rules.unknown_id for i in ids)
    return [i for i in replaced if i is not None] or [rules.empty_id]


def _read_pair_ids(
    ready: TextRowEncoder,
    rules: AnyTextRules,
    one: OwnersText,
    text_name: str,
    find_rule_members: Callable[[], dict[str, Any]],
) -> list[int]:
    """Return the ids that the owner gave for a text. Raise an InputError if the rules give other ids to the tokens of
    the text.

    Args:
        ready: converts the tokens of the text, or the text by the owner's tokenizer, to ids.
        rules: the text rules.
        one: the text with its ids, its tokens or both.
        text_name: the name of the text in messages.
        find_rule_members: returns the members of text rules, such as `first_id`, that the message recommends.
    """
    try:
        given = ready.encode_text(one.ids or one.tokens, text_name)
        ours = given
        if one.ids and one.tokens:
            ours = ready.encode_text(one.tokens, text_name)
        elif ready.tokenizer is not None:
            ours = ready.encode_text(one.text, text_name)
    except TextError as error:
        raise InputError(error.problem, error.remedy) from None
    if ours != given:
        at = next(i for i in range(len(ours) + 1) if ours[i : i + 1] != given[i : i + 1])
        around = find_rule_members()
        if around.keys() <= {"max_width"} and at == len(given) and rules.sizes[1] is None:
            most = at - len(rules.first_ids) - len(rules.last_ids)
            raise InputError(
                f"{text_name} has {at:,} ids, but the text rules give it {len(ours):,} ids, which begin with the same "
                f"{at:,}.",
                f"If your pipeline cuts texts at this length, give --max-tokens {most} (in Python, max_tokens={most} "
                "in `rules`).",
            )
        who = "its tokens give" if one.ids and one.tokens else "your tokenizer gives"
        if not around and rules.first_ids == rules.last_ids == ():
            around = _find_first_and_last_id(given, ours)
        written = json.dumps({"tokenizer": EXTERNAL, **around})
        raise InputError(
            f"{text_name} has {given[at : at + 1]} at index {at} of its ids, but with the text rules {who} "
            f"{ours[at : at + 1]}.",
            f"Your pipeline does more with the tokens. Give --rules '{written}', or add these members to your rules."
            if around
            else "Give the vocabulary of your pipeline, and as `--rules` what the pipeline does after its tokenizer: "
            "unknown_id, first_id, last_id, max_tokens, min_width, ...",
        )
    return given


def _find_agreeing_rule_members(
    rules: AnyTextRules, vocabulary: Sequence[str], tokenizer: Tokenizer | None, pairs: Sequence[OwnersText]
) -> dict[str, Any]:
    """Find members of text rules, such as `first_id`, with which the tokens of each text get the owner's ids. Return an
    empty dict if there are none. The rules are tried on the tokens joined by spaces, which the tokenizer `whitespace`
    splits again."""
    texts = []
    for one in pairs:
        tokens = one.tokens
        if tokens is None and tokenizer is not None:
            # The owner's function may refuse another text.
            with contextlib.suppress(Exception):
                tokens = [str(token) for token in tokenizer(one.text)]
        if one.ids and tokens is not None:
            texts.append((" ".join(tokens), one.ids))
        if tokens is not None and any(token.split() != [token] for token in tokens):
            return {}
    if not isinstance(rules, TextRules) or not texts:
        return {}
    plain = replace(rules, tokenizer="whitespace", lowercase=False)
    found, agreed = find_rules_from_ids(plain, vocabulary, texts, tried_first=[plain], try_usual_rules=False)
    written: dict[str, Any] = json.loads(write_rules_option(found, plain))
    return written if agreed == len(texts) else {}


def _find_first_and_last_id(given_ids: Sequence[int], ids_by_rules: Sequence[int]) -> dict[str, int]:
    """Return the id that the owner's ids of a text have before the ids by the rules, as `first_id`, and the id that
    they have after these, as `last_id`. Return an empty dict if the ids differ in another way."""
    for before in (0, 1):
        behind = len(given_ids) - len(ids_by_rules) - before
        if behind in (0, 1) and list(given_ids[before : before + len(ids_by_rules)]) == list(ids_by_rules):
            found = (("first_id", given_ids[0], before), ("last_id", given_ids[-1], behind))
            return {name: id_ for name, id_, is_there in found if is_there}
    return {}


def _read_example_ids(ready: TextRowEncoder, given: Text) -> list[int]:
    try:
        return ready.encode_text(given, "One of example_texts")
    except TextError as error:
        raise InputError(error.problem, error.remedy) from None
