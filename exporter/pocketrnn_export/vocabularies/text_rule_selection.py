"""Choose the text rules of a bundle: the given ones, or those that the owner's function or ids show.

A bundle's answer depends on how a text is split as much as on the module. So assumed rules are logged, words that they
can never give are counted (`unreachable_words.py`), and the rules are compared with the output of the owner's pipeline
(`owner_id_comparison.py`).
"""

from __future__ import annotations

import json
import logging
import re
import shlex
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from pocketrnn.errors import InputError, short_repr
from pocketrnn.text import EXTERNAL, AnyTextRules, TextEncoder, TextRules
from pocketrnn.text.cleaning_steps import Replace
from pocketrnn.text.text_row_encoder import Text, Tokenizer
from pocketrnn_export.vocabularies.candidate_text_rules import (
    LONGEST_OPTION,
    describe_rules,
    list_candidate_rules,
    write_rules_option,
)
from pocketrnn_export.vocabularies.owner_id_comparison import describe_token, refuse_other_ids
from pocketrnn_export.vocabularies.owner_texts_and_answers import Pair
from pocketrnn_export.vocabularies.rules_from_function import (
    find_rules_of_function,
    generate_texts_for_tokenizer_comparison,
    has_ordinary_characters,
)
from pocketrnn_export.vocabularies.rules_from_ids import find_rules_from_ids, gives_owner_ids
from pocketrnn_export.vocabularies.unreachable_words import find_reason_against_default_rules, warn_of_unreachable_words
from pocketrnn_export.vocabularies.vocabulary import Vocabulary, make_implied_rules

_log = logging.getLogger(__name__)

# Some of 60 rules agree with a few texts by chance.
_TEXTS_TO_DECIDE_BY: Final = 20
_NAMED_RIVALS: Final = 2
# The texts that show whether rules fit the vocabulary, and the shares of known words at which they do not and do.
_TEXTS_TO_SPLIT: Final = 200
_HARDLY: Final = 0.25
_NEARLY: Final = 0.9
# The marks of regular expressions that texts seldom have: \\S, [^, .*, )?, (?:
_PATTERN: Final = re.compile(r"\\[sSdDwWbB.+*?()\[\]|]|\[\^|\.[*+]|[)\]][*+?]|\(\?|\[[^\]]*(?:a-z|A-Z|0-9)[^\]]*\]")


def log_default_tokenizer(vocabulary: Vocabulary, rules: TextRules) -> None:
    """Log a warning which says that no option names a tokenizer, and which text rules are used. Call this function only
    if there are no ids or answers of the owner to compare the rules with."""
    unknown, padding = rules.unknown_id, rules.padding_id
    _log.warning(
        "No tokenizer is named, so basic_english is used: lower case, split at spaces and punctuation. Unknown "
        "words %s; in a batch, shorter texts are padded with %s. If your pipeline differs, give --rules. --pairs "
        "compares the rules with your pipeline.",
        "are dropped" if unknown is None else f"become {describe_token(unknown, vocabulary.tokens)}",
        describe_token(padding, vocabulary.tokens),
    )


def choose_rules(
    vocabulary: Vocabulary,
    rules: AnyTextRules | None,
    tokenizer: str | Tokenizer | None,
    pairs: Sequence[Pair],
    texts: Sequence[Text],
    answers: Sequence[object] = (),
) -> AnyTextRules:
    """Return the text rules of a bundle: the rules that the user gave, or those that the owner's function or ids show.
    Check that the rules give the same ids as the owner's pipeline, except for an external tokenizer.

    Args:
        vocabulary: the tokens.
        rules: the rules that the user gave; None to find them.
        tokenizer: the name of a tokenizer; or the owner's function from a text to tokens, which the rules must agree
            with; None if there is none.
        pairs: texts with the ids that the owner's pipeline gives.
        texts: texts on which to call the function, besides those of `pairs`.
        answers: answers of the owner's classifier, which are compared later. If there are any, and the vocabulary
            cannot come from the default tokenizer, other usual rules are taken.

    Raises:
        InputError: the rules give a text other ids than the owner's pipeline; or no argument shows the rules, and the
            vocabulary cannot come from the default tokenizer.
    """
    if isinstance(rules, TextRules):
        _warn_of_patterns(rules)
        if not pairs and not getattr(tokenizer, "stated_rules", {}):
            _warn_of_unused_unknown_token(rules, vocabulary)
    if tokenizer == EXTERNAL and rules is None:
        rules = make_implied_rules(vocabulary, EXTERNAL)
    if rules is not None and rules.tokenizer == EXTERNAL:
        is_known = getattr(tokenizer, "gives_ids", False) or getattr(tokenizer, "stated_rules", {})
        if rules.unknown_id is None and not is_known:
            _log.warning(
                "Tokens outside the vocabulary are left out, since the rules have no unknown_id. If your code gives "
                'them an id, say which: --rules \'{"tokenizer": "external", "unknown_id": ID}\''
            )
        return rules
    chosen: AnyTextRules
    if callable(tokenizer):
        strings = [text for text in texts if isinstance(text, str)]
        chosen = find_rules_of_function(tokenizer, vocabulary, rules, [*strings, *(text for text, _ in pairs)])
        chosen = (
            complete_rules_by_ids(vocabulary, chosen, pairs, split_by_owners_function=True) if rules is None else chosen
        )
    elif rules is not None:
        chosen = rules
    else:
        named = make_implied_rules(vocabulary, tokenizer or "basic_english")
        chosen = complete_rules_by_ids(vocabulary, named, pairs) if tokenizer is None else named
        if tokenizer is None and not pairs:
            doubt = find_reason_against_default_rules(named, vocabulary.tokens)
            if doubt is not None and not answers:
                shown = {} if doubt.rules is None else json.loads(write_rules_option(doubt.rules, named))
                better = f", such as rules={shown}" * bool(shown)
                raise InputError(doubt.problem, f"Give `tokenizer` or `rules`, the rules that split a text{better}.")
            chosen = choose_rules_that_fit_vocabulary(vocabulary, named, texts) if answers else named
            if chosen is named:
                log_default_tokenizer(vocabulary, named)
    encoder = TextEncoder(chosen, vocabulary.tokens)
    warn_of_unreachable_words(encoder, vocabulary.tokens)
    refuse_other_ids(vocabulary, chosen, pairs)
    if pairs:
        _log.info("Comparing the text rules with your pipeline: %d texts have the same ids", len(dict(pairs)))
    return chosen


def choose_rules_that_fit_vocabulary(vocabulary: Vocabulary, default: TextRules, texts: Sequence[Text]) -> TextRules:
    """Return other usual rules, and log them, if the default tokenizer cannot have made the vocabulary, but these rules
    can: `characters`, for example, if the tokens are letters. Do the same if the default rules find hardly a token of
    the texts in the vocabulary, but other rules find nearly all. Otherwise, return the default rules.

    Args:
        vocabulary: the tokens.
        default: the rules of the default tokenizer.
        texts: texts of the owner.
    """
    doubt = find_reason_against_default_rules(default, vocabulary.tokens)
    if doubt is not None and doubt.rules is not None:
        _log.warning("%s So texts are split by the rules %s", doubt.problem, describe_rules(doubt.rules))
        return doubt.rules
    some = [text for text in texts if isinstance(text, str)][:_TEXTS_TO_SPLIT]
    others = [replace(default, tokenizer=name, lowercase=lower) for name in ("whitespace", "characters")
              for lower in (True, False)]  # fmt: skip
    known, *shares = (_measure_known_share(one, vocabulary.tokens, some) for one in (default, *others))
    if known > _HARDLY or max(shares) < _NEARLY:
        return default
    chosen = others[shares.index(max(shares))]
    _log.warning(
        "The vocabulary holds %d %% of the words of your texts by %s, and %d %% by the rules %s, which are taken",
        round(100 * known), default.tokenizer, round(100 * max(shares)), describe_rules(chosen),
    )  # fmt: skip
    return chosen


def _measure_known_share(rules: TextRules, tokens: Sequence[str], texts: Sequence[str]) -> float:
    """Return which share of the tokens that the rules make of some texts is in the vocabulary `tokens`; 1.0 for no
    tokens."""
    encoder, words = TextEncoder(rules, ()), {*tokens}
    split = [token for text in texts for token in encoder.tokens(text)]
    return sum(token in words for token in split) / len(split) if split else 1.0


def complete_rules_by_ids(
    vocabulary: Vocabulary, rules: AnyTextRules, pairs: Sequence[Pair], *, split_by_owners_function: bool = False
) -> AnyTextRules:
    """Return text rules that give the owner's ids to all texts, found by changes to `rules`, and log them. Return
    `rules` unchanged if they give these ids already, or if no rules are found that do.

    Args:
        vocabulary: the tokens.
        rules: the text rules to begin with, which the user did not state.
        pairs: texts with the ids that the owner's pipeline gives. Fewer than 20 texts change nothing, unless
            `split_by_owners_function` is true.
        split_by_owners_function: whether the owner's function already showed how texts are split. Only widths, a first
            id and a last id are then added.
    """
    if (
        not isinstance(rules, TextRules)
        or not pairs
        or (len(pairs) < _TEXTS_TO_DECIDE_BY and not split_by_owners_function)
    ):
        return rules
    encoder = TextEncoder(rules, vocabulary.tokens)
    if all(gives_owner_ids(encoder, *pair) for pair in pairs):
        return rules
    found, agreed = find_rules_from_ids(rules, vocabulary.tokens, pairs, tried_first=[rules])
    same = all(
        getattr(found, name) == getattr(rules, name) for name in ("tokenizer", "lowercase", "steps", "stop_words")
    )
    if agreed < len(pairs) or (split_by_owners_function and not same):
        return rules
    option = write_rules_option(found, rules if split_by_owners_function else make_implied_rules(vocabulary))
    _log.warning(
        "The ids of your %d texts show %s, and all agree: %s",
        len(pairs), "what your code does with the tokens" if split_by_owners_function else "the text rules",
        f"--rules {shlex.quote(option)}" if len(option) <= LONGEST_OPTION else describe_rules(found),
    )  # fmt: skip
    if not split_by_owners_function and (rivals := describe_other_agreeing_rules(found, vocabulary.tokens, pairs)):
        _log.warning(
            "Other rules agree with your texts, too: %s. Give texts that show which is right, or name your function: "
            "--tokenizer file.py:name", rivals,
        )  # fmt: skip
    return found


def describe_other_agreeing_rules(found: TextRules, tokens: Sequence[str], pairs: Sequence[Pair]) -> str:
    """Describe up to two other text rules that give the owner's ids to all texts, although they split some generated
    text differently. Return an empty string if there are none.

    Args:
        found: the text rules that were found, which give the owner's ids to all texts.
        tokens: the tokens of the vocabulary.
        pairs: the texts with the owner's ids.
    """
    own = TextEncoder(found, tokens)
    made = list(filter(has_ordinary_characters, generate_texts_for_tokenizer_comparison(tokens)))
    said = []
    for rival in list_candidate_rules(replace(found, steps=()), tokens):
        encoder = TextEncoder(rival, tokens)
        if not all(gives_owner_ids(encoder, *pair) for pair in pairs):
            continue
        if other := next((text for text in made if encoder.encode(text) != own.encode(text)), None):
            said.append(f"{describe_rules(rival)} (it differs at {short_repr(other, 40)})")
        if len(said) == _NAMED_RIVALS:
            break
    return "; ".join(said)


def _warn_of_patterns(rules: TextRules) -> None:
    """Log a warning for each cleaning step that replaces a literal string which looks like a regular expression."""
    for step in rules.steps:
        if isinstance(step, Replace) and _PATTERN.search(step.what):
            _log.warning(
                "The rules replace %s literally. If it is a regular expression, give {\"sub\": [pattern, by]} as "
                "the step; in Python, cleaning((\"sub\", pattern, by)).", short_repr(step.what),
            )  # fmt: skip


def _warn_of_unused_unknown_token(rules: TextRules, vocabulary: Vocabulary) -> None:
    """Log a warning if the vocabulary has a token for unknown words, but the given rules do not use it."""
    named, given = vocabulary.default_index, rules.unknown_id
    if named is None or given == named:
        return
    does = "drop unknown words" if given is None else f"give unknown words {describe_token(given, vocabulary.tokens)}"
    _log.warning(
        "The rules %s, but the vocabulary has %s for unknown words. If your pipeline uses this token, give "
        "unknown_id=%d.",
        does, describe_token(named, vocabulary.tokens), named,
    )  # fmt: skip
