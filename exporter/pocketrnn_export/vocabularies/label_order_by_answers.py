"""Find the order of the labels with which most of the owner's answers agree, also where text rules are wrong and some
answers differ."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from pocketrnn_export.vocabularies.answer_distances import AnswerSource, Row

# How many standard deviations an agreement is above that of two classifiers that have nothing in common.
SURELY: Final = 3.0


class LabelOrder(NamedTuple):
    """The order of the labels with which most answers agree.

    Attributes:
        labels: the labels in this order.
        agreed: the number of texts whose likeliest label is the owner's, with this order.
        before: the same number with the order that the user gave.
        texts: the number of texts.
        is_sure: whether `agreed` is too large for chance, both by itself and beside `before`.
    """

    labels: list[str]
    agreed: int
    before: int
    texts: int
    is_sure: bool

    @property
    def sentence(self) -> str:
        """A sentence for a message: how many answers agree with this order, and how many with the given one."""
        return (
            f"With the labels in another order, {', '.join(self.labels)}, the likeliest label of {self.agreed:,} of "
            f"{self.texts:,} texts is your classifier's, in place of {self.before:,}."
        )


def find_likelier_order(source: AnswerSource, rows: Sequence[Row]) -> LabelOrder:
    """Find the order of the labels with which most of the owner's answers agree. Each label gets the column of the
    logits that is the highest one for the most texts with this label. Return the present order if it is as good.

    Args:
        source: the bundle or the module, with the labels.
        rows: texts with the owner's answers, each with the probabilities that the source gives.
    """
    counts: Counter[tuple[str, int]] = Counter()
    for one, found in rows:
        named = [max(one.answer, key=one.answer.__getitem__)] if isinstance(one.answer, Mapping) else one.answer
        if len(named) == 1:
            counts[named[0], int(found.argmax())] += 1
    taken: dict[int, str] = {}
    for label, column in sorted(counts, key=lambda pair: -counts[pair]):
        if label not in taken.values() and column not in taken:
            taken[column] = label
    # Labels that no answer names keep their place.
    taken |= {i: label for i, label in enumerate(source.labels) if i not in taken and label not in {*taken.values()}}
    columns, labels = {*range(len(source.labels))} - {*taken}, {*source.labels} - {*taken.values()}
    if len(columns) == 1:
        taken[columns.pop()] = labels.pop()
    own, order = [*source.labels], [taken.get(i, "") for i in range(len(source.labels))]
    agreed, before = (sum(counts[label, i] for i, label in enumerate(one)) for one in (order, own))
    if agreed <= max(before, counts.total() // 2) or "" in order:
        order, agreed = own, before
    # Texts of which one order has the right label, and the other does not.
    right = sum(counts[label, i] for i, label in enumerate(order) if own[i] != label)
    wrong = sum(counts[label, i] for i, label in enumerate(own) if order[i] != label)
    is_nearer = order == own or right - wrong >= SURELY * math.sqrt(right + wrong)
    is_sure = is_nearer and _count_deviations_of_order_above_chance(counts, order) >= SURELY
    return LabelOrder(order, agreed, before, counts.total(), is_sure)


def _count_deviations_of_order_above_chance(counts: Mapping[tuple[str, int], int], order: Sequence[str]) -> float:
    """Return by how many standard deviations more texts agree with this order of the labels than by chance.
    `counts[label, column]` is the number of texts to which the owner gives the label and whose highest probability is
    in the column."""
    total = sum(counts.values())
    by_label, by_column = Counter[str](), Counter[int]()
    for (label, column), number in counts.items():
        by_label[label] += number
        by_column[column] += number
    share = sum(by_label[label] * by_column[i] for i, label in enumerate(order)) / max(1, total) ** 2
    return count_deviations_above_chance(sum(counts.get((label, i), 0) for i, label in enumerate(order)), total, share)


def count_deviations_above_chance(agreed: int, total: int, share: float) -> float:
    """Return by how many standard deviations more texts agree than would by chance. Return 0 if nothing can vary.

    Args:
        agreed: how many texts agree.
        total: how many texts there are.
        share: the share of the texts, from 0 to 1, that would agree by chance.
    """
    spread = math.sqrt(total * share * (1 - share))
    return (agreed - total * share) / spread if spread else 0.0
