"""Read the owner's texts and answers, and find another order of the labels if the labels contradict the probabilities
beside them."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from pocketrnn.errors import InputError
from pocketrnn_export.option_corrections_error import OptionCorrectionsError
from pocketrnn_export.progress import hide_log_records
from pocketrnn_export.vocabularies.labels import write_labels
from pocketrnn_export.vocabularies.owner_texts_and_answers import OwnersText, map_answers_to_labels, read_pairs


def read_pairs_in_label_order(
    path: Path, labels: Sequence[str] = (), *, multi_label: bool = False, texts: Path | None = None
) -> list[OwnersText]:
    """Read the owner's texts with their ids or answers. Refuse texts whose label does not have the highest of the
    probabilities beside it; if another order of the labels mends this, name that order.

    Args:
        path: a file of JSON lines or a CSV file.
        labels: the labels, in the order of the logits; empty to check nothing.
        multi_label: whether a text may have several labels or none.
        texts: the CSV file with the texts, if `path` is a CSV file without them.

    Raises:
        OptionCorrectionsError: with the labels in another order, each label has the highest probability. The error
            gives this order.
        InputError: the file cannot be read, or an answer does not fit the labels.
    """
    pairs = read_pairs(path, labels, multi_label=multi_label, texts=texts)
    if not labels:
        return pairs
    try:
        with hide_log_records():
            map_answers_to_labels(pairs, labels, multi_label=multi_label)
        return pairs
    except InputError as error:
        order = _find_order_by_highest_probabilities(pairs, labels)
        if order is None:
            raise
        with hide_log_records():
            # Numbers of classes become other labels.
            answers = []
            with contextlib.suppress(InputError):
                again = read_pairs(path, order, multi_label=multi_label, texts=texts)
                answers = map_answers_to_labels(again, order, multi_label=multi_label)
        if not answers:
            raise
        raise OptionCorrectionsError(
            f"{error.problem.removesuffix('.')}, with --labels {write_labels(labels)}.",
            f"All {len(answers):,} answers have the highest probability for their own label if the labels are in "
            f"another order, {', '.join(order)}: give the order of your classifier's logits.",
            {"labels": write_labels(order)},
        ) from None


def _find_order_by_highest_probabilities(pairs: Sequence[OwnersText], labels: Sequence[str]) -> list[str] | None:
    """Find another order of the labels in which each text's label has the highest of its probabilities. For two labels,
    this is the reversed order. Return None if there is no such order, or if it is not certain."""
    if len(labels) == 2:
        return [*labels][::-1]
    columns: dict[int, str] = {}
    for one in pairs:
        if isinstance(one.answer, list) and len(one.answer) == len(labels) and isinstance(one.label, str):
            columns.setdefault(max(range(len(labels)), key=one.answer.__getitem__), one.label)
    left = [one for one in labels if one not in columns.values()]
    for column in range(len(labels)):
        if column not in columns and len(left) == 1:
            columns[column] = left.pop()
    order = [columns.get(column, "") for column in range(len(labels))]
    return order if {*order} == {*labels} else None
