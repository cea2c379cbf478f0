"""Find why a bundle or a module gives other answers than its owner's classifier: the order of labels, a threshold, the
empty text, widths, or other text rules."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import logging
import math
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import starmap
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from pocketrnn.errors import PocketRNNError, short_repr
from pocketrnn.text import EXTERNAL, AnyTextRules, TextEncoder, TextRules
from pocketrnn.text.added_ids_and_width import add_outer_ids_and_pad, cut_items
from pocketrnn.text.text_input import TextInput
from pocketrnn.text.text_row_encoder import Text
from pocketrnn_export.progress import log_item_progress
from pocketrnn_export.vocabularies.answer_distances import (
    TOLERANCE,
    AnsweredText,
    AnswerSource,
    Row,
    choose_likeliest_label_or_thresholds_as_owner,
    choose_tolerance,
    find_possible_columns,
    measure_distance,
    predict_probabilities,
)
from pocketrnn_export.vocabularies.candidate_text_rules import (
    describe_long_rules_option,
    list_candidate_rules,
    write_rules_option,
)
from pocketrnn_export.vocabularies.checkpoint_text_settings import NamedLength
from pocketrnn_export.vocabularies.label_order_by_answers import SURELY, LabelOrder, find_likelier_order
from pocketrnn_export.vocabularies.labels import write_labels
from pocketrnn_export.vocabularies.owner_texts_and_answers import Answer, make_thresholds_of_two_labels, write_threshold
from pocketrnn_export.vocabularies.rules_from_answers import (
    AgreeingRules,
    find_rules_from_answers,
    find_rules_with_sos_and_eos,
    list_rules_that_find_most_words,
)
from pocketrnn_export.vocabularies.unreachable_words import find_unreachable_words
from pocketrnn_export.vocabularies.vocabulary import make_implied_rules, read_vocabulary
from pocketrnn_export.vocabularies.vocabulary_with_first_tokens import (
    describe_missing_words,
    list_sources_with_first_tokens,
)

_log = logging.getLogger(__name__)
# The most texts that are searched for the cause of a difference, and the most ways to cut or pad that are tried.
MOST_TEXTS: Final = 200
# All cuts and widths of a usual classifier take a third of it.
_MOST_SECONDS_OF_WAYS: Final = 60.0
_WAYS: Final = 600
_ENOUGH: Final = 2
# Answers of seven digits that agree better than this are those of these rules.
_SURELY: Final = 1e-5
# Probabilities of two labels that are nearer than this are equal but for rounding.
_TIE: Final = 1e-6
MOST_LABELS: Final = 500
_NAMED: Final = 60
_LONGEST: Final = 2000
_SMALL_WIDTHS: Final = range(2, 129)
# The side of a cut, and which tokens remain.
_SIDES: Final = (("right", "first"), ("left", "last"))
# How many words of the vocabulary are asked whether rules find them in a text, how many rules without steps there are,
# and the fewest texts whose answers tell between these.
_WORDS: Final = 2_000
_SPLITS: Final = 7
_TEXTS_TO_TELL_BY: Final = 8
# One text of so many may have another cause, such as a word that the owner's code changes.
_TEXTS_FOR_AN_EXCEPTION: Final = 50
# An order of the labels with which at most one of so many texts is wrong is told before text rules.
_TEXTS_FOR_A_WRONG_ONE: Final = 10
# How many wrong answers are asked for a width with which half of them agree.
_FEW_WRONG: Final = 8
# How many lengths that the owner's code and files name are tried, and how many are told.
_MOST_LENGTHS: Final = 12
_NAMED_LENGTHS: Final = 3
# The texts that show the order of the labels under other rules, and how long these are tried.
_TEXTS_FOR_ORDER: Final = 100
_MOST_SECONDS_FOR_ORDER: Final = 10.0
# The texts that tell a sigmoid from a softmax.
_TEXTS_FOR_ACTIVATION: Final = 20
# One word of so many is often not of a text: a mark, or a word of another script.
_WORDS_FOR_AN_UNREACHABLE_ONE: Final = 50


class Explanation(NamedTuple):
    """Why answers differ from the owner's, with advice and with the options that correct the export.

    Attributes:
        advice: one or more sentences for the user.
        agreeing: the text rules with which all answers agree; None if none are found.
        is_only: whether no other text rules agree as well.
        nearest: the text rules with which the most answers agree; None if none are found.
        options: options of `export` with which all answers agree. The value None means to leave the option out.
        nearer_options: options of `export` with which more answers agree, but not all.
        tokens: the vocabulary with which all answers agree, if it is another one.
        is_of_split: whether the owner's code may split texts in another way.
    """

    advice: str
    agreeing: AnyTextRules | None = None
    is_only: bool = True
    nearest: AnyTextRules | None = None
    options: Mapping[str, str | None] = MappingProxyType({})
    nearer_options: Mapping[str, str | None] = MappingProxyType({})
    tokens: Sequence[str] = ()
    is_of_split: bool = True


def explain_difference(
    source: AnswerSource,
    rows: Sequence[Row],
    wrong_indices: Sequence[int],
    tolerance: float,
    further: Sequence[AnsweredText] = (),
    find_weights: Callable[[bool], Explanation | None] = lambda _: None,
    *,
    is_order_open: bool = True,
) -> Explanation:
    """Find the likely cause of wrong answers. Return it with advice and, if there are any, with the text rules or
    options with which the answers agree.

    Args:
        source: the bundle or the module that gives the answers.
        rows: texts with the owner's answers, each with the probabilities that the source gives.
        wrong_indices: the indices of the rows whose answers differ; at least one.
        tolerance: the largest difference between two probabilities that agree.
        further: more texts with the owner's answers. Rules that agree with the rows must agree with these, too.
        find_weights: looks for another file of weights with which the answers agree; with True, it also tries other
            text rules. It returns None if there is no such file.
        is_order_open: whether an order of the labels is also looked for together with other text rules.
    """
    exact = _find_order_for_all_answers(source, rows, tolerance)
    exact = exact or _explain_with_sigmoid_or_softmax(source, rows, tolerance, further, find_weights)
    if exact := exact or find_weights(False):
        return exact
    order = find_likelier_order(source, rows)
    turned = _explain_with_label_order(source, rows, tolerance, order) if order.is_sure else None
    if turned and (turned.agreeing or _TEXTS_FOR_A_WRONG_ONE * (order.texts - order.agreed) <= order.texts):
        return turned
    if (threshold := _find_threshold_for_all_answers(source, rows)) and len(wrong_indices) >= _TEXTS_TO_TELL_BY:
        return threshold
    if empty := _advise_on_texts_without_tokens(source, [rows[i][0] for i in wrong_indices], tolerance, is_first=True):
        return Explanation(empty, is_of_split=False)
    if moved := _explain_with_missing_first_tokens(source, rows, tolerance, further):
        return moved
    _log.info("With these rules, %d of %d answers differ: trying others and widths", len(wrong_indices), len(rows))
    # Texts with wrong answers must be among those that are tried.
    tried = sorted([*wrong_indices, *({*range(len(rows))} - {*wrong_indices})][:MOST_TEXTS])
    some, first = [rows[i] for i in tried], [i for i, number in enumerate(tried) if number in {*wrong_indices}]
    most = min(len(some) // _TEXTS_FOR_AN_EXCEPTION, len(first) // 2)
    ids_agree = rows[wrong_indices[0]][0].ids_agree
    marked = None if ids_agree else find_other_rules(source, some, tolerance, most, find=find_rules_with_sos_and_eos)
    if marked and not marked.exceptions:
        return Explanation(marked.advice, marked.rules, marked.is_only, marked.rules)
    others = [*(rows[i][0] for i in range(len(rows)) if i not in {*tried}), *further]
    if threshold:
        return _explain_with_usual_rules(source, some, first, tolerance, others) or _doubt_threshold(threshold)
    ways = [find_other_truncation_or_padding(source, some, first, tolerance, others=others)]
    if ways[0] is None and turned is not None:
        return turned
    if ways[0] is None and most:
        ways.append(find_other_truncation_or_padding(source, some, first, tolerance, most_exceptions=most))
    if ways[0] is None and not ids_agree:
        asked = [*(one for one, _ in rows), *further] if is_order_open else []
        found = _find_rules_or_order(source, rows, some, tolerance, most, find_weights, asked)
        if isinstance(found, Explanation):
            return found
        ways.append(found)
    is_open = all(way is None or way.exceptions for way in ways) and not ids_agree
    # These found nothing before the rare rules, or were not tried yet.
    if is_open and (weights := find_weights(True)) and (weights.options or not any(ways)):
        return weights
    if not any(ways):
        ways.append(_find_width_for_most_answers(source, some, first, tolerance))
    if agreeing := [way for way in ways if way is not None]:
        best = min(agreeing, key=lambda way: way.exceptions)
        return Explanation(best.advice, None if best.exceptions else best.rules, best.is_only, best.rules)
    both = None if order.is_sure else _explain_with_label_order(source, rows, tolerance, order)
    both = both or _explain_with_sigmoid_or_softmax(source, rows, tolerance, further, is_last=True)
    return both or _advise_without_rules(source, rows, some, wrong_indices, tolerance)


def _find_rules_or_order(
    source: AnswerSource,
    rows: Sequence[Row],
    tried: Sequence[Row],
    tolerance: float,
    most_exceptions: int,
    find_weights: Callable[[bool], Explanation | None],
    asked_for_order: Sequence[AnsweredText],
) -> _Way | Explanation | None:
    """Find text rules with which the answers agree. Usual rules are tried first. Rare rules are tried only if neither
    other weights nor another order of the labels explains the difference. Return an `Explanation` if the order of the
    labels explains it. Return None if nothing is found, or if other weights explain it.

    Args:
        source: the bundle or the module that gives the answers.
        rows: texts with the owner's answers, each with the probabilities that the source gives.
        tolerance: the largest difference between two probabilities that agree.
        find_weights: looks for another file of weights with which the answers agree; with True, it also tries other
            text rules.
        tried: the part of the rows with which rules are tried.
        most_exceptions: how many answers may still differ.
        asked_for_order: the texts that the source answers to find the order of the labels.
    """
    find_order = functools.cache(lambda: _find_label_order_with_likeliest_text_rules(source, asked_for_order))

    def is_explained() -> bool:
        return find_weights(True) is not None or find_order() is not None

    way = find_other_rules(
        source, tried, tolerance, most_exceptions, stops_before_rare=is_explained, stop_words=source.stop_words
    )
    if way is None and find_weights(True) is None and (order := find_order()) is not None:
        return _explain_with_label_order(source, rows, tolerance, order)
    return way


def _advise_without_rules(
    source: AnswerSource, rows: Sequence[Row], tried: Sequence[Row], wrong_indices: Sequence[int], tolerance: float
) -> Explanation:
    """Return advice for the case that no text rules make the answers agree. `tried` are the rows with which rules were
    tried."""
    if rows[wrong_indices[0]][0].ids_agree:
        return Explanation(
            "Give the weights of the classifier that gave these answers, and the labels that it predicted, not the "
            "true labels. If a note says that an input, such as a mask, keeps its default, but your code gives it, "
            "give it, too: --call, or call=."
        )
    if empty := _advise_on_texts_without_tokens(source, [rows[i][0] for i in wrong_indices], tolerance):
        return Explanation(empty, is_of_split=False)
    said = (describe_missing_words(source), _describe_tried_lengths(source), describe_likely_cause(rows, wrong_indices),
            _advise_on_other_split(source, tried, tolerance))  # fmt: skip
    return Explanation(f"{''.join(said)}Ids of some texts, beside their answers, would show which is wrong.")


def _describe_tried_lengths(source: AnswerSource) -> str:
    """Return a sentence that says: the owner's files name a length, but the answers do not agree if texts are cut or
    padded to it. Return an empty string if the files name no length, or if the text rules already set a width."""
    rules, lengths = source.text.rules, source.lengths
    if not lengths or rules.max_width is not None or rules.min_width is not None:
        return ""
    each = dict.fromkeys(f"{one.where} says {one.name}={one.value}" for one in lengths)
    named = " and ".join([*each][:_NAMED_LENGTHS])
    return f"{named}, but cutting or padding texts to it does not suffice. "


def _explain_with_missing_first_tokens(
    source: AnswerSource, rows: Sequence[Row], tolerance: float, further: Sequence[AnsweredText]
) -> Explanation | None:
    """Explain wrong answers by tokens, such as "<pad>", that are missing at the beginning of the vocabulary, so that
    all ids are too small. Return None if the answers do not all agree with such tokens added, also with other widths of
    texts, or if the ids are already known to be right."""
    if any(one.ids_agree for one, _ in rows):
        return None
    least = sum(measure_distance(one.answer, found, source) <= tolerance for one, found in rows) + len(rows) // 10
    tried = []
    for other in list_sources_with_first_tokens(source):
        with contextlib.suppress(PocketRNNError):
            moved = [(one, other.answer_text(one.read)) for one, _ in rows]
            tried.append((other, moved, list_wrong_rows(other, moved, tolerance)))
    # Other widths than those that code names are likely only where more texts agree already.
    for only_named, (other, moved, wrong) in itertools.product((True, False), tried):
        rules: AnyTextRules | None = other.text.rules
        if wrong:
            is_likely = only_named or len(rows) - len(wrong) > least
            way = find_other_truncation_or_padding(
                other, moved, wrong if is_likely else (), tolerance, others=further, only_named=only_named
            )
            rules = None if way is None else way.rules
        elif not _agrees_with_all(other, other.text.rules, further, tolerance):
            rules = None
        if rules is not None:
            tokens = other.text.vocabulary
            added = tokens[: len(tokens) - len(source.text.vocabulary)]
            return Explanation(
                f"{describe_missing_words(source)}All {len(rows):,} texts agree if its ids begin at {len(added)}. Give "
                f"a vocabulary file that begins with {' and '.join(added)}.",
                rules, tokens=tokens,
            )  # fmt: skip
    return None


def _explain_with_sigmoid_or_softmax(
    source: AnswerSource,
    rows: Sequence[Row],
    tolerance: float,
    further: Sequence[AnsweredText],
    find_weights: Callable[[bool], Explanation | None] = lambda _: None,
    *,
    is_last: bool = False,
) -> Explanation | None:
    """Explain wrong answers by the other activation: a sigmoid in place of a softmax, or the reverse. If some answers
    are still wrong with it, also explain these. Return None if the evidence is too weak. Evidence is the sum of the
    owner's probabilities of a text, or that more answers agree with the other activation than with any order of the
    labels.

    Args:
        source: the bundle or the module that gives the answers.
        rows: texts with the owner's answers, each with the probabilities that the source gives.
        tolerance: the largest difference between two probabilities that agree.
        further: more texts with the owner's answers.
        find_weights: looks for another file of weights with which the answers agree. It is asked before other causes
            are added to the activation.
        is_last: whether one more agreeing answer is enough, since nothing else explains the difference. Otherwise, the
            number must be too large for chance.
    """
    by_sums = find_activation_by_sums(rows, len(source.labels))
    if source.other is None or by_sums == source.activation:
        return None
    moved = [(one, source.other.answer_text(one.read)) for one, _ in rows]
    other = choose_likeliest_label_or_thresholds_as_owner(source.other, moved)
    if by_sums != other.activation:
        labels = find_likelier_order(source, rows).labels
        before, after = (
            max(count_agreeing_texts(turned, rows, tolerance) for turned in (one, _replace_label_order(one, labels)))
            for one in (source, other)
        )
        if after - before < max(1, 0 if is_last else SURELY * math.sqrt(after + before)):
            return None
    is_several = other.activation == "sigmoid"
    options = {"multi_label": "given" if is_several else None}
    each = "each label has a probability of its own, by a sigmoid, as --multi-label says (multi_label=True)"
    said = f"In your classifier's answers, {each if is_several else 'all labels share one, by a softmax'}"
    said += "" if is_several else ": leave --multi-label out"

    if not (wrong := list_wrong_rows(other, moved, tolerance)):
        for one in further:
            with contextlib.suppress(PocketRNNError):
                moved.append((one, other.answer_text(one.read)))
        if not (wrong := list_wrong_rows(other, moved, tolerance)):
            return Explanation(f"{said}: so all {len(moved):,} texts agree.", options=options)
    if (weights := find_weights(False)) is not None:
        return weights
    found = explain_difference(other, moved, wrong, tolerance, further)
    said = f"{said}. {found.advice}"
    if found.agreeing is not None or found.options:
        return found._replace(advice=said, options={**options, **found.options})
    return found._replace(advice=said, nearer_options={**options, **found.nearer_options})


def find_activation_by_sums(rows: Sequence[Row], label_count: int) -> str:
    """Return `sigmoid` if the owner's probabilities of some text add up to more than 1, `softmax` if the probabilities
    of all labels add up to 1 for each text, and an empty string if the sums show neither. `label_count` is the number
    of labels."""
    given = [one.answer for one, _ in rows if isinstance(one.answer, Mapping)]
    apart = [math.fsum(one.values()) - 1 for one in given]
    # Numbers may be rounded to two decimals.
    if any(one > choose_tolerance(rows) * label_count for one in apart):
        return "sigmoid"
    is_whole = len(given) >= _TEXTS_TO_TELL_BY and all(len(one) == label_count > 2 for one in given)
    return "softmax" if is_whole and all(abs(one) <= TOLERANCE for one in apart) else ""


def choose_rows_to_count(rows: Sequence[Row]) -> Sequence[Row]:
    """Choose the texts that `count_agreeing_texts` counts: at most about 20, from all parts of the rows."""
    return rows[:: len(rows) // _TEXTS_FOR_ACTIVATION + 1]


def count_agreeing_texts(source: AnswerSource, rows: Sequence[Row], tolerance: float) -> int:
    """Return the number of texts whose answers agree with the owner's. If texts may be cut or padded to lengths that
    the owner's code names, return the highest number that any of these lengths gives. At most about 20 of the texts are
    used."""
    rules, some = source.text.rules, choose_rows_to_count(rows)
    ids, ways = [source.encode(one.read) for one, _ in some], [rules]
    if rules.max_width is None and rules.min_width is None:
        longest = max(map(len, ids))
        ways += [way for _, way in _list_named_size_changes(rules, source.lengths[:_NAMED_LENGTHS], longest)]
    counts = []
    for way in ways:
        counts.append(0)
        for (one, _), each in zip(some, ids, strict=True):
            with contextlib.suppress(PocketRNNError):
                counts[-1] += _measure_distance_by_changed_rules(source, way, each, one) <= tolerance
    return max(counts)


def _explain_with_label_order(
    source: AnswerSource, rows: Sequence[Row], tolerance: float, order: LabelOrder
) -> Explanation | None:
    """Explain wrong answers by another order of the labels, with which more answers agree. If some answers are still
    wrong with it, text rules may explain these. Return None if `order` is the present order, or if it may be chance and
    no rules explain the remaining answers."""
    if order.labels == [*source.labels]:
        return None
    other = _replace_label_order(source, order.labels)
    wrong = list_wrong_rows(other, rows, tolerance)
    options, give = _make_labels_option(order.labels), "Give the labels in the order of your classifier's logits."
    is_sure = find_likelier_order(source, rows).is_sure and _TEXTS_FOR_A_WRONG_ONE * len(wrong) <= len(rows)
    if is_sure and not any(isinstance(one.answer, Mapping) for one, _ in rows):
        # Many causes explain the labels of few texts. These are told when the order is right.
        rest = f"The next export looks for the cause of the other {len(wrong):,}."
        return Explanation(f"{order.sentence} {give} {rest}", nearer_options=options)
    found = explain_difference(other, rows, wrong, tolerance, is_order_open=False)
    if isinstance(found.agreeing, TextRules):
        said = f"With the labels in another order, {', '.join(order.labels)}: {found.advice} {give}"
        return Explanation(said, found.agreeing, options=options, tokens=found.tokens)
    if not order.is_sure:
        return None
    advice = f"{order.sentence} {give} The others have another cause. {found.advice}"
    return Explanation(advice, nearer_options=options)


def _replace_label_order(source: AnswerSource, labels: Sequence[str]) -> AnswerSource:
    """Return a copy of the source with the labels in another order. The source with the other activation, if there is
    one, gets the same order."""
    other = None if source.other is None else replace(source.other, labels=labels)
    return replace(source, labels=labels, other=other)


def _find_label_order_with_likeliest_text_rules(
    source: AnswerSource, answered: Sequence[AnsweredText]
) -> LabelOrder | None:
    """Find an order of the labels that surely agrees with more answers than the present order. The source answers texts
    with several text rules: those that find the most words of the vocabulary, also with the lengths that the owner's
    files name. Return None if there is no such order, or if there are fewer than eight texts."""
    if not _is_split_by_text_rules(source) or len(answered) < _TEXTS_TO_TELL_BY:
        return None
    # Files often have the texts of one label after those of another.
    tokens, some, best = source.text.vocabulary, answered[:: len(answered) // _TEXTS_FOR_ORDER + 1], None
    texts = [one.text for one in some]
    started = time.process_time()
    for rules in list_rules_that_find_most_words(source.text.rules, tokens, texts):
        padded = (one for _, one in _list_named_size_changes(rules, source.lengths[:_NAMED_LENGTHS], _LONGEST + 1))
        for changed in [rules, *(one for one in padded if one.min_width == one.max_width and one.cut_side == "right")]:
            encoder, answers = TextEncoder(changed, tokens), []
            for one in some:
                with contextlib.suppress(PocketRNNError):
                    answers.append((one, source.answer_ids(encoder.encode(one.text))))
            order = find_likelier_order(source, answers)
            if order.is_sure and (best is None or order.agreed > best.agreed):
                best = order
            if time.process_time() - started > _MOST_SECONDS_FOR_ORDER:
                break
    return None if best is None or best.labels == [*source.labels] else best


def _make_labels_option(order: Sequence[str]) -> dict[str, str | None]:
    """Return a dict with the option `labels` that sets this order of the labels. Return an empty dict for more than 60
    labels."""
    return {"labels": write_labels(order)} if len(order) <= _NAMED else {}


def describe_likely_cause(rows: Sequence[Row], wrong_indices: Sequence[int]) -> str:
    """Return a sentence that says what probably differs from the owner's classifier. If at least half of the owner's
    probabilities agree, this is the text rules. Otherwise, the sentence asks the user to check the text rules, the
    vocabulary, the weights and the labels."""
    agreed = len(rows) - len(wrong_indices)
    if 2 * agreed < len(rows) or not isinstance(rows[0][0].answer, Mapping):
        return (
            "Give the text rules, the vocabulary and the weights of the classifier of these answers, and its own "
            "labels, not the true ones. "
        )
    return (
        f"Since the probabilities of {agreed:,} of {len(rows):,} texts agree, the vocabulary and the weights are "
        "likely right, and the text rules are not: look at what your code does to the others. "
    )


class _Way(NamedTuple):
    """Text rules with which all answers agree, except a number of them.

    Attributes:
        exceptions: how many answers still differ.
        advice: a sentence that says how to set the rules.
        rules: the text rules.
        is_only: whether no other text rules agree as well.
    """

    exceptions: int
    advice: str
    rules: AnyTextRules
    is_only: bool


def _describe_agreeing_rules(
    rows: Sequence[Row], exceptions: Sequence[int], said: str, rules: AnyTextRules, several: str
) -> _Way:
    """Return text rules with which all answers agree, except some, together with the sentence that recommends them.

    Args:
        rows: texts with the owner's answers, each with the probabilities that the source gives.
        exceptions: the indices of the texts whose answers do not agree.
        said: the last words of the sentence, such as "with --rules ...".
        rules: the text rules.
        several: a sentence that other rules agree, too; empty if none do.
    """
    counts, more = "All", several
    if exceptions:
        counts = f"{len(rows) - len(exceptions):,} of"
        text = short_repr(rows[exceptions[0]][0].text, _NAMED)
        more = f" Look at what your code does to the others: the first is {text}."
    return _Way(
        len(exceptions), f"{counts} {len(rows):,} texts that were tried agree {said}.{more}", rules, not several
    )


def find_other_rules(
    source: AnswerSource,
    rows: Sequence[Row],
    tolerance: float,
    most_exceptions: int = 0,
    find: Callable[..., list[AgreeingRules]] = find_rules_from_answers,
    **given: Any,
) -> _Way | None:
    """Find text rules with which all answers agree, except at most `most_exceptions`. Return them with a sentence that
    recommends them. Return None if there are none, if the owner's code or a subword tokenizer splits the texts, or if
    there are fewer than eight texts.

    Args:
        source: the bundle or the module that gives the answers.
        rows: texts with the owner's answers, each with the probabilities that the source gives.
        tolerance: the largest difference between two probabilities that agree.
        most_exceptions: how many answers may still differ.
        find: the search for the rules, such as `find_rules_from_answers`.
        given: further arguments of `find`.
    """
    rules, tokens = source.text.rules, source.text.vocabulary
    if not _is_split_by_text_rules(source) or len(rows) < _TEXTS_TO_TELL_BY:
        return None

    def measure(number: int, ids: Sequence[int]) -> float:
        with contextlib.suppress(PocketRNNError):
            return _measure_distance_to_answer_for_ids(source, rows[number][0].answer, ids)
        return math.inf

    if find is find_rules_from_answers:
        given["named_widths"] = [*dict.fromkeys(one.value for one in source.lengths[:_NAMED_LENGTHS])]
    found = find(rules, tokens, [one.text for one, _ in rows], measure, tolerance, most_exceptions, **given)
    if not found:
        return None
    best = found[0]
    more = " Other rules agree, too: probabilities in place of labels show the right ones." * (len(found) > 1)
    return _describe_agreeing_rules(rows, best.exceptions, f"with {_write_rules(best.rules, tokens)}", best.rules, more)


def _is_split_by_text_rules(source: AnswerSource) -> bool:
    """Return whether text rules with one of the format's tokenizers split the texts. Return False if a subword
    tokenizer or the owner's code splits them."""
    rules = source.text.rules
    return type(source.text) is TextInput and isinstance(rules, TextRules) and rules.tokenizer != EXTERNAL


def _advise_on_other_split(source: AnswerSource, rows: Sequence[Row], tolerance: float) -> str:
    """Return advice to use another tokenizer, or to keep capitals or not. It is given if many more answers agree then,
    or if many more words of the vocabulary can occur in texts. Otherwise, return an empty string."""
    text = source.text
    rules = text.rules
    if not _is_split_by_text_rules(source) or len(rows) < _TEXTS_TO_TELL_BY:
        return ""
    tokens = text.vocabulary
    some = [*enumerate(tokens)][:: len(tokens) // _WORDS + 1]
    own = find_unreachable_words(TextEncoder(rules, tokens), some)
    found: list[tuple[int, int, TextRules]] = []
    for other in itertools.islice(list_candidate_rules(rules, ()), _SPLITS):
        encoder = TextEncoder(other, tokens)
        if other == rules:
            continue
        agreed = 0
        with contextlib.suppress(PocketRNNError):
            agreed = sum(
                _measure_distance_to_answer_for_ids(source, one.answer, encoder.encode(one.text)) <= tolerance
                for one, _ in rows
            )
        found.append((agreed, -len(find_unreachable_words(encoder, some)), other))
    agreed, _, best = max(found, key=lambda one: one[:2])
    before = sum(measure_distance(one.answer, numbers, source) <= tolerance for one, numbers in rows)
    if 2 * (agreed - before) > len(rows) - before:
        return f"{agreed:,} of {len(rows):,} texts agree with {_write_rules(best, tokens)}. "
    # Answers to a few texts agree by chance.
    _, unreached, best = max(found, key=lambda one: (one[1], one[2].tokenizer == rules.tokenizer))
    unreached = -unreached
    if _WORDS_FOR_AN_UNREACHABLE_ONE * len(own) < len(some) or not own or unreached > len(own) // 2:
        return ""
    own, others = (find_unreachable_words(TextEncoder(one, tokens), enumerate(tokens)) for one in (rules, best))
    return (
        f"Your pipeline may split texts in another way: these rules find {len(own):,} words of the vocabulary in no "
        f"text, such as {' and '.join(map(short_repr, own[:2]))}, and {_write_rules(best, tokens)} finds "
        f"{len({*own} - {*others}):,} of these. "
    )


def _find_order_for_all_answers(source: AnswerSource, rows: Sequence[Row], tolerance: float) -> Explanation | None:
    """Find an order of the labels with which all answers agree, and explain the difference by it. Return None if there
    is no such order, or if there are more than 500 labels."""
    labels = source.labels
    if len(labels) > MOST_LABELS:
        return None
    columns = find_possible_columns(source, rows, tolerance)
    may = {
        label: [own, *columns[label] - {own}] if own in columns[label] else [*columns[label]]
        for own, label in enumerate(labels)
    }
    taken: dict[int, str] = {}

    def assign_column(label: str, seen: set[int]) -> bool:
        for column in may[label]:
            if column not in seen:
                seen.add(column)
                if column not in taken or assign_column(taken[column], seen):
                    taken[column] = label
                    return True
        return False

    if not all(assign_column(label, set()) for label in labels):
        return None
    told = {label for one, _ in rows for label in one.answer}
    order = ", ".join([taken[column] for column in range(len(labels))][:_NAMED])
    more = ", ..." if len(labels) > _NAMED else ""
    unsure = "" if len(told) >= len(labels) - 1 else " (no text shows the positions of the others)"
    options = {} if unsure else _make_labels_option([taken[column] for column in range(len(labels))])
    return Explanation(
        f"All {len(rows):,} texts agree if the labels are in another order: {order}{more}{unsure}. Give the labels in "
        "the order of your classifier's logits.",
        options=options,
    )


def _find_threshold_for_all_answers(source: AnswerSource, rows: Sequence[Row]) -> Explanation | None:
    """Find thresholds with which all of the owner's labels agree, and explain the difference by them. With a softmax,
    they decide between two labels. Return None if there are none, or if answers have probabilities."""
    if any(isinstance(one.answer, Mapping) for one, _ in rows):
        return None
    if source.activation == "sigmoid":
        each = [_find_threshold_bounds(rows, label, column) for column, label in enumerate(source.labels)]
        if any(lowest >= highest for lowest, highest in each):
            return None
        common = max(lowest for lowest, _ in each), min(highest for _, highest in each)
        needed = [common] if common[0] < common[1] else each
        written = ",".join(starmap(write_threshold, needed))
        return Explanation(
            f"All {len(rows):,} texts agree with other thresholds: --thresholds {written} "
            f"(thresholds=[{', '.join(starmap(write_threshold, needed * (len(each) // len(needed))))}]). Give the "
            "thresholds of your code.",
            options={"thresholds": written},
        )
    if len(source.labels) != 2 or any(len(one.answer) != 1 for one, _ in rows):
        return None
    lowest, highest = _find_threshold_bounds(rows, source.labels[1], 1)
    if not max(lowest, 0) < min(highest, 1):
        return None
    from_ = write_threshold(lowest, highest)
    both = ",".join(f"{one:g}" for one in make_thresholds_of_two_labels(float(from_)))
    return Explanation(
        f"All {len(rows):,} texts agree if your code gives {short_repr(source.labels[1], 40)} from a probability of "
        f"{from_} on (more than {max(lowest, 0):.4g}, at most {min(highest, 1):.4g}), and not the likelier label: "
        f"--thresholds {both} (thresholds=[{both.replace(',', ', ')}]). Give the threshold of your code: the two "
        "numbers must add up to 1.",
        options={"thresholds": both},
    )


def _explain_with_usual_rules(
    source: AnswerSource,
    rows: Sequence[Row],
    wrong_indices: Sequence[int],
    tolerance: float,
    others: Sequence[AnsweredText],
) -> Explanation | None:
    """Explain the difference by usual text rules, or by a length that the owner's files name. Return None if none of
    these make all answers agree."""
    way = None
    if not rows[wrong_indices[0]][0].ids_agree:
        way = find_other_rules(source, rows, tolerance, stops_before_rare=lambda: True, stop_words=source.stop_words)
    way = way or find_other_truncation_or_padding(
        source, rows, wrong_indices, tolerance, others=others, only_named=True
    )
    return None if way is None else Explanation(way.advice, way.rules, way.is_only, way.rules)


def _doubt_threshold(threshold: Explanation) -> Explanation:
    """Return the explanation by a threshold without its options, and with the sentence that text rules may be the
    cause, since few answers differ."""
    doubt = " But so few answers differ that text rules may be the cause: probabilities in place of labels show it."
    return Explanation(f"{threshold.advice}{doubt}")


def _find_threshold_bounds(rows: Sequence[Row], label: str, column: int) -> tuple[float, float]:
    """Return the two probabilities of a label between which its threshold lies: the highest one in answers without the
    label, and the lowest one in answers with it. `column` is the label's column of the probabilities."""
    with_it = [float(found[column]) for one, found in rows if label in one.answer]
    without = [float(found[column]) for one, found in rows if label not in one.answer]
    return max(without, default=-1.0), min(with_it, default=2.0)


def _are_characters_tokens(tokens: Sequence[str], texts: Sequence[AnsweredText]) -> bool:
    """Return whether at least half of the letters and digits in the texts are tokens by themselves, as in a vocabulary
    of characters."""
    characters = [one for each in texts for one in str(each.text).lower() if one.isalnum()]
    known = {token.lower() for token in tokens if len(token) == 1}
    return 2 * sum(one in known for one in characters) > len(characters)


def list_answers_without_module(
    source: AnswerSource, rows: Sequence[Row], wrong_indices: Sequence[int], tolerance: float
) -> list[int]:
    """Return the wrong indices if the owner's code seems to answer these texts without its module. This is so if none
    of these texts has a token, and if no id that stands for an empty text leads to the owner's answers. Otherwise,
    return an empty list.

    Args:
        source: the bundle or the module.
        rows: the texts with both answers.
        wrong_indices: the indices of the wrong answers.
        tolerance: the allowed difference of probabilities.
    """
    wrong = [rows[i][0] for i in wrong_indices]
    # The rules may be wrong where the owner's function does not split the texts.
    is_sure = not _has_letters(wrong) or not (type(source.text) is TextInput and _is_split_by_text_rules(source))
    is_sure = is_sure and 2 * len(wrong) <= len(rows) and all(_is_answered_as_empty(source, one) for one in wrong)
    return [*wrong_indices] if is_sure and not _list_ids_that_give_owner_answers_alone(source, wrong, tolerance) else []


def _has_letters(texts: Sequence[AnsweredText]) -> bool:
    """Return whether any of some texts has a letter or a digit."""
    return any(map(str.isalnum, "".join(str(one.text) for one in texts)))


def _is_answered_as_empty(source: AnswerSource, one: AnsweredText) -> bool:
    """Return whether a text surely has no token, so that the bundle reads one id in its place. Return False if the
    rules pad texts."""
    rules = source.text.rules
    is_plain = type(source.text) is TextInput and rules.min_width is None
    return is_plain and _has_no_token(rules, source.encode(one.read), one.read)


def _list_ids_that_give_owner_answers_alone(
    source: AnswerSource, wrong: Sequence[AnsweredText], tolerance: float
) -> list[int]:
    """List up to two ids with each of which, read as the whole text, the source gives the owner's answers to all of the
    texts `wrong`."""
    agreeing: list[int] = []
    for id_ in dict.fromkeys([source.text.rules.padding_id, *range(min(len(source.text.vocabulary), MOST_TEXTS))]):
        with contextlib.suppress(PocketRNNError):
            apart = (_measure_distance_to_answer_for_ids(source, one.answer, [id_]) for one in wrong)
            if all(difference <= tolerance for difference in apart):
                agreeing.append(id_)
        if len(agreeing) == _ENOUGH:
            break
    return agreeing


def _advise_on_texts_without_tokens(
    source: AnswerSource, wrong: Sequence[AnsweredText], tolerance: float, *, is_first: bool = False
) -> str | None:
    """Return advice on texts in which the rules find no token. It names the id that the bundle reads for such a text,
    and the ids with which the answers agree. Return None if one of the texts `wrong` has a token, if the rules pad
    texts, or if the texts have letters and no id agrees. With `is_first`, also return None if the vocabulary is one of
    characters."""
    # A tokenizer of characters, say, may find tokens in these texts.
    if is_first and _are_characters_tokens(source.text.vocabulary, wrong):
        return None
    if not all(_is_answered_as_empty(source, one) for one in wrong):
        return None
    agreeing = _list_ids_that_give_owner_answers_alone(source, wrong, tolerance)
    if not agreeing and _has_letters(wrong):
        # Other rules may find tokens in these texts.
        return None
    rules = source.text.rules
    agrees = f"With {' or '.join(map(str, agreeing))} the answers agree. " if agreeing else ""
    return (
        f"These texts have no token, so the bundle reads the id {rules.empty_id} instead. To change it, give --rules "
        f"'{{\"empty_id\": ...}}'. {agrees}If your code answers such texts without the module, do that before you ask "
        "the bundle, and leave such texts out here."
    )


def find_other_truncation_or_padding(
    source: AnswerSource,
    rows: Sequence[Row],
    wrong_indices: Sequence[int],
    tolerance: float,
    most_exceptions: int = 0,
    others: Sequence[AnsweredText] = (),
    *,
    only_named: bool = False,
) -> _Way | None:
    """Find a length to which texts are cut or padded so that all answers agree, except at most `most_exceptions`.
    Return the text rules with a sentence that recommends them. Return None if there are none. If the rules already set
    a width, texts are tried without it first.

    Args:
        source: the bundle or the module that gives the answers.
        rows: texts with the owner's answers, each with the probabilities that the source gives.
        wrong_indices: the indices of the rows whose answers differ.
        tolerance: the largest allowed difference of an answer.
        most_exceptions: how many answers may still differ.
        others: more texts with the owner's answers. These must agree, too, if no row is an exception.
        only_named: whether to try only the lengths that the owner's code and files name. These are tried first in any
            case.
    """
    rules = source.text.rules
    if wrong_indices and (rules.max_width is not None or rules.min_width is not None):
        return _find_way_without_given_width(source, rows, tolerance, most_exceptions, others, only_named=only_named)
    if not wrong_indices:
        return None
    ids = [source.encode(one.read) for one, _ in rows]
    # The shortest text, if possible one that surely has a token.
    first = min(wrong_indices, key=lambda i: (_has_no_token(rules, ids[i], rows[i][0].read), len(ids[i])))
    # The shortest differing text first: most ways fail on it.
    started = time.process_time()
    order = [*dict.fromkeys([first, *wrong_indices, *range(len(rows))])]
    agreeing: list[tuple[int, float, str, AnyTextRules, list[int]]] = []
    changes = [*_list_named_size_changes(rules, source.lengths, max(map(len, ids)))]
    named = len(changes)
    if not only_named:
        changes += _list_size_changes_with_descriptions(rules, max(map(len, ids)), len(ids[first]))
    for at, (said, changed) in enumerate(log_item_progress(changes, "Trying lengths to which texts are cut or padded")):
        if at == named and agreeing:
            # The lengths that code names decide between near ones.
            break
        exceptions, largest = [], 0.0
        with contextlib.suppress(PocketRNNError):
            for i in order:
                distance = _measure_distance_by_changed_rules(source, changed, ids[i], rows[i][0])
                if distance <= tolerance:
                    largest = max(largest, distance)
                else:
                    exceptions.append(i)
                    if len(exceptions) > most_exceptions:
                        break
            else:
                if exceptions or _agrees_with_all(source, changed, others, tolerance):
                    agreeing.append((len(exceptions), largest, said, changed, exceptions))
        # Answers of many digits show which of several near widths is right: those that agree first are taken.
        sure = [largest for _, largest, *_ in agreeing if largest < _SURELY]
        is_found = (len(sure) == _ENOUGH or any(sure)) and not most_exceptions
        if is_found or len(agreeing) == _WAYS or time.process_time() - started > _MOST_SECONDS_OF_WAYS:
            break
    if not agreeing:
        return None
    count, nearest, *_ = min(agreeing, key=lambda way: way[:2])
    # Rounded probabilities do not tell near widths apart; the usual ones come first.
    as_near = [way for way in agreeing if way[0] == count and way[1] <= max(2 * nearest, _SURELY)]
    _, _, said, changed, exceptions = as_near[0]
    # Whether longer texts are cut is noted with the bundle.
    different = {(one.min_width, one.pad_side, one.max_tokens, one.cut_side) for *_, one, _ in as_near}
    is_open = len(different) > 1 and not 0 < nearest < _SURELY
    more = " Other ways agree, too: probabilities with all digits show the right one." if is_open else ""
    option = _describe_rules_option(changed, source.text.vocabulary)
    return _describe_agreeing_rules(rows, exceptions, f"if {said}: {option}", changed, more)


def _find_way_without_given_width(
    source: AnswerSource,
    rows: Sequence[Row],
    tolerance: float,
    most_exceptions: int,
    others: Sequence[AnsweredText],
    *,
    only_named: bool,
) -> _Way | None:
    """Return the text rules without the width that they set, or with another one, if all answers agree with them,
    except at most `most_exceptions`. Return None otherwise, or if the width is that of a tokenizer's own file. The
    arguments are those of `find_other_truncation_or_padding`."""
    # A module is asked before its bundle is made.
    if source.name != "module" or not _is_split_by_text_rules(source):
        return None
    other = replace_rules(source, replace(source.text.rules, min_width=None, max_width=None, pad_side="right"))
    found = answer_texts(other, [one for one, _ in rows])
    wrong = list_wrong_rows(other, found, tolerance)
    if wrong or len(found) < len(rows):
        return find_other_truncation_or_padding(
            other, found, wrong, tolerance, most_exceptions, others, only_named=only_named
        )
    if not _agrees_with_all(other, other.text.rules, others, tolerance):
        return None
    said = f"if texts are neither cut nor padded: {_describe_rules_option(other.text.rules, source.text.vocabulary)}"
    return _describe_agreeing_rules(rows, [], said, other.text.rules, "")


def replace_rules(source: AnswerSource, rules: TextRules) -> AnswerSource:
    """Return the source with other text rules."""
    encoder = TextEncoder(rules, source.text.vocabulary)

    def encode(read: Any) -> list[int]:
        return encoder.encode(read) if isinstance(read, str) else encoder.encode_tokens(read)

    return replace(
        source,
        text=replace(source.text, rules=rules),
        encode=encode,
        answer_text=lambda read: source.answer_ids(encode(read)),
    )


def answer_texts(source: AnswerSource, texts: Sequence[AnsweredText]) -> list[Row]:
    """Return the texts that the source answers, each with its probabilities."""
    return [(one, found) for one in texts if (found := predict_probabilities(source, one.text)) is not None]


def list_wrong_rows(source: AnswerSource, rows: Sequence[Row], tolerance: float) -> list[int]:
    """Return the indices of the rows whose answers differ from the owner's by more than `tolerance`."""
    return [i for i, (one, found) in enumerate(rows) if measure_distance(one.answer, found, source) > tolerance]


def _agrees_with_all(
    source: AnswerSource, changed: AnyTextRules, texts: Sequence[AnsweredText], tolerance: float
) -> bool:
    """Return whether all answers agree with the text rules `changed`. Texts that the module refuses are skipped."""
    for one in texts:
        with contextlib.suppress(PocketRNNError):
            if _measure_distance_by_changed_rules(source, changed, source.encode(one.read), one) > tolerance:
                return False
    return True


def _find_width_for_most_answers(
    source: AnswerSource, rows: Sequence[Row], wrong_indices: Sequence[int], tolerance: float
) -> _Way | None:
    """Find a length to which texts are cut or padded so that at least half of the wrong answers agree. Return the text
    rules with a sentence that recommends them. Return None if there are none, or if fewer than eight wrong answers have
    probabilities."""
    few = [rows[i] for i in wrong_indices if isinstance(rows[i][0].answer, Mapping)][:_FEW_WRONG]
    if len(few) < _FEW_WRONG:
        return None
    way = find_other_truncation_or_padding(source, few, range(len(few)), tolerance, most_exceptions=len(few) // 2)
    if way is None:
        return None
    exceptions = [
        i for i, (one, _) in enumerate(rows)
        if _measure_distance_by_changed_rules(source, way.rules, source.encode(one.read), one) > tolerance
    ]  # fmt: skip
    if 2 * len(exceptions) > len(wrong_indices):
        return None
    said = f"if texts are cut or padded: {_describe_rules_option(way.rules, source.text.vocabulary)}"
    return _describe_agreeing_rules(rows, exceptions, said, way.rules, "")


def _measure_distance_to_answer_for_ids(source: AnswerSource, answer: Answer, ids: Sequence[int]) -> float:
    """Return how far the source's answer to the ids of a text is from the owner's `answer`. A label that is not the
    likeliest counts as far, even if the two are nearly equal: rules that make all labels equal would agree with any
    labels."""
    distance = measure_distance(answer, source.answer_ids(ids), source)
    return distance if isinstance(answer, Mapping) or distance < _TIE else max(distance, 1.0)


def _list_named_size_changes(
    rules: AnyTextRules, lengths: Sequence[NamedLength], longest: int
) -> Iterator[tuple[str, AnyTextRules]]:
    """Yield (description, rules) for copies of the text rules that cut or pad texts to the `lengths` that the owner's
    code and files name. For each length, copies that only cut come first, then copies that cut and pad, then copies
    that only pad. `longest` is the number of ids of the longest text."""
    changed: Any = replace
    values = [*dict.fromkeys(one.value for one in lengths if one.value <= _LONGEST)][:_MOST_LENGTHS]
    outer = len(rules.first_ids) + len(rules.last_ids)
    for value in values:
        # Tokenizers of libraries count the marks around a text.
        counts = [*dict.fromkeys(one for one in (value - outer, value) if one > 0)]
        counts.sort(reverse=isinstance(rules, TextRules))
        for most, (side, where) in itertools.product(counts, _SIDES):
            if value < longest and rules.max_tokens is None:
                yield (
                    f"only the {where} {most} tokens of each text are read",
                    changed(rules, max_tokens=most, cut_side=side),
                )
        for pad_side, (cut_side, _) in itertools.product(("right", "left"), _SIDES[: 1 + (value < longest)]):
            said = f"each text is padded to {value} ids on the {pad_side}"
            cut = f", or cut to as many{' on the left' * (cut_side == 'left')}" * (value < longest)
            if cut and outer and value > outer and rules.max_tokens is None:
                yield (
                    f"{said}{cut}, with the marks around it",
                    changed(rules, min_width=value, max_tokens=value - outer, pad_side=pad_side, cut_side=cut_side),
                )
            yield said + cut, changed(rules, min_width=value, max_width=value, pad_side=pad_side, cut_side=cut_side)
            if cut and cut_side == "right":
                yield f"{said}, and not cut", changed(rules, min_width=value, pad_side=pad_side)


def _list_size_changes_with_descriptions(
    rules: AnyTextRules, longest: int, shortest: int
) -> Iterator[tuple[str, AnyTextRules]]:
    """Yield (description, rules) for text rules that cut texts to fewer than `shortest` tokens, or that pad all texts
    to one width. Round numbers come first. `longest` is the number of ids of the longest text; `shortest` is that of
    the shortest text whose answer is wrong."""
    changed: Any = replace
    most = min(shortest - len(rules.first_ids) - len(rules.last_ids) - 1, _LONGEST)
    if rules.max_tokens is None:
        for most_tokens in sorted(range(1, most + 1), key=lambda n: (n % 10 != 0 and n & (n - 1) != 0, -n))[:_WAYS]:
            for side, where in _SIDES:
                said = f"only the {where} {most_tokens} tokens of each text are read"
                yield said, changed(rules, max_tokens=most_tokens, cut_side=side)
    outer = len(rules.first_ids) + len(rules.last_ids)
    round_widths = sorted({*range(10, 520, 10), 16, 32, 64, 128, 256, 512})
    for width in dict.fromkeys([longest, *round_widths, *_SMALL_WIDTHS]):
        for side in ("right", "left"):
            said = f"each text is padded to {width} ids on the {side}"
            cut = ", or cut to as many" * (width < longest)
            yield said + cut, changed(rules, min_width=width, max_width=width, pad_side=side)
            if cut and outer and width > outer and rules.max_tokens is None:
                yield (
                    f"{said}{cut}, with the marks around it",
                    changed(rules, min_width=width, max_tokens=width - outer, pad_side=side),
                )
            if cut:
                yield f"{said}, and not cut", changed(rules, min_width=width, pad_side=side)


def _measure_distance_by_changed_rules(
    source: AnswerSource, changed: AnyTextRules, ids: list[int], one: AnsweredText
) -> float:
    """Return how far the module's answer to a text is from the owner's answer if the rules `changed` cut or pad the
    text. `ids` are the text's ids by the present rules."""
    rules = source.text.rules
    ways = [_convert_ids_to_changed_rules(rules, changed, ids)]
    if changed.min_width is not None and _has_no_token(rules, ids, one.read):
        ways.append(add_outer_ids_and_pad([], changed))
    return min(_measure_distance_to_answer_for_ids(source, one.answer, way) for way in ways)


def _has_no_token(rules: AnyTextRules, ids: Sequence[int], read: Text) -> bool:
    """Return whether a text surely has no token, so that its ids are one id that stands for an empty text.

    Args:
        rules: text rules without widths.
        ids: the text's ids.
        read: the text, or its tokens or ids.
    """
    if not isinstance(rules, TextRules) or [*ids] != [rules.empty_id]:
        return False
    if not isinstance(read, str):
        return not [*read]
    # A text of one unknown word has the same ids.
    is_open = rules.tokenizer != EXTERNAL and rules.unknown_id == rules.empty_id
    return not is_open or not TextEncoder(rules, ()).tokens(read)


def _convert_ids_to_changed_rules(rules: AnyTextRules, changed: AnyTextRules, ids: list[int]) -> list[int]:
    """Convert the ids that the present rules give a text to the ids that the `changed` rules give it."""
    inner = ids[len(rules.first_ids) : len(ids) - len(rules.last_ids)]
    if changed.max_tokens is not None:
        cut_items(inner, changed.max_tokens, changed.cut_side)
    return add_outer_ids_and_pad(inner, changed)


def _describe_rules_option(rules: AnyTextRules, tokens: Sequence[str]) -> str:
    """Return a phrase, such as "give --max-tokens 64", that tells how to set the width of these rules: by --max-tokens
    or by --rules."""
    if rules.min_width is None and rules.cut_side == "right":
        return f"give --max-tokens {rules.max_tokens} (max_tokens={rules.max_tokens} in the rules)"
    if not isinstance(rules, TextRules):
        names = ("max_tokens", "max_width", "min_width", "cut_side", "pad_side")
        widths = {name: value for name in names if (value := getattr(rules, name)) not in (None, "right")}
        widths |= {} if rules.min_width is None else {"padding_id": rules.padding_id}
        return f"give --rules {shlex.quote(json.dumps(widths))}, unless the tokenizer's file states other widths"
    return f"give {_write_rules(rules, tokens)}"


def _write_rules(rules: TextRules, tokens: Sequence[str]) -> str:
    """Write the option --rules with the members that differ from the rules that the vocabulary implies. If this is too
    long for a message, return a description of the rules instead; the command to copy then has them in a file."""
    implied = make_implied_rules(read_vocabulary(tokens), TextRules().tokenizer)
    return describe_long_rules_option(rules, write_rules_option(rules, implied))
