"""Labelled pairs of texts, such as a premise and a hypothesis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from pocketrnn.errors import DataError
from pocketrnn_training.rows.labelled_rows import split_each_class
from pocketrnn_training.rows.labelled_texts import (
    LabelledTexts,
    select_texts,
)
from pocketrnn_training.settings.settings_of_all_runs import Settings

__all__ = ["LabelledPairs"]


@dataclass(frozen=True)
class LabelledPairs(LabelledTexts):
    """Pairs of texts, each with one class or with any number of labels.

    Attributes:
        texts: the first text of each pair.
        second_texts: the second text of each pair.

    The other attributes are those of `LabelledTexts`; `outside` holds pairs.

    Example:
        >>> data = LabelledPairs(["a man runs"], np.array([0]), ("yes", "no"), "a pair", second_texts=["he moves"])
        >>> data.inputs
        [('a man runs', 'he moves')]
    """

    ROW: ClassVar[str] = "pair"
    STEPS: ClassVar[str] = "tokens of both texts"

    second_texts: Sequence[str] = field(default=(), repr=False)

    @classmethod
    def of(cls, first: LabelledTexts, second_texts: Sequence[str]) -> LabelledPairs:
        """Make labelled pairs from labelled first texts, and from second texts in the same order.

        Example:
            >>> LabelledPairs.of(LabelledTexts(["a"], np.array([0]), ("yes", "no"), "a row"), ["b"]).inputs
            [('a', 'b')]
        """
        of_first = (first.texts, first.targets, first.labels, first.source, first.licence)
        return cls(*of_first, second_texts=second_texts)

    @property
    def inputs(self) -> Sequence[tuple[str, str]]:  # type: ignore[override]
        """The input of the classifier for each row: its pair of texts."""
        return list(zip(self.texts, self.second_texts, strict=True))

    @property
    def single_texts(self) -> LabelledTexts:
        """All texts of the pairs as rows of one text each, with the labels of their pairs.

        The two texts of the first pair come first, then those of the second pair, and so on.

        Example:
            >>> LabelledPairs(["a"], np.array([0]), ("yes", "no"), "a pair", second_texts=["b"]).single_texts.texts
            ['a', 'b']
        """
        texts = [text for pair in self.inputs for text in pair]
        return LabelledTexts(texts, np.repeat(self.targets, 2, axis=0), self.labels, self.source, self.licence)

    @property
    def groups(self) -> npt.NDArray[np.int64]:
        """The number of the group of each pair, int64 [rows]. Pairs with the same first text are one group.

        Example:
            >>> LabelledPairs(["a", "a"], np.array([0, 1]), ("x", "y"), "two", second_texts=["b", "c"]).groups.tolist()
            [0, 0]
        """
        numbers: dict[str, int] = {}
        return np.fromiter((numbers.setdefault(text, len(numbers)) for text in self.texts), np.int64, len(self))

    def split(self, validation: LabelledPairs | None, settings: Settings) -> tuple[LabelledPairs, LabelledPairs]:  # type: ignore[override]
        """Return the training pairs and the validation pairs of a run.

        If `validation` is given, it becomes the validation pairs. Otherwise a part of the first texts of each class is
        held out, each with all of its pairs, so that a classifier which memorizes first texts gains nothing. Pairs are
        held out one by one instead if a pair can have several labels, or if a class would be left without training
        pairs.

        Raises:
            DataError: the validation pairs have other labels than the training pairs, or no labels; or `validation` is
                None, and every class has fewer than two pairs.

        Example:
            >>> training, held_out = data.split(None, PairSettings())
            >>> set(training.texts) & set(held_out.texts)
            set()
        """
        if validation is not None or self.several_labels:
            return super().split(validation, settings)  # type: ignore[return-value]
        groups = self.groups
        _, first = np.unique(groups, return_index=True)
        rng = np.random.default_rng(settings.seed)
        try:
            _, chosen = split_each_class(self.targets[first], self.labels, settings.validation_share, rng)
        except DataError:
            return super().split(None, settings)  # type: ignore[return-value]
        is_held_out = np.isin(groups, chosen)
        training, held_out = (self.rows(np.flatnonzero(some)) for some in (~is_held_out, is_held_out))
        if ((training.counts() == 0) & (held_out.counts() > 0)).any():
            return super().split(None, settings)  # type: ignore[return-value]
        return training, replace(held_out, outside=())

    def format_row(self, row: int) -> str:
        """Return the two texts of a pair as one line for a report.

        Example:
            >>> LabelledPairs(["a"], np.array([0]), ("yes", "no"), "a pair", second_texts=["b"]).format_row(0)
            'a | b'
        """
        return f"{self.texts[row]} | {self.second_texts[row]}"

    def rows(self, chosen: npt.NDArray[np.int64]) -> Self:
        """Return the chosen pairs, int64 [chosen], in the given order. `labels` stays the same.

        Example:
            >>> data = LabelledPairs(["a", "b"], np.array([0, 1]), ("yes", "no"), "two", second_texts=["c", "d"])
            >>> data.rows(np.array([1])).inputs
            [('b', 'd')]
        """
        return replace(super().rows(chosen), second_texts=select_texts(self.second_texts, chosen))
