"""Compare the answers of the written bundle with the owner's answers. Only this comparison covers all steps from a
text to its label.

The proof compares a bundle with the module. The vocabulary, the truncation of texts and the label names do not come
from the module, so only the answers of the owner's classifier can show errors in them.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import numpy as np

from pocketrnn.bundle.output_kinds import decides_between_two_labels
from pocketrnn.classifier import Classifier
from pocketrnn.errors import ParityError, short_repr
from pocketrnn.text import AnyTextRules
from pocketrnn.text.text_input import TextInput
from pocketrnn.verdicts import AnswerComparison
from pocketrnn_export.vocabularies.answer_distances import (
    AnsweredText,
    AnswerSource,
    Probabilities,
    Row,
    choose_likeliest_label_or_thresholds_as_owner,
    choose_tolerance,
    find_possible_columns,
    measure_distance,
    predict_probabilities,
)
from pocketrnn_export.vocabularies.causes_of_different_answers import (
    MOST_LABELS,
    MOST_TEXTS,
    Explanation,
    explain_difference,
    list_answers_without_module,
)
from pocketrnn_export.vocabularies.label_order_by_answers import SURELY, count_deviations_above_chance
from pocketrnn_export.vocabularies.owner_texts_and_answers import (
    Answer,
    write_threshold,
)
from pocketrnn_export.vocabularies.rules_in_code_that_give_owner_answers import (
    ListRulesInCode,
    find_agreeing_rules_in_code,
)
from pocketrnn_export.vocabularies.weights_file_that_gives_owner_answers import find_agreeing_weights

_log = logging.getLogger(__name__)
# A text with the labels that the owner gives beside probabilities, and the probabilities that the source gives.
_Labelled: TypeAlias = tuple[AnsweredText, tuple[str, ...], Probabilities]
_SHOWN_TOKENS: Final = 12
# The fewest labels that look like true ones.
_TEXTS_TO_TELL_BY: Final = 20


class OtherAnswersError(ParityError):
    """Raised if a bundle or a module gives other answers than its owner's classifier.

    Args:
        count: a sentence that says how many answers differ.
        remedy: a sentence that says what to do.
        example: one or two sentences on the first text with another answer.
        before: the present text rules; None if `agreeing` is None.
        agreeing: the text rules with which all answers equal the owner's; None if none are found.
        numbers: how many texts with probabilities show that only these rules agree; 0 if others do, too.
        nearest: the text rules with which the most answers equal the owner's; None if none are found.
        options: the options of `export` with which all answers equal the owner's, such as labels in another order. The
            value None means to leave the option out.
        seem_true_labels: whether the answers seem to be the true labels of the data.
        nearer_options: the options of `export` with which more answers equal the owner's, but not all.
        tokens: the vocabulary with which all answers equal the owner's; empty if it is the present one.
        is_of_split: whether the owner's code may split texts in another way.
    """

    def __init__(
        self,
        count: str,
        remedy: str,
        example: str = "",
        before: Any = None,
        agreeing: AnyTextRules | None = None,
        numbers: int = 0,
        nearest: AnyTextRules | None = None,
        options: Mapping[str, str | None] = MappingProxyType({}),
        nearer_options: Mapping[str, str | None] = MappingProxyType({}),
        tokens: Sequence[str] = (),
        *,
        seem_true_labels: bool = False,
        is_of_split: bool = True,
    ) -> None:
        super().__init__(f"{count} {example}".rstrip(), remedy)
        self.seem_true_labels, self.is_of_split = seem_true_labels, is_of_split
        self.count, self.example = count, example
        self.before, self.agreeing, self.numbers, self.nearest = before, agreeing, numbers, nearest
        self.options, self.nearer_options = dict(options), dict(nearer_options)
        self.tokens = tokens


def list_labels_that_no_answer_names(answered: Iterable[AnsweredText], labels: Sequence[str]) -> tuple[str, ...]:
    """Return the labels that no answer names, if there are at least two. The answers cannot show the order of these
    labels among each other. Return an empty tuple otherwise."""
    named = {label for one in answered for label in (one.answer if one.names else one.label or ())}
    untold = tuple(label for label in labels if label not in named)
    return untold if len(untold) > 1 else ()


def compare_answers(classifier: Classifier, answered: Sequence[AnsweredText]) -> AnswerComparison | None:
    """Compare the answers of a bundle with the answers of its owner's classifier to the same texts.

    Args:
        classifier: the bundle, as the runtime loads it.
        answered: texts with the owner's answers. Texts that the bundle refuses by its limits are skipped.

    Returns:
        how many answers were compared, and how far they differ; None if none were compared.

    Raises:
        ParityError: an answer differs; the message has the first such text, both answers and the likely cause.
    """
    # A bundle of sequences of numbers has no text rules, and no answers of its owner.
    if not answered:
        return None
    if classifier.heads:
        return _compare_heads(classifier, answered)
    source = AnswerSource.from_bundle(classifier)
    rows = refuse_other_answers(source, answered)
    if not rows:
        return None
    tolerance, source = choose_tolerance(rows), choose_likeliest_label_or_thresholds_as_owner(source, rows)
    apart = [measure_distance(one.answer, found, source) for one, found in rows]
    numbers = [difference for difference, (one, _) in zip(apart, rows, strict=True) if isinstance(one.answer, Mapping)]
    # A label beside probabilities is compared, too.
    labelled = [(one, one.label, found) for one, found in rows
                if one.label is not None and isinstance(one.answer, Mapping)]  # fmt: skip
    beside = [measure_distance(given, found, source) for _, given, found in labelled]
    _log_other_labels(source, labelled, [row for row, by in zip(labelled, beside, strict=True) if by > tolerance])
    return AnswerComparison(
        len(rows) - len(numbers) + sum(difference <= tolerance for difference in beside),
        len(numbers),
        float(max(numbers, default=0.0)),
        tolerance,
        _find_unordered_labels(source, rows, tolerance),
        texts=len(rows),
        by_thresholds=source.activation == "softmax" and decides_between_two_labels(source.thresholds),
        of_likeliest=source.gives_likeliest,
    )


def refuse_other_answers(
    source: AnswerSource,
    answered: Sequence[AnsweredText],
    others: Sequence[AnsweredText] = (),
    other_weights: Iterable[tuple[str, AnswerSource]] = (),
    list_rules_in_code: ListRulesInCode = lambda _: (),
) -> list[Row]:
    """Refuse a bundle or a module that gives other answers than its owner's classifier.

    Args:
        source: the bundle or the module.
        answered: texts with the owner's answers.
        others: further texts with the owner's answers. They are not compared with the module. If several text rules
            agree with the compared texts, these texts decide between the rules.
        other_weights: for each further file of weights, its name and the module with its weights. They are tried if
            answers differ.
        list_rules_in_code: lists the functions of the owner's code that may split texts, with their text rules. They
            are tried if answers differ.

    Returns:
        the texts that it answers, with its probabilities. Texts without a token, which the owner's code answers without
        its module, are left out with a note.

    Raises:
        ParityError: an answer differs; the message has the first such text, both answers and the likely cause.
    """
    rows = [(one, found) for one in answered if (found := predict_probabilities(source, one.read)) is not None]
    tolerance, source = choose_tolerance(rows), choose_likeliest_label_or_thresholds_as_owner(source, rows)
    apart = [measure_distance(one.answer, found, source) for one, found in rows]
    wrong = [i for i, difference in enumerate(apart) if difference > tolerance]
    if wrong and list_answers_without_module(source, rows, wrong, tolerance):
        # The comparison of the bundle, which follows, covers all texts.
        if source.name != "module":
            _log_answers_without_module(source, [rows[i] for i in wrong])
        return [row for i, row in enumerate(rows) if i not in {*wrong}]
    if wrong:
        one, found = rows[wrong[0]]
        of_all = (
            f"the {len(rows):,} texts that were asked, of {len(answered) + len(others):,}"
            if others
            else f"{len(rows):,} texts"
        )
        prepared = functools.cache(lambda: [*other_weights])

        @functools.cache
        def find_rules_in_code_or_weights(of_other_rules: bool) -> Explanation | None:
            asked = [*answered, *others]
            if not of_other_rules and (
                of_code := find_agreeing_rules_in_code(source, rows, others, tolerance, list_rules_in_code)
            ):
                return of_code
            return find_agreeing_weights(prepared(), asked, tolerance, of_other_rules=of_other_rules, own=source)

        cause = explain_difference(source, rows, wrong, tolerance, others, find_rules_in_code_or_weights)
        is_explained = cause.agreeing is not None or bool(cause.options)
        raise OtherAnswersError(
            f"The {source.name} gives other answers than your classifier to {len(wrong):,} of {of_all}.",
            cause.advice,
            f"The first is {short_repr(one.text, 60)}: {_describe_both_answers(one.answer, found, source)}."
            f"{_describe_read_tokens(source, one)}",
            None if cause.agreeing is None else source.text.rules,
            cause.agreeing,
            sum(isinstance(one.answer, Mapping) for one, _ in rows[:MOST_TEXTS]) if cause.is_only else 0,
            cause.nearest,
            cause.options,
            cause.nearer_options,
            cause.tokens,
            seem_true_labels=not is_explained and _agree_like_true_labels(source, rows, wrong),
            is_of_split=cause.is_of_split,
        )
    return rows


def _log_answers_without_module(source: AnswerSource, rows: Sequence[Row]) -> None:
    """Log a warning that the owner's code seems to answer some texts, which have no token, without its module. The
    warning also says how many of these the bundle answers with another label. `rows` are these texts."""
    one, found = rows[0]
    differing = sum(source.labels[int(numbers.argmax())] not in _list_given_labels(each) for each, numbers in rows)
    _log.warning(
        "Texts of yours without a token, left out of the comparison: %d. No id gives your classifier's answers to "
        "them, so your code seems to answer them without the module. The bundle gives %d of them another label. The "
        "first is %s: %s. Answer such texts before you ask the bundle",
        len(rows),
        differing,
        short_repr(one.text, 60),
        _describe_both_answers(one.answer, found, source),
    )


def _log_other_labels(source: AnswerSource, labelled: Sequence[_Labelled], differing: Sequence[_Labelled]) -> None:
    """Log a warning that the bundle gives some texts (`differing`) other labels than the owner, although the
    probabilities agree. If one threshold gives all of the owner's labels, the warning names it. `labelled` are all
    texts with labels beside probabilities."""
    if not differing:
        return
    each = [
        (float(number), label in given)
        for _, given, found in labelled
        for label, number in zip(source.labels, found, strict=True)
    ]
    below = max((number for number, is_given in each if not is_given), default=0.0)
    above = min((number for number, is_given in each if is_given), default=1.0)
    option = f" {write_threshold(below, above)}" if below < above else ""
    one, given, found = differing[0]
    _log.warning(
        "%d of %d texts have other labels beside their probabilities than the bundle gives. The first is %s: %s. Your "
        "code seems to have other thresholds: give them with --thresholds%s",
        len(differing), len(labelled), short_repr(one.text, 60), _describe_both_answers(given, found, source), option,
    )  # fmt: skip


def _list_given_labels(one: AnsweredText) -> tuple[str, ...]:
    """Return the labels that the owner gives a text. If the owner gives only probabilities, return the label with the
    highest one."""
    if not isinstance(one.answer, Mapping):
        return one.answer
    return one.label or (max(one.answer, key=one.answer.__getitem__),)


def _agree_like_true_labels(source: AnswerSource, rows: Sequence[Row], wrong: Sequence[int]) -> bool:
    """Return whether the owner's answers seem to be the true labels of the data: they are labels without probabilities,
    and agree with the source's answers far more often than by chance, but not always."""
    if len(rows) < _TEXTS_TO_TELL_BY or any(isinstance(one.answer, Mapping) or one.ids_agree for one, _ in rows):
        return False
    given = [tuple(one.answer) for one, _ in rows]
    found: list[tuple[str, ...]] = [(source.labels[int(numbers.argmax())],) for _, numbers in rows]
    chance = sum(given.count(one) * found.count(one) for one in {*given}) / len(rows) ** 2
    return count_deviations_above_chance(len(rows) - len(wrong), len(rows), chance) > SURELY


def _compare_heads(classifier: Classifier, answered: Sequence[AnsweredText]) -> AnswerComparison | None:
    """Compare the answers of each head with the owner's. Return one comparison for all heads: the largest number of
    answers and the largest difference of a head, and all labels whose order the answers do not show."""
    found: dict[str, AnswerComparison] = {}
    for head in classifier.heads:
        try:
            compared = compare_answers(classifier.head(head), [one for one in answered if one.head == head])
        except ParityError as error:
            raise ParityError(f"The head {head!r}: {error.problem}", error.remedy) from None
        found |= {} if compared is None else {head: compared}
    if not found:
        return None
    each = found.values()
    return AnswerComparison(
        max(one.labels for one in each),
        max(one.probabilities for one in each),
        max(one.largest_difference for one in each),
        max(one.tolerance for one in each),
        tuple(f"{head}: {label}" for head, one in found.items() for label in one.unordered),
        texts=max(one.texts for one in each),
    )


def _find_unordered_labels(source: AnswerSource, rows: Sequence[Row], tolerance: float) -> tuple[str, ...]:
    """Return the labels whose order the answers do not show: if the columns of these labels are exchanged, all answers
    still agree within the tolerance."""
    labels = source.labels
    naming = [row for row in rows if row[0].names]
    naming += [(replace(one, answer=one.label), found) for one, found in rows if one.label and not one.names]
    if len(labels) > MOST_LABELS:
        return list_labels_that_no_answer_names((one for one, _ in rows), labels)
    may = find_possible_columns(source, naming, tolerance, own_columns_show_precision=True)
    reached = np.array([[column in may[label] for column in range(len(labels))] for label in labels])
    # Labels are exchanged in cycles: each moves to the column of the next.
    for _ in range(len(labels).bit_length()):
        reached = reached | (reached @ reached)
    in_circles = (reached & reached.T).sum(1) > 1
    return tuple(label for label, is_open in zip(labels, in_circles, strict=True) if is_open)


def _describe_read_tokens(source: AnswerSource, one: AnsweredText) -> str:
    """Return a sentence with the first tokens of a text as the module reads it. Return an empty string if there are
    none, or if the module reads several texts at once."""
    text = source.text
    if type(text) is not TextInput:
        return ""
    # Padding with the token of unknown words does not hide these.
    hidden = {text.rules.padding_id} - {text.rules.unknown_id}
    ids = [i for i in source.encode(one.read) if i not in hidden][: _SHOWN_TOKENS + 1]
    known = len(text.vocabulary)
    tokens = [short_repr(text.vocabulary[i], 20) if i < known else str(i) for i in ids[:_SHOWN_TOKENS]]
    return f" It reads {' '.join(tokens)}{' ...' * (len(ids) > _SHOWN_TOKENS)}." if tokens else ""


def _describe_both_answers(answer: Answer, found: Probabilities, source: AnswerSource) -> str:
    """Describe the owner's answer and the probabilities `found` that the bundle or module gives in one sentence for a
    message."""
    labels = source.labels
    if isinstance(answer, Mapping):
        # The last one of two, which differ by as much, is the one whose number the owner's file has.
        apart = {name: round(abs(answer[name] - float(found[labels.index(name)])), 6) for name in answer}
        label = max(reversed(apart), key=apart.__getitem__)
        ours = float(found[labels.index(label)])
        return f"your classifier gives {short_repr(label, 40)} {answer[label]:.4g}, but the {source.name} {ours:.4g}"
    theirs = " and ".join(short_repr(label, 40) for label in answer) or "no label"
    if source.activation == "sigmoid" and not source.gives_likeliest:
        given = [label for label in labels if label in answer or found[labels.index(label)] >= 0.5]
    else:
        given = list(dict.fromkeys([labels[int(found.argmax())], *answer]))
    told = ", ".join(f"{short_repr(label, 40)} {float(found[labels.index(label)]):.4g}" for label in given[:4])
    return f"your classifier gives {theirs}, but the {source.name} {told or 'no label'}"
