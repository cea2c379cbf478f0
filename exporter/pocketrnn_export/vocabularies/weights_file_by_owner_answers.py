"""Find the file, of those with weights of the same shapes, with whose weights a module gives its owner's answers."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Final

from pocketrnn.text import AnyTextRules, TextEncoder, TextRules
from pocketrnn_export.progress import log_item_progress
from pocketrnn_export.vocabularies.answer_distances import (
    AnsweredText,
    AnswerSource,
    Row,
    measure_distance,
    predict_probabilities,
)
from pocketrnn_export.vocabularies.causes_of_different_answers import (
    MOST_TEXTS,
    Explanation,
    find_other_rules,
    find_other_truncation_or_padding,
)

_log = logging.getLogger(__name__)
# How many wrong answers show whether a cut or a width helps, and the seconds of the processor for all files.
_FEW: Final = 8
_SECONDS: Final = 30.0


def find_agreeing_weights(
    sources: Sequence[tuple[str, AnswerSource]],
    answered: Sequence[AnsweredText],
    tolerance: float,
    *,
    of_other_rules: bool,
) -> Explanation | None:
    """Find the file of weights with which a module gives its owner's answers to all texts. Return None if there is
    none.

    Args:
        sources: for each file, its name and the module with its weights.
        answered: the texts with the owner's answers.
        tolerance: the largest allowed difference of an answer.
        of_other_rules: whether to also try the usual text rules with the weights. Otherwise, only the given rules are
            tried, with other cuts and widths, which takes less time.
    """
    found: list[tuple[str, AnyTextRules, AnswerSource]] = []
    if not sources:
        return None
    _log.info("Trying the weights of files with the same shapes: %s", ", ".join(name for name, _ in sources))
    end = time.process_time() + _SECONDS
    for name, source in log_item_progress(sources, "Trying the weights of other files"):
        if time.process_time() > end:
            break
        find = _find_agreeing_rules if of_other_rules else _find_agreeing_widths
        rules = find(source, answered, tolerance)
        found += [] if rules is None else [(name, rules, source)]
    if not found:
        return None
    name, rules, source = found[0]
    is_other = rules != source.text.rules
    also = "" if len(found) == 1 else (
        f" Those in {found[1][0]} agree, too: probabilities in place of labels show the right ones."
    )  # fmt: skip
    return Explanation(
        f"All {len(answered):,} texts agree with the weights in {name}{' and other text rules' * is_other}.{also}",
        rules if is_other else None,
        options={"weights": name},
    )


def _find_agreeing_widths(
    source: AnswerSource, answered: Sequence[AnsweredText], tolerance: float
) -> AnyTextRules | None:
    """Find a truncation or padding of texts with which all answers agree. Return the text rules with it, or unchanged
    if all answers agree without it. Return None if there are no such rules."""
    few: list[Row] = []
    for one in answered:
        numbers = predict_probabilities(source, one.read)
        if numbers is not None and measure_distance(one.answer, numbers, source) > tolerance:
            few.append((one, numbers))
            if len(few) == _FEW:
                break
    if not few:
        rules: AnyTextRules = source.text.rules
        return rules
    # The longest text shows whether texts are cut, also if its answer agrees.
    longest = max(answered, key=lambda one: len(one.text))
    rows = [*few, (longest, few[0][1])]
    way = find_other_truncation_or_padding(source, rows, range(len(few)), tolerance, others=answered)
    return None if way is None else way.rules


def _find_agreeing_rules(
    source: AnswerSource, answered: Sequence[AnsweredText], tolerance: float
) -> AnyTextRules | None:
    """Return the first of the usual text rules with which all answers agree. Return None if there are none."""
    some = [(one, numbers) for one in answered[:MOST_TEXTS]
            if (numbers := predict_probabilities(source, one.read)) is not None]  # fmt: skip
    way = find_other_rules(
        source, some, tolerance, stops_before_rare=lambda: True, seconds=_SECONDS, stop_words=source.stop_words
    )
    if way is None or not isinstance(way.rules, TextRules):
        return None
    encoder = TextEncoder(way.rules, source.text.vocabulary)
    for one in answered[MOST_TEXTS:]:
        if measure_distance(one.answer, source.answer_ids(encoder.encode(one.text)), source) > tolerance:
            return None
    return way.rules
