"""Compare text rules with the ids that the owner's pipeline gives. Refuse rules that give other ids, and name rules
that agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Final, NamedTuple

from pocketrnn.errors import short_repr
from pocketrnn.text import EXTERNAL, AnyTextRules, SubwordRules, TextEncoder, TextRules
from pocketrnn_export.json_reading_and_writing import brief_text
from pocketrnn_export.option_corrections_error import OptionCorrectionsError
from pocketrnn_export.vocabularies.candidate_text_rules import (
    LONGEST_OPTION,
    describe_rules,
    write_rules_option,
    write_rules_option_or_changed_members,
)
from pocketrnn_export.vocabularies.external_tokenizer_advice import advise_external_tokenizer
from pocketrnn_export.vocabularies.owner_texts_and_answers import Pair
from pocketrnn_export.vocabularies.rules_from_ids import (
    find_rules_from_ids,
    gives_owner_ids,
    list_rules_with_first_and_last_ids,
)
from pocketrnn_export.vocabularies.tokenizer_width_rules import write_agreeing_widths
from pocketrnn_export.vocabularies.vocabulary import Vocabulary, make_implied_rules

_GIVE_FUNCTION: Final = (
    "Give your function that splits texts, --tokenizer file.py:name (tokenizer=function): its code shows the rules."
)
_NAMED_TEXTS: Final = 3
_WORDS_TO_TELL_BY: Final = 4


def refuse_other_ids(vocabulary: Vocabulary, rules: AnyTextRules, pairs: Sequence[Pair]) -> None:
    """Refuse rules that give a text other ids than the owner's pipeline. PyTorch is not needed for this.

    Args:
        vocabulary: the tokens.
        rules: the text rules. If their tokenizer is `external`, nothing is compared.
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
            raise OptionCorrectionsError(
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
        f"at index {index} your pipeline gives {describe_token(theirs, tokens)}, but the rules give "
        f"{describe_token(own, tokens)}"
    )


def describe_token(number: int | None, tokens: Sequence[str]) -> str:
    """Describe an id and its token in a few words. None stands for the end of a row of ids: "nothing more"."""
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
    """Return advice that names the text rules with which the most texts have the owner's ids."""
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
        option = write_rules_option_or_changed_members(best, rules, make_implied_rules(vocabulary))
        changes: dict[str, str | None] = {"rules": whole, "tokenizer": None, "max_tokens": None}
        give = f": give {option}" if len(option) <= LONGEST_OPTION else ""
        return _RulesAdvice(f"{describe_rules(best)} agrees on all {agreed} texts{give}.", changes, "")
    return _RulesAdvice(
        _advise_on_other_rules(vocabulary, rules, pairs, best, agreed),
        {},
        whole if len(whole) > LONGEST_OPTION else "",
    )


def _advise_on_other_rules(
    vocabulary: Vocabulary,
    rules: AnyTextRules,
    pairs: Sequence[Pair],
    best: TextRules | None = None,
    agreed: int = 0,
) -> str:
    """Return advice for the case that none of the tried text rules give the owner's ids to all texts.

    Args:
        vocabulary: the tokens.
        rules: the present text rules.
        pairs: texts with the ids that the owner's pipeline gives.
        best: the rules that give the owner's ids to the most texts; None for a tokenizer of subwords.
        agreed: the number of texts to which `best` gives the owner's ids.
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
    option = write_rules_option_or_changed_members(best, rules, make_implied_rules(vocabulary))
    if given and given >= agreed:
        said = f"These rules, {describe_rules(rules)}, agree on {given} of {len(pairs)} texts. No other rules that were"
        said = f"{said} tried agree on more. {_describe_failed_texts(before, pairs, vocabulary, 1)}"
    elif not given and (other := _advise_on_vocabulary(before, pairs, vocabulary)):
        return other
    elif not agreed:
        said = "No rules that were tried agree on any text. "
    else:
        said = f"The nearest rules agree on {agreed} of {len(pairs)} texts: "
        said += f"{option if len(option) <= LONGEST_OPTION else describe_rules(best)}. "
        said += _describe_failed_texts(TextEncoder(best, vocabulary.tokens), pairs, vocabulary)
    if 2 * max(given, agreed) >= len(pairs):
        near = best if agreed > given else rules
        return f"{said}{_GIVE_FUNCTION} {advise_external_tokenizer(vocabulary, near)}"
    near = _add_width_that_owner_ids_show(best, list_rules_with_first_and_last_ids(rules, [ids for _, ids in pairs]))
    return (
        f"{said}{_GIVE_FUNCTION} Or write the rules (docs/text-rules.md): steps can replace by a pattern, as re.sub "
        f"does. {advise_external_tokenizer(vocabulary, near, 'If no rules can, as for stems,')}"
    )


def _add_width_that_owner_ids_show(nearest: TextRules, rules_shown_by_ids: Sequence[TextRules]) -> TextRules:
    """Return the rules `nearest` with the width that the owner's ids show. Return `nearest` unchanged if it already
    cuts texts, or if the ids show no width.

    Args:
        nearest: the rules that agree on the most texts.
        rules_shown_by_ids: rules with the widths, first ids and last ids that the owner's ids show.
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
    """Return a sentence with the shortest texts, up to three, to which the rules give other ids than the owner. It has
    the first difference of each. Return an empty string if there are none.

    Args:
        encoder: encodes texts by the rules.
        pairs: the owner's texts and ids.
        vocabulary: the tokens.
        already_told: how many of these texts the message already describes. They are skipped.
    """
    each = {text: _describe_difference(encoder, text, ids, vocabulary.tokens) for text, ids in pairs}
    found = [*each.items()]
    missed = sorted([one for one in found if one[1]][already_told:], key=lambda one: len(one[0]))[:_NAMED_TEXTS]
    return f"They fail on {'; '.join(f'{short_repr(text)}: {said}' for text, said in missed)}. " if missed else ""


def _advise_on_vocabulary(encoder: TextEncoder, pairs: Sequence[Pair], vocabulary: Vocabulary) -> str:
    """Return advice to give another vocabulary. The advice is right if each text has as many ids as in the owner's
    pipeline, but at least half of the words have other ids there. Otherwise, return an empty string."""
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
        f"{brief_text(theirs)} for {describe_token(own, vocabulary.tokens)}, as if from another vocabulary. Give the "
        "vocabulary that made these ids."
    )
