"""Choose the text rules of a bundle, and compare them with the ids that the owner's pipeline gives.

A bundle's answer depends on how a text is split as much as on the module. So assumed rules are logged, words that they
can never give are counted, and the rules are compared with the output of the owner's pipeline.
"""

from __future__ import annotations

import logging
import re
import shlex
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Final, NamedTuple

from pocketrnn.errors import short_repr
from pocketrnn.text import EXTERNAL, AnyTextRules, SubwordRules, TextEncoder, TextRules
from pocketrnn.text.cleaning_steps import Replace
from pocketrnn.text.pretokenized import Text, Tokenizer
from pocketrnn_export.json_file import brief_text
from pocketrnn_export.refused_options_error import RefusedOptionsError
from pocketrnn_export.vocabularies.candidate_text_rules import list_candidate_rules
from pocketrnn_export.vocabularies.external_tokenizer_advice import advise_external_tokenizer
from pocketrnn_export.vocabularies.first_and_last_ids import list_rules_with_first_and_last_ids
from pocketrnn_export.vocabularies.made_texts_for_comparison import has_ordinary_characters, make_texts_for_comparison
from pocketrnn_export.vocabularies.owner_function_comparison import find_rules_of_function
from pocketrnn_export.vocabularies.owner_texts_and_answers import Pair
from pocketrnn_export.vocabularies.rules_from_ids import find_rules_from_ids, gives_owner_ids
from pocketrnn_export.vocabularies.text_rules_writing import describe_rules, write_nearest_rules, write_rules_option
from pocketrnn_export.vocabularies.tokenizer_width_rules import write_agreeing_widths
from pocketrnn_export.vocabularies.vocabulary import PLACEHOLDER, Vocabulary, make_implied_rules

_log = logging.getLogger(__name__)

_NAMED_WORDS: Final = 5
# Some of 60 rules agree with a few texts by chance.
_TEXTS_TO_DECIDE_BY: Final = 20
_LONGEST_OPTION: Final = 400
_NAMED_RIVALS: Final = 2
_GIVE_FUNCTION: Final = (
    "Give your function that splits texts, --tokenizer file.py:name (tokenizer=function): its code shows the rules."
)
_NAMED_TEXTS: Final = 3
_WORDS_TO_TELL_BY: Final = 4
# The marks of regular expressions that texts seldom have: \\S, [^, .*, )?, (?:
_PATTERN: Final = re.compile(r"\\[sSdDwWbB.+*?()\[\]|]|\[\^|\.[*+]|[)\]][*+?]|\(\?|\[[^\]]*(?:a-z|A-Z|0-9)[^\]]*\]")


def log_default_tokenizer(vocabulary: Vocabulary, rules: TextRules) -> None:
    """Log a warning that no tokenizer is named, and which text rules are used. Call this only if the owner's ids do not
    show the rules."""
    unknown, padding = rules.unknown_id, rules.padding_id
    _log.warning(
        "No tokenizer is named, so basic_english is used: lower case, split at spaces and punctuation. Unknown "
        "words %s; rows are padded with %s. If your pipeline differs, give --rules. --pairs compares the rules "
        "with your pipeline.",
        "are dropped" if unknown is None else f"become {_describe_token(unknown, vocabulary.tokens)}",
        _describe_token(padding, vocabulary.tokens),
    )


def choose_rules(
    vocabulary: Vocabulary,
    rules: AnyTextRules | None,
    tokenizer: str | Tokenizer | None,
    pairs: Sequence[Pair],
    texts: Sequence[Text],
) -> AnyTextRules:
    """Return the text rules of a bundle: the given ones, or those that the owner's function or the owner's ids show.
    Refuse rules that give other ids than the owner's pipeline.

    Args:
        vocabulary: the tokens.
        rules: all rules; None for those that the vocabulary and the tokenizer imply.
        tokenizer: a name; or the owner's own function, text -> tokens, which is compared with the rules on the texts.
            Without rules, the format's tokenizers are tried.
        pairs: texts with the ids that the owner's pipeline gives.
        texts: texts to try a function on, besides those of the pairs.

    Raises:
        InputError: the rules give other ids; the message shows the first difference. With an external tokenizer,
            texts are not compared here.
    """
    if isinstance(rules, TextRules):
        _warn_of_patterns(rules)
        if not pairs:
            _warn_of_unused_unknown_token(rules, vocabulary)
    if tokenizer == EXTERNAL and rules is None:
        rules = make_implied_rules(vocabulary, EXTERNAL)
    if rules is not None and rules.tokenizer == EXTERNAL:
        if rules.unknown_id is None and not getattr(tokenizer, "gives_ids", False):
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
        if tokenizer is None and chosen is named:
            log_default_tokenizer(vocabulary, named)
    encoder = TextEncoder(chosen, vocabulary.tokens)
    _warn_of_unreachable_words(encoder, vocabulary.tokens)
    refuse_other_ids(vocabulary, chosen, pairs)
    if pairs:
        _log.info("Comparing the text rules with your pipeline: %d texts have the same ids", len(dict(pairs)))
    return chosen


def complete_rules_by_ids(
    vocabulary: Vocabulary, rules: AnyTextRules, pairs: Sequence[Pair], *, split_by_owners_function: bool = False
) -> AnyTextRules:
    """Return text rules that give the owner's ids to all texts. Return the given rules if none of the tried ones do.

    Args:
        vocabulary: the tokens.
        rules: rules that nobody has stated.
        pairs: texts with the ids that the owner's pipeline gives; at least 20, unless the rules split texts as its own
            function does.
        split_by_owners_function: whether they do, so that only the ids around those of the tokens, and widths, may be
            added.
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
        f"--rules {shlex.quote(option)}" if len(option) <= _LONGEST_OPTION else describe_rules(found),
    )  # fmt: skip
    if not split_by_owners_function and (rivals := _describe_other_agreeing_rules(found, vocabulary, pairs)):
        _log.warning(
            "Other rules agree with your texts, too: %s. Give texts that show which is right, or name your function: "
            "--tokenizer file.py:name", rivals,
        )  # fmt: skip
    return found


def _describe_other_agreeing_rules(found: TextRules, vocabulary: Vocabulary, pairs: Sequence[Pair]) -> str:
    """Describe other rules that agree with all pairs, but give other ids to texts that we make. Return an empty string
    if there are no such rules."""
    own = TextEncoder(found, vocabulary.tokens)
    made = list(filter(has_ordinary_characters, make_texts_for_comparison(vocabulary.tokens)))
    said = []
    for rival in list_candidate_rules(replace(found, steps=()), vocabulary.tokens):
        encoder = TextEncoder(rival, vocabulary.tokens)
        if not all(gives_owner_ids(encoder, *pair) for pair in pairs):
            continue
        if other := next((text for text in made if encoder.encode(text) != own.encode(text)), None):
            said.append(f"{describe_rules(rival)} (it differs at {short_repr(other, 40)})")
        if len(said) == _NAMED_RIVALS:
            break
    return "; ".join(said)


def refuse_other_ids(vocabulary: Vocabulary, rules: AnyTextRules, pairs: Sequence[Pair]) -> None:
    """Refuse rules that give a text other ids than the owner's pipeline. PyTorch is not needed for this.

    Args:
        vocabulary: the tokens.
        rules: with `external`, texts are not compared.
        pairs: texts with the ids that the owner's pipeline gives.

    Raises:
        InputError: a text has other ids; the message shows the first difference.
    """
    if not pairs or rules.tokenizer == EXTERNAL:
        return
    encoder = TextEncoder(rules, vocabulary.tokens)
    for number, (text, ids) in enumerate(pairs, 1):
        if difference := _describe_difference(encoder, text, ids, vocabulary.tokens):
            cut = ", ".join(map(repr, encoder.tokens(text)[:12]))
            advice, changes, nearest = _advise_on_rules(vocabulary, rules, pairs)
            raise RefusedOptionsError(
                f"Text {number} of your pipeline, {short_repr(text)}: {difference}.",
                f"The rules cut it into {cut or 'nothing'}. {advice}",
                changes,
                nearest,
            )


def _describe_difference(encoder: TextEncoder, text: str, ids: Sequence[int], tokens: Sequence[str]) -> str:
    """Describe how the pipeline's ids of a text differ from the ids by the rules. Return an empty string for equal
    ids."""
    ours, padding = encoder.encode(text), encoder.rules.padding_id
    if gives_owner_ids(encoder, text, ids):
        return ""
    more = len(ids) - len(ours)
    if more > 0 and list(ids) == [*ours, *[padding] * more]:
        return f"your pipeline pads it to {len(ids)} ids at the end, but the rules do not"
    if more > 0 and list(ids) == [*[padding] * more, *ours]:
        return f"your pipeline pads it to {len(ids)} ids at the beginning, but the rules do not"
    both = enumerate(zip_longest(ids, ours))
    index, (theirs, own) = next((i, pair) for i, pair in both if pair[0] != pair[1])
    return (
        f"at index {index} your pipeline gives {_describe_token(theirs, tokens)}, but the rules give "
        f"{_describe_token(own, tokens)}"
    )


def _describe_token(number: int | None, tokens: Sequence[str]) -> str:
    """Describe an id and its token in a few words."""
    if number is None:
        return "nothing more"
    return f"the id {brief_text(number)} ({brief_text(tokens[number]) if number < len(tokens) else 'no token'})"


class _RulesAdvice(NamedTuple):
    """Advice to use other text rules.

    Attributes:
        advice: sentences that name the rules.
        changes: the options that correct the command, if the rules agree with all texts.
        nearest: the rules as JSON, if they are too long for a message.
    """

    advice: str
    changes: dict[str, str | None]
    nearest: str


def _advise_on_rules(vocabulary: Vocabulary, rules: AnyTextRules, pairs: Sequence[Pair]) -> _RulesAdvice:
    """Return advice that names the rules which agree with the most texts of the owner."""
    if isinstance(rules, SubwordRules):
        if widths := write_agreeing_widths(rules, vocabulary.tokens, pairs):
            said = (
                f"All {len(pairs)} texts agree with --rules '{widths}' (rules= in Python) in addition to the tokenizer."
            )
            return _RulesAdvice(said, {"rules": widths}, "")
        return _RulesAdvice(_advise_on_other_rules(vocabulary, rules, pairs), {}, "")
    best, agreed = find_rules_from_ids(rules, vocabulary.tokens, pairs)
    whole = write_rules_option(best, make_implied_rules(vocabulary))
    if agreed == len(pairs):
        option = write_nearest_rules(best, rules, make_implied_rules(vocabulary))
        changes: dict[str, str | None] = {"rules": whole, "tokenizer": None, "max_tokens": None}
        give = f": give {option}" if len(option) <= _LONGEST_OPTION else ""
        return _RulesAdvice(f"{describe_rules(best)} agrees on all {agreed} texts{give}.", changes, "")
    return _RulesAdvice(
        _advise_on_other_rules(vocabulary, rules, pairs, best, agreed),
        {},
        whole if len(whole) > _LONGEST_OPTION else "",
    )


def _advise_on_other_rules(
    vocabulary: Vocabulary,
    rules: AnyTextRules,
    pairs: Sequence[Pair],
    best: TextRules | None = None,
    agreed: int = 0,
) -> str:
    """Return advice for the user if none of the tried text rules give the owner's ids to all texts.

    Args:
        vocabulary, rules, pairs: as in `refuse_other_ids`.
        best: the nearest rules; None for a tokenizer of subwords.
        agreed: on how many texts they agree.
    """
    external = advise_external_tokenizer(vocabulary)
    if isinstance(rules, SubwordRules) or best is None:
        return (
            "Give the tokenizer of your pipeline. If your code cuts or pads the ids itself, state the widths, as in "
            "--rules "
            f'\'{{"min_width": 200, "max_width": 200}}\'. {external}'
        )
    before = TextEncoder(rules, vocabulary.tokens)
    given = sum(gives_owner_ids(before, *pair) for pair in pairs)
    option = write_nearest_rules(best, rules, make_implied_rules(vocabulary))
    if given and given >= agreed:
        said = f"These rules, {describe_rules(rules)}, agree on {given} of {len(pairs)} texts. No other rules that were"
        said = f"{said} tried agree on more. {_describe_failed_texts(before, pairs, vocabulary, 1)}"
    elif not given and (other := _advise_on_vocabulary(before, pairs, vocabulary)):
        return other
    elif not agreed:
        said = "No rules that were tried agree on any text. "
    else:
        said = f"The nearest rules agree on {agreed} of {len(pairs)} texts: "
        said += f"{option if len(option) <= _LONGEST_OPTION else describe_rules(best)}. "
        said += _describe_failed_texts(TextEncoder(best, vocabulary.tokens), pairs, vocabulary)
    if 2 * max(given, agreed) >= len(pairs):
        near = best if agreed > given else rules
        return f"{said}{_GIVE_FUNCTION} {advise_external_tokenizer(vocabulary, near)}"
    near = _add_shown_width(best, list_rules_with_first_and_last_ids(rules, [ids for _, ids in pairs]))
    return (
        f"{said}{_GIVE_FUNCTION} Or write the rules (docs/text-rules.md): steps can replace by a pattern, as re.sub "
        f"does. {advise_external_tokenizer(vocabulary, near, 'If no rules can, as for stems,')}"
    )


def _add_shown_width(nearest: TextRules, rules_shown_by_ids: Sequence[TextRules]) -> TextRules:
    """Return the rules `nearest` with the width that `rules_shown_by_ids` have, if `nearest` itself neither cuts nor
    pads texts.

    Args:
        nearest: the rules that agree on the most texts.
        rules_shown_by_ids: rules with the widths and the ids around texts that the owner's ids show.
    """
    shown = next(
        (f for f in rules_shown_by_ids if (f.first_id, f.last_id) == (None, None) and f.max_width is not None), nearest
    )
    if nearest.max_width is None and nearest.max_tokens is None:
        return replace(nearest, max_width=shown.max_width)
    return nearest


def _describe_failed_texts(
    encoder: TextEncoder, pairs: Sequence[Pair], vocabulary: Vocabulary, already_told: int = 0
) -> str:
    """Describe the shortest texts to which the rules give other ids, each with its first difference.

    Args:
        encoder: the rules.
        pairs: the owner's texts and ids.
        vocabulary: the tokens.
        already_told: how many of the first of these texts were told before.
    """
    each = {text: _describe_difference(encoder, text, ids, vocabulary.tokens) for text, ids in pairs}
    found = [*each.items()]
    missed = sorted([one for one in found if one[1]][already_told:], key=lambda one: len(one[0]))[:_NAMED_TEXTS]
    return f"They fail on {'; '.join(f'{short_repr(text)}: {said}' for text, said in missed)}. " if missed else ""


def _advise_on_vocabulary(encoder: TextEncoder, pairs: Sequence[Pair], vocabulary: Vocabulary) -> str:
    """Return the advice to give another vocabulary, if the rules split the texts correctly but the words have other ids
    in the owner's pipeline. Else return an empty string."""
    same: set[tuple[int, int]] = set()
    for text, ids in pairs:
        ours = encoder.encode(text)
        if len(ours) != len(ids):
            return ""
        same.update(zip(ids, ours, strict=True))
    # Another vocabulary may know words that are unknown to this one.
    known = [own for _, own in same if own != encoder.rules.unknown_id]
    if len({id_ for id_, _ in same}) != len(same) or len(set(known)) != len(known):
        return ""
    others = sorted(pair for pair in same if pair[0] != pair[1])
    # With two or three words, other rules could also be the reason.
    if len(others) < _WORDS_TO_TELL_BY or 2 * len(others) < len(same):
        return ""
    theirs, own = next((pair for pair in others if pair[1] != encoder.rules.unknown_id), others[0])
    return (
        "Your pipeline and the rules give each text the same number of ids, but the words have other ids: "
        f"{brief_text(theirs)} for {_describe_token(own, vocabulary.tokens)}, as if from another vocabulary. Give the "
        "vocabulary that made these ids."
    )


def _warn_of_patterns(rules: TextRules) -> None:
    """Log the steps that replace a string literally although the string looks like a regular expression."""
    for step in rules.steps:
        if isinstance(step, Replace) and _PATTERN.search(step.what):
            _log.warning(
                "The rules replace %s literally. If it is a regular expression, give {\"sub\": [pattern, by]} as "
                "the step; in Python, cleaning((\"sub\", pattern, by)).", short_repr(step.what),
            )  # fmt: skip


def _warn_of_unused_unknown_token(rules: TextRules, vocabulary: Vocabulary) -> None:
    """Log that the vocabulary has a token for unknown words, if the given rules do not use this token."""
    named, given = vocabulary.default_index, rules.unknown_id
    if named is None or given == named:
        return
    does = "drop unknown words" if given is None else f"give unknown words {_describe_token(given, vocabulary.tokens)}"
    _log.warning(
        "The rules %s, but the vocabulary has %s for unknown words. If your pipeline uses this token, give "
        "unknown_id=%d.",
        does, _describe_token(named, vocabulary.tokens), named,
    )  # fmt: skip


def find_unreachable_words(encoder: TextEncoder, words: Iterable[tuple[int, str]]) -> list[str]:
    """Return the words that no text can reach, because the rules split, change or drop these words.

    Args:
        encoder: the rules.
        words: ids and words of the vocabulary.
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


def _warn_of_unreachable_words(encoder: TextEncoder, tokens: Sequence[str]) -> None:
    """Log how many words of the vocabulary no text can reach, because the rules split, change or drop these words."""
    never = find_unreachable_words(encoder, enumerate(tokens))
    if never and isinstance(encoder.rules, TextRules):
        words = ", ".join(map(short_repr, never[:_NAMED_WORDS])) + (" and others" if len(never) > _NAMED_WORDS else "")
        one = len(never) == 1
        is_cured = 2 * _count_unreachable_without_lowercase(encoder.rules, tokens, len(never)) < len(never)
        _log.warning(
            "%d %s of the vocabulary, as %s and in upper case, %s not come through the rules (%s): %s.%s",
            len(never), "word" if one else "words", "it stands" if one else "they stand", "does" if one else "do",
            describe_rules(encoder.rules), words, ' "lowercase": false in --rules lets them through.' * is_cured,
        )  # fmt: skip


def _count_unreachable_without_lowercase(rules: TextRules, tokens: Sequence[str], unreachable_now: int) -> int:
    """Return how many words of the vocabulary no text can reach if rules do not lower-case. Return `unreachable_now` if
    they do not, or must."""
    if not rules.lowercase or rules.tokenizer == "basic_english":
        return unreachable_now
    return len(find_unreachable_words(TextEncoder(replace(rules, lowercase=False), tokens), enumerate(tokens)))


def _list_spellings(word: str) -> Iterator[str]:
    """Yield a word, and the spellings that cleaning steps or lower-casing may turn into this word.

    A step before lower-casing may keep capitals only. It may also drop the U+0307 that lower-casing puts after an i:
    U+0130 is the only letter whose lower case has two code points.
    """
    yield word
    upper = word.upper()
    yield from (upper, word[:1].upper() + word[1:], word.title(), word.swapcase())
    for written, composed in (("i\u0307", "\u0130"), ("I\u0307", "\u0130"), ("ss", "\xdf"), ("ss", "\u1e9e")):
        for spelling in (word, upper):
            if written in spelling:
                yield spelling.replace(written, composed)
    yield unicodedata.normalize("NFC", upper)
