"""The interface of labelled rows for training, and how rows are split.

Texts, sequences of numbers and sentences have this interface.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Final, Self

import numpy as np
import numpy.typing as npt

from pocketrnn.errors import DataError, InputError
from pocketrnn_training.settings.settings_of_all_runs import Settings

__all__ = [
    "UNLABELLED",
    "LabelledRows",
    "assign_folds",
    "check_labelled",
    "split_each_class",
    "split_rows",
]

# The target of a row without a label.
UNLABELLED: Final = -1
_FEWEST_FOLDS: Final = 2


class LabelledRows(ABC):
    """Rows, each with one class or with any number of labels.

    A subclass is a frozen dataclass with these members.

    Attributes:
        targets: if each row has one class, int64 [rows]: its index in `labels`, or -1 for a row without a label. If a
            row can have several labels, bool [rows, labels].
        labels: the classes.
        source: where the rows come from, in words.
        licence: the licence of the rows; None if it is not known.
        outside: further inputs that belong to none of the classes and are not rows; empty unless the inputs are texts.
    """

    # The words for a row, for its steps, and for the unit that has a label.
    ROW: ClassVar[str]
    STEPS: ClassVar[str]
    ANSWER: ClassVar[str] = "row"

    targets: npt.NDArray[Any]
    labels: tuple[str, ...]
    source: str
    licence: str | None
    outside: Sequence[Any] = ()

    @property
    @abstractmethod
    def inputs(self) -> Sequence[Any]:
        """The input of the classifier for each row."""

    @property
    @abstractmethod
    def groups(self) -> npt.NDArray[np.int64]:
        """The number of the group of each row, int64 [rows].

        Rows that resemble each other are one group, and a split never separates the rows of a group.
        """

    @abstractmethod
    def rows(self, chosen: npt.NDArray[np.int64]) -> Self:
        """Return the chosen rows, int64 [chosen], in the given order. `labels` stays the same."""

    @abstractmethod
    def split(self, validation: Self | None, settings: Settings) -> tuple[Self, Self]:
        """Return the training rows and the validation rows of a run.

        If `validation` is given, it becomes the validation rows. Otherwise a part of the rows is held out.
        """

    @abstractmethod
    def format_row(self, row: int) -> str:
        """Return a row as one line of text for a report, such as its text."""

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def several_labels(self) -> bool:
        """Whether a row can have any number of the labels."""
        return self.targets.ndim == 2

    @property
    def labelled(self) -> npt.NDArray[np.bool_]:
        """Whether each row has a label, bool [rows].

        If a row can have several labels, this is true for all rows: a row with none of the labels is labelled, too.
        """
        known: npt.NDArray[np.bool_] = self.targets != UNLABELLED
        return np.ones(len(self), dtype=bool) if self.several_labels else known

    def counts(self, rows: npt.NDArray[np.int64] | None = None) -> npt.NDArray[np.int64]:
        """Count how many rows have each label, int64 [labels].

        Args:
            rows: int64, the numbers of the rows to count; None to count all rows.
        """
        some = self.targets if rows is None else self.targets[rows]
        if self.several_labels:
            return some.sum(axis=0, dtype=np.int64)  # type: ignore[no-any-return]
        return np.bincount(some[some != UNLABELLED], minlength=len(self.labels))


def check_labelled(data: LabelledRows, row_word: str, remedy: str) -> None:
    """Check that every row has a label.

    Args:
        data: the rows.
        row_word: what the error calls a row, such as "validation row".
        remedy: the sentence of the error that says what to do.

    Raises:
        DataError: a row has no label; the error names the first such row.
    """
    labelled = data.labelled
    if count := int((~labelled).sum()):
        have = f"{row_word} has no label: row" if count == 1 else f"{row_word}s have no label, such as row"
        raise DataError(f"{count:,} {have} {labelled.argmin() + 1}.", remedy)


def split_rows(
    data: LabelledRows, second_share: float, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Split the rows into two parts with the same proportions of the classes; return the row numbers of each part.

    Rows without a label go to the first part. The order of `data.labels` does not change the result. If a row can have
    several labels, the labels are split one after the other from the rarest, each time only the rows that are not yet
    in a part (Sechidis, Tsoumakas and Vlahavas, "On the stratification of multi-label data", 2011).

    Args:
        data: the rows.
        second_share: the share of each class that goes to the second part. A class with two rows or more has at least
            one in each part; the only row of a class goes to the first part.
        rng: the random generator that draws the rows of the second part.

    Returns:
        The row numbers of the first part and of the second part, int64, ascending.

    Raises:
        DataError: the second part would be empty, since every class has fewer than two rows.
    """
    if data.several_labels:
        return _split_multi_label_rows(data, second_share, rng)
    return split_each_class(data.targets, data.labels, second_share, rng)


def assign_folds(data: LabelledRows, folds: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Assign each row to a fold for cross-validation, so that the folds have similar proportions of the classes.

    All rows of a group, such as the windows of one recording, get the same fold. The rarest class is assigned first.

    Args:
        data: the rows.
        folds: the number of folds.
        rng: the random generator that draws the order in which rows are assigned.

    Returns:
        The number of each row's fold, from 0, int64 [rows].

    Raises:
        InputError: there are fewer than two folds.
        DataError: there are fewer groups of rows than folds.
    """
    if folds < _FEWEST_FOLDS:
        raise InputError(
            f"The number of folds is {folds}, but it must be at least {_FEWEST_FOLDS}.", "Give a number such as 5."
        )
    _, first, groups = np.unique(data.groups, return_index=True, return_inverse=True)
    # Groups are numbered in the order of the rows, since hashes of texts differ from process to process.
    order = np.argsort(first)
    first, groups = first[order], np.argsort(order)[groups]
    if len(first) < folds:
        raise DataError(
            f"There are {folds} folds, but only {len(first)} different rows, and each fold needs at least one.",
            f"Give a number of folds of at most {len(first)}, or more rows.",
        )
    several = data.several_labels
    sizes = np.bincount(groups)
    # A group has the label of its first row, also where its rows have different labels.
    targets = data.targets[first]
    labels = len(data.labels)
    counts = targets.sum(axis=0) if several else np.bincount(targets, minlength=labels)
    have, total = np.zeros((labels, folds), np.int64), np.zeros(folds, np.int64)
    fold_of_group = np.full(len(first), -1)

    def assign_groups(chosen: npt.NDArray[np.int64], balanced_label: int | None) -> None:
        """Assign the chosen groups that have no fold yet, each to the fold with the fewest rows of `balanced_label`.

        If that is None, or if folds are equal in it, the fold with the fewest rows is taken.
        """
        for group in rng.permutation(chosen[fold_of_group[chosen] < 0]).tolist():
            fewest = total if balanced_label is None else have[balanced_label] * (len(groups) + 1) + total
            fold = int(fewest.argmin())
            fold_of_group[group] = fold
            total[fold] += sizes[group]
            have[targets[group], fold] += 1

    for label in np.argsort(counts, kind="stable").tolist():
        assign_groups(np.flatnonzero(targets[:, label] if several else targets == label), label)
    assign_groups(np.arange(len(first)), None)
    return fold_of_group[groups]


def split_each_class(
    targets: npt.NDArray[np.int64],
    labels: tuple[str, ...],
    second_share: float,
    rng: np.random.Generator,
    *,
    row_word: str = "row",
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Split rows with one class each into two parts that have the same proportions of the classes.

    Rows without a class, and the only row of a class, go to the first part.

    Args:
        targets: int64 [rows], the index of each row's class in `labels`, or -1 for a row without a class.
        labels: the classes.
        second_share: the share of each class that goes to the second part.
        rng: the random generator that draws the rows of the second part.
        row_word: what the error calls a row.

    Returns:
        The row numbers of the first part and of the second part, int64, ascending.

    Raises:
        DataError: the second part would be empty, since every class has fewer than two rows.
    """
    second = []
    for _, target in sorted(zip(labels, range(len(labels)), strict=True)):
        rows = np.flatnonzero(targets == target)
        if len(rows) < 2:
            continue
        count = min(max(1, round(second_share * len(rows))), len(rows) - 1)
        second.append(rng.permutation(rows)[:count])
    if not second:
        found = f"Every class has 1 {row_word}" if (targets >= 0).any() else "No row has a label"
        raise DataError(
            f"{found}, so none can be held out for validation.",
            "Give more labelled rows of each class, or give other rows for validation with --validation.",
        )
    held_out = np.zeros(len(targets), dtype=bool)
    held_out[np.concatenate(second)] = True
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def _split_multi_label_rows(
    data: LabelledRows, second_share: float, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Split rows with any number of labels each into two parts that have similar proportions of the labels.

    Args:
        second_share: the share of the rows of each label that goes to the second part.
        rng: the random generator that draws the rows of the second part.

    Returns:
        The row numbers of the first part and of the second part, int64, ascending.

    Raises:
        DataError: one of the parts would be empty.
    """
    unsplit, second = np.ones(len(data), dtype=bool), np.zeros(len(data), dtype=bool)
    counts = data.counts()
    # How many rows of each label are not in the second part.
    left = counts.copy()

    def move_to_second_part(rows: npt.NDArray[np.int64], count: int) -> None:
        """Move up to `count` of the rows to the second part, but not the last row of a label in the first part."""
        for row in rows.tolist():
            if count <= 0:
                break
            if (left[data.targets[row]] > 1).all():
                second[row], count = True, count - 1
                np.subtract(left, data.targets[row], out=left)
        unsplit[rows] = False

    for target in sorted(range(len(data.labels)), key=lambda i: (counts[i], data.labels[i])):
        of_label = data.targets[:, target]
        wanted = max(1, round(second_share * counts[target])) - int((of_label & second).sum())
        move_to_second_part(rng.permutation(np.flatnonzero(of_label & unsplit)), wanted)
    without = rng.permutation(np.flatnonzero(unsplit))
    move_to_second_part(without, round(second_share * len(without)))
    if not second.any() or second.all():
        raise DataError(
            f"The {len(data)} rows are too few to hold some of them out for validation.",
            "Give more rows, or give other rows for validation with --validation.",
        )
    return np.flatnonzero(~second), np.flatnonzero(second)
